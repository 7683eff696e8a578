/* SPDX-License-Identifier: Apache-2.0 */
#include "common/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/mem.h"

#define BOUNDS_MAX 24

typedef enum MetricKind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } MetricKind;

struct Metric {
    MetricKind kind;
    char *labels;               /* "" for none */
    Metric *next;               /* of the same family, in the order they were made */
    atomic_uint_fast64_t count; /* counter, or observations */
    atomic_int_fast64_t gauge;
    _Atomic double sum;
    size_t bounds_count;
    double bounds[BOUNDS_MAX];
    atomic_uint_fast64_t buckets[BOUNDS_MAX + 1]; /* not cumulative; the last one is +Inf */
};

/* All series of one name: the format wants them together, under one HELP and TYPE. */
typedef struct Family {
    struct Family *next;
    MetricKind kind;
    char *name;
    char *help;
    Metric *first, *last;
} Family;

struct Metrics {
    pthread_mutex_t lock;
    Family *first, *last;
    size_t series;
    Metric overflow; /* takes what came past the limit; never rendered */
    atomic_uint_fast64_t refused;
};

Metrics *
metrics_new(void)
{
    Metrics *metrics = mem_zalloc(sizeof(*metrics));

    pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

static void
family_free(Family *family)
{
    while (family->first != NULL) {
        Metric *metric = family->first;
        family->first = metric->next;
        free(metric->labels);
        free(metric);
    }
    free(family->name);
    free(family->help);
    free(family);
}

void
metrics_free(Metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    while (metrics->first != NULL) {
        Family *family = metrics->first;
        metrics->first = family->next;
        family_free(family);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

static Family *
family_get(Metrics *metrics, MetricKind kind, const char *name, const char *help)
{
    for (Family *family = metrics->first; family != NULL; family = family->next) {
        if (strcmp(family->name, name) == 0) {
            DS_ASSERT(family->kind == kind);
            return family;
        }
    }
    Family *family = mem_zalloc(sizeof(*family));
    family->kind = kind;
    family->name = mem_strdup(name);
    family->help = mem_strdup(help);
    if (metrics->last != NULL) {
        metrics->last->next = family;
    } else {
        metrics->first = family;
    }
    metrics->last = family;
    return family;
}

static Metric *
family_find(const Family *family, const char *labels)
{
    for (Metric *metric = family->first; metric != NULL; metric = metric->next) {
        if (strcmp(metric->labels, labels) == 0) {
            return metric;
        }
    }
    return NULL;
}

static Metric *
family_add(Family *family, const char *labels, const double *bounds, size_t count)
{
    Metric *metric = mem_zalloc(sizeof(*metric));

    metric->kind = family->kind;
    metric->labels = mem_strdup(labels);
    metric->bounds_count = count;
    for (size_t i = 0; i < count; i++) {
        DS_ASSERT(i == 0 || bounds[i] > bounds[i - 1]);
        metric->bounds[i] = bounds[i];
    }
    if (family->last != NULL) {
        family->last->next = metric;
    } else {
        family->first = metric;
    }
    family->last = metric;
    return metric;
}

static Metric *
series_get(Metrics *metrics, MetricKind kind, const char *name, const char *labels,
           const char *help, const double *bounds, size_t count)
{
    Metric *metric = NULL;

    labels = labels != NULL ? labels : "";
    pthread_mutex_lock(&metrics->lock);
    Family *family = family_get(metrics, kind, name, help);
    metric = family_find(family, labels);
    if (metric == NULL && metrics->series < METRICS_SERIES_MAX) {
        metric = family_add(family, labels, bounds, count);
        metrics->series++;
    }
    pthread_mutex_unlock(&metrics->lock);
    if (metric == NULL) {
        atomic_fetch_add(&metrics->refused, 1);
        return &metrics->overflow;
    }
    return metric;
}

Metric *
metrics_counter(Metrics *metrics, const char *name, const char *labels, const char *help)
{
    return series_get(metrics, METRIC_COUNTER, name, labels, help, NULL, 0);
}

Metric *
metrics_gauge(Metrics *metrics, const char *name, const char *labels, const char *help)
{
    return series_get(metrics, METRIC_GAUGE, name, labels, help, NULL, 0);
}

Metric *
metrics_histogram(Metrics *metrics, const char *name, const char *labels, const char *help,
                  const double *bounds, size_t count)
{
    DS_ASSERT(count <= BOUNDS_MAX);
    return series_get(metrics, METRIC_HISTOGRAM, name, labels, help, bounds, count);
}

/* ---- updates: any thread ---- */

void
metric_add(Metric *counter, uint64_t n)
{
    atomic_fetch_add_explicit(&counter->count, n, memory_order_relaxed);
}

void
metric_set(Metric *gauge, int64_t value)
{
    atomic_store_explicit(&gauge->gauge, value, memory_order_relaxed);
}

void
metric_move(Metric *gauge, int64_t change)
{
    atomic_fetch_add_explicit(&gauge->gauge, change, memory_order_relaxed);
}

void
metric_observe(Metric *histogram, double value)
{
    size_t bucket = 0;
    double sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);

    if (isnan(value)) {
        return; /* one NaN would make the sum useless for good */
    }
    while (bucket < histogram->bounds_count && value > histogram->bounds[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->count, 1, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&histogram->sum, &sum, sum + value,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

uint64_t
metric_value(const Metric *metric)
{
    if (metric->kind == METRIC_GAUGE) {
        return (uint64_t)atomic_load_explicit(&metric->gauge, memory_order_relaxed);
    }
    return atomic_load_explicit(&metric->count, memory_order_relaxed);
}

/* ---- text format 0.0.4 ---- */

/* Backslash and line feed are escaped in HELP, the quote in label values too. */
static bool
append_escaped(Buf *out, Str text, bool is_label, Error *err)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool ok = c == '\\'              ? buf_append(out, STR("\\\\"), err)
                  : c == '\n'            ? buf_append(out, STR("\\n"), err)
                  : c == '"' && is_label ? buf_append(out, STR("\\\""), err)
                                         : buf_append_char(out, c, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool
metrics_label_append(Buf *out, const char *key, Str value, Error *err)
{
    size_t start = out->len;

    if (buf_printf(out, err, "%s%s=\"", start > 0 ? "," : "", key) &&
        append_escaped(out, value, true, err) && buf_append_char(out, '"', err)) {
        return true;
    }
    buf_truncate(out, start);
    return false;
}

static bool
append_number(Buf *out, double value, Error *err)
{
    if (isinf(value)) {
        return buf_printf(out, err, "%s", value < 0 ? "-Inf" : "+Inf");
    }
    return buf_printf(out, err, "%.12g", value);
}

/* "name_suffix{labels,le="bound"} ", whichever of the parts there are. */
static bool
render_series(Buf *out, const Family *family, const Metric *metric, const char *suffix,
              const double *le, Error *err)
{
    const char *labels = metric->labels;

    if (!buf_printf(out, err, "%s%s", family->name, suffix)) {
        return false;
    }
    if (labels[0] == '\0' && le == NULL) {
        return buf_append_char(out, ' ', err);
    }
    if (!buf_printf(out, err, "{%s", labels)) {
        return false;
    }
    if (le != NULL && (!buf_printf(out, err, "%sle=\"", labels[0] != '\0' ? "," : "") ||
                       !append_number(out, *le, err) || !buf_append_char(out, '"', err))) {
        return false;
    }
    return buf_append(out, STR("} "), err);
}

/* The count is the sum of the buckets as read here, so that a scrape never contradicts itself. */
static bool
render_histogram(Buf *out, const Family *family, const Metric *metric, Error *err)
{
    uint64_t total = 0;

    for (size_t i = 0; i <= metric->bounds_count; i++) {
        double le = i < metric->bounds_count ? metric->bounds[i] : (double)INFINITY;
        total += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        if (!render_series(out, family, metric, "_bucket", &le, err) ||
            !buf_printf(out, err, "%llu\n", (unsigned long long)total)) {
            return false;
        }
    }
    return render_series(out, family, metric, "_sum", NULL, err) &&
           append_number(out, atomic_load_explicit(&metric->sum, memory_order_relaxed), err) &&
           buf_append_char(out, '\n', err) &&
           render_series(out, family, metric, "_count", NULL, err) &&
           buf_printf(out, err, "%llu\n", (unsigned long long)total);
}

static bool
render_metric(Buf *out, const Family *family, const Metric *metric, Error *err)
{
    switch (metric->kind) {
    case METRIC_COUNTER:
        return render_series(out, family, metric, "", NULL, err) &&
               buf_printf(out, err, "%llu\n", (unsigned long long)metric_value(metric));
    case METRIC_GAUGE:
        return render_series(out, family, metric, "", NULL, err) &&
               buf_printf(out, err, "%lld\n", (long long)metric_value(metric));
    case METRIC_HISTOGRAM:
        return render_histogram(out, family, metric, err);
    }
    return false;
}

static bool
render_family(Buf *out, const Family *family, Error *err)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
    };

    if (family->first == NULL) {
        return true; /* its only series went over the limit */
    }
    if (!buf_printf(out, err, "# HELP %s ", family->name) ||
        !append_escaped(out, str_c(family->help), false, err) ||
        !buf_printf(out, err, "\n# TYPE %s %s\n", family->name, types[family->kind])) {
        return false;
    }
    for (const Metric *metric = family->first; metric != NULL; metric = metric->next) {
        if (!render_metric(out, family, metric, err)) {
            return false;
        }
    }
    return true;
}

bool
metrics_render(Metrics *metrics, Buf *out, Error *err)
{
    size_t start = out->len;
    bool ok = true;

    pthread_mutex_lock(&metrics->lock);
    for (const Family *family = metrics->first; ok && family != NULL; family = family->next) {
        ok = render_family(out, family, err);
    }
    pthread_mutex_unlock(&metrics->lock);
    ok = ok && buf_printf(out, err,
                          "# HELP metrics_series_refused_total Series not made because %d were "
                          "there already.\n# TYPE metrics_series_refused_total counter\n"
                          "metrics_series_refused_total %llu\n",
                          METRICS_SERIES_MAX, (unsigned long long)atomic_load(&metrics->refused));
    if (!ok) {
        buf_truncate(out, start);
    }
    return ok;
}
