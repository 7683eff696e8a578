/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/stats.h -- the numbers that /metrics shows, made once at the start.
 *
 * Borrowed from the registry; never per stream (that is /status).
 */
#pragma once

#include "common/metrics.h"

typedef struct Stats {
    Metrics *metrics;
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

/* What a stream adds to, beside the sums. */
typedef struct StreamStats {
    Metric *route_rows;
    Metric *route_letters;
    Metric *partition_rows;
} StreamStats;

/* Made at the first stream of a route or work partition; the same for all of them. */
StreamStats stats_of_stream(const Stats *stats, Str route, unsigned partition);

void stats_init(Stats *stats, Metrics *metrics);
