/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/metrics.h -- counters, gauges and histograms in the Prometheus text format (0.0.4).
 *
 * A registry holds a fixed, bounded set; series are made at start (or when a route appears), never
 * per stream.  Updates are lock-free and thread safe; making and rendering take a lock.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"

#define METRICS_SERIES_MAX 4096

typedef struct Metrics Metrics;
typedef struct Metric Metric;

Metrics *metrics_new(void);
void metrics_free(Metrics *metrics);

/* labels: "mode=\"memory\"" or NULL.  The same name and labels give the same series.  Borrowed
 * until metrics_free.  Past METRICS_SERIES_MAX one shared overflow series is returned, and counted.
 */
Metric *metrics_counter(Metrics *metrics, const char *name, const char *labels, const char *help);
Metric *metrics_gauge(Metrics *metrics, const char *name, const char *labels, const char *help);
/* bounds ascending, count of them at most 24; values are seconds, bytes or rows as the name says.
 */
Metric *metrics_histogram(Metrics *metrics, const char *name, const char *labels, const char *help,
                          const double *bounds, size_t count);

/* Appends key="value" with the value escaped, behind a comma unless out is empty: the way to put
 * into labels what is not a constant. */
DS_MUST_CHECK bool metrics_label_append(Buf *out, const char *key, Str value, Error *err);

void metric_add(Metric *counter, uint64_t n);
void metric_set(Metric *gauge, int64_t value);
void metric_move(Metric *gauge, int64_t change); /* what several threads change */
void metric_observe(Metric *histogram, double value);
uint64_t metric_value(const Metric *metric); /* counter or histogram count, for tests and /status */

DS_MUST_CHECK bool metrics_render(Metrics *metrics, Buf *out, Error *err);
