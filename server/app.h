/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/app.h -- what every request handler of ds-server works with.
 *
 * Made once at the start, the same for all network loops; what changes in it is thread safe.
 */
#pragma once

#include "common/metrics.h"
#include "server/expiry.h"
#include "server/name.h"
#include "server/server_config.h"
#include "server/store.h"
#include "server/subs.h"

typedef struct AppMetrics {
    Metric *appends;
    Metric *append_bytes;
    Metric *reads;
    Metric *read_bytes;
    Metric *live_reads;   /* long-polls that waited, SSE connections */
    Metric *live_waiting; /* now */
    Metric *slow_cut;
    Metric *queued; /* operations, now */
    Metric *cold_reads;
} AppMetrics;

typedef struct App {
    const ServerConfig *config;
    Str base_path; /* "/v1/stream" */
    NameLimits names;
    Store *store;
    Expiry *expiry;
    Subs *subs;
    AppMetrics metrics;
    atomic_int_least64_t queued_bytes; /* bodies of ops that the store has not finished */
} App;

/* Loads what is stored: ERR_CONFIG, ERR_CORRUPT.  config and metrics outlive the app. */
DS_MUST_CHECK bool app_new(const ServerConfig *config, Metrics *metrics, App **out, Error *err);
void app_free(App *app); /* accepts NULL; after all network loops have ended */
