/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/stats.h -- the numbers that /metrics shows, made once at the start.
 *
 * Borrowed from the registry; never per stream (that is /status).
 */
#pragma once

#include "common/metrics.h"

typedef struct Stats {
    Metric *rows;    /* committed */
    Metric *letters; /* dead letters committed */
    Metric *bytes;   /* of messages and chunks committed */
    Metric *transactions;
    Metric *transaction_rows; /* histogram */
    Metric *transaction_seconds;
    Metric *postgres_errors;
    Metric *postgres_connects;
    Metric *source_errors;
    Metric *source_opens;
    Metric *generations;
    Metric *queue_bytes; /* gauge */
} Stats;

void stats_init(Stats *stats, Metrics *metrics);
