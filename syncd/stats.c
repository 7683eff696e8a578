/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/stats.h"

#define LABELS_BYTES_MAX 1024

void
stats_init(Stats *stats, Metrics *metrics)
{
    static const double rows[] = {1, 10, 100, 500, 1000, 2500, 5000, 10000};
    static const double seconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                     0.1,    0.25,  0.5,    1,     2.5,  5,     10};

    *stats = (Stats){
        .metrics = metrics,
        .rows = metrics_counter(metrics, "syncd_rows_total", NULL, "Rows committed."),
        .letters =
            metrics_counter(metrics, "syncd_dead_letters_total", NULL, "Dead letters committed."),
        .bytes = metrics_counter(metrics, "syncd_bytes_total", NULL,
                                 "Bytes of messages and chunks committed."),
        .transactions = metrics_counter(metrics, "syncd_transactions_total", NULL,
                                        "Transactions committed that moved an offset."),
        .transaction_rows =
            metrics_histogram(metrics, "syncd_transaction_rows", NULL,
                              "Rows and dead letters of a transaction.", rows, DS_COUNT(rows)),
        .transaction_seconds = metrics_histogram(
            metrics, "syncd_transaction_seconds", NULL,
            "From the first statement of a transaction to the answer of its last.", seconds,
            DS_COUNT(seconds)),
        .postgres_errors = metrics_counter(metrics, "syncd_postgres_errors_total", NULL,
                                           "Commands that Postgres failed, and connections lost."),
        .postgres_connects =
            metrics_counter(metrics, "syncd_postgres_connects_total", NULL, "Connections made."),
        .source_errors = metrics_counter(metrics, "syncd_source_errors_total", NULL,
                                         "Reads of a stream that failed."),
        .source_opens = metrics_counter(metrics, "syncd_source_opens_total", NULL,
                                        "Reads of a stream that were begun."),
        .generations =
            metrics_counter(metrics, "syncd_generations_total", NULL,
                            "Streams that were found made anew and read from their start."),
        .queue_bytes =
            metrics_gauge(metrics, "syncd_queue_bytes", NULL, "Read and not yet committed."),
    };
}

StreamStats
stats_of_stream(const Stats *stats, Str route, unsigned partition)
{
    char number[32];
    Buf labels;
    Error err;

    buf_init(&labels, LABELS_BYTES_MAX);
    bool made = metrics_label_append(&labels, "route", route, &err);
    DS_ASSERT(made); /* the name of a route is short */
    (void)snprintf(number, sizeof(number), "partition=\"%u\"", partition);
    StreamStats own = {
        .route_rows = metrics_counter(stats->metrics, "syncd_route_rows_total", buf_cstr(&labels),
                                      "Rows committed, by route."),
        .route_letters = metrics_counter(stats->metrics, "syncd_route_dead_letters_total",
                                         buf_cstr(&labels), "Dead letters committed, by route."),
        .partition_rows = metrics_counter(stats->metrics, "syncd_partition_rows_total", number,
                                          "Rows committed, by work partition."),
    };
    buf_done(&labels);
    return own;
}
