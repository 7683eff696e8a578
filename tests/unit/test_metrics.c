/* SPDX-License-Identifier: Apache-2.0 */
#include "common/metrics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>

static const double seconds[] = {0.1, 1, 10};

static const char *
render(Metrics *metrics, Buf *out)
{
    Error err = {0};

    buf_init(out, 1 << 22);
    cr_assert(metrics_render(metrics, out, &err), "%s", err.text);
    return buf_cstr(out);
}

static unsigned
count_of(const char *text, const char *needle)
{
    unsigned count = 0;

    for (const char *at = strstr(text, needle); at != NULL; at = strstr(at + 1, needle)) {
        count++;
    }
    return count;
}

Test(metrics, help_and_type_stand_once_above_all_series_of_a_name)
{
    Metrics *metrics = metrics_new();
    Buf out;

    metric_add(metrics_counter(metrics, "rows_total", "route=\"a\"", "Rows."), 3);
    metric_set(metrics_gauge(metrics, "up", NULL, "Is up."), -1);
    metric_add(metrics_counter(metrics, "rows_total", "route=\"b\"", "Rows."), 4);
    const char *text = render(metrics, &out);
    cr_expect(strstr(text, "# HELP rows_total Rows.\n# TYPE rows_total counter\n"
                           "rows_total{route=\"a\"} 3\nrows_total{route=\"b\"} 4\n"
                           "# HELP up Is up.\n# TYPE up gauge\nup -1\n") == text,
              "%s", text);
    cr_expect_eq(count_of(text, "# TYPE rows_total"), 1);
    buf_done(&out);
    metrics_free(metrics);
}

Test(metrics, same_name_and_labels_are_one_series)
{
    Metrics *metrics = metrics_new();
    Metric *first = metrics_counter(metrics, "x_total", NULL, "X.");

    cr_expect_eq(metrics_counter(metrics, "x_total", NULL, "X."), first);
    cr_expect_neq(metrics_counter(metrics, "x_total", "a=\"b\"", "X."), first);
    metrics_free(metrics);
}

Test(metrics, histogram_buckets_are_cumulative_and_end_at_infinity)
{
    Metrics *metrics = metrics_new();
    Metric *histogram = metrics_histogram(metrics, "d_seconds", "m=\"x\"", "D.", seconds, 3);
    Buf out;

    metric_observe(histogram, 0.1); /* a bound belongs to its bucket */
    metric_observe(histogram, 0.5);
    metric_observe(histogram, 11);
    metric_observe(histogram, NAN);
    const char *text = render(metrics, &out);
    cr_expect(strstr(text, "d_seconds_bucket{m=\"x\",le=\"0.1\"} 1\n"
                           "d_seconds_bucket{m=\"x\",le=\"1\"} 2\n"
                           "d_seconds_bucket{m=\"x\",le=\"10\"} 2\n"
                           "d_seconds_bucket{m=\"x\",le=\"+Inf\"} 3\n"
                           "d_seconds_sum{m=\"x\"} 11.6\n"
                           "d_seconds_count{m=\"x\"} 3\n") != NULL,
              "%s", text);
    cr_expect_eq(metric_value(histogram), 3);
    buf_done(&out);
    metrics_free(metrics);
}

Test(metrics, label_values_and_help_are_escaped)
{
    Metrics *metrics = metrics_new();
    Error err = {0};
    Buf labels;
    Buf out;

    buf_init(&labels, 100);
    cr_assert(metrics_label_append(&labels, "a", STR("x\"y\\z\n"), &err));
    cr_assert(metrics_label_append(&labels, "b", STR("1"), &err));
    cr_expect_str_eq(buf_cstr(&labels), "a=\"x\\\"y\\\\z\\n\",b=\"1\"");
    metrics_counter(metrics, "x_total", buf_cstr(&labels), "two\nlines \\ \"quoted\"");
    const char *text = render(metrics, &out);
    cr_expect(strstr(text, "# HELP x_total two\\nlines \\\\ \"quoted\"\n") == text, "%s", text);
    cr_expect(strstr(text, "x_total{a=\"x\\\"y\\\\z\\n\",b=\"1\"} 0\n") != NULL, "%s", text);
    buf_done(&out);
    buf_done(&labels);
    metrics_free(metrics);
}

Test(metrics, label_that_does_not_fit_leaves_the_labels_as_they_were)
{
    Error err = {0};
    Buf labels;

    buf_init(&labels, 10);
    cr_assert(metrics_label_append(&labels, "a", STR("1"), &err));
    cr_expect(!metrics_label_append(&labels, "b", STR("12345"), &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_str_eq(buf_cstr(&labels), "a=\"1\"");
    buf_done(&labels);
}

Test(metrics, past_the_limit_one_shared_series_takes_all_and_it_is_counted)
{
    Metrics *metrics = metrics_new();
    char labels[32];
    Buf out;

    for (int i = 0; i < METRICS_SERIES_MAX; i++) {
        (void)snprintf(labels, sizeof(labels), "i=\"%d\"", i);
        metrics_counter(metrics, "x_total", labels, "X.");
    }
    Metric *overflow = metrics_counter(metrics, "x_total", "i=\"one more\"", "X.");
    cr_expect_eq(metrics_histogram(metrics, "h", NULL, "H.", seconds, 3), overflow);
    metric_add(overflow, 1);
    metric_set(overflow, 1);
    metric_observe(overflow, 1);
    cr_expect_neq(metrics_counter(metrics, "x_total", "i=\"7\"", "X."), overflow,
                  "what is there stays reachable");
    const char *text = render(metrics, &out);
    cr_expect_eq(count_of(text, "\nx_total{"), METRICS_SERIES_MAX);
    cr_expect(strstr(text, "one more") == NULL);
    cr_expect(strstr(text, "# TYPE h ") == NULL, "no heading without a series");
    cr_expect(strstr(text, "metrics_series_refused_total 2\n") != NULL);
    buf_done(&out);
    metrics_free(metrics);
}

Test(metrics, rendering_into_too_little_room_fails_and_leaves_what_was_there)
{
    Metrics *metrics = metrics_new();
    Error err = {0};
    Buf out;

    metrics_counter(metrics, "x_total", NULL, "X.");
    for (size_t max = 4; max < 150; max++) {
        buf_init(&out, max);
        cr_assert(buf_append(&out, STR("kept"), &err));
        cr_expect(!metrics_render(metrics, &out, &err), "at %zu", max);
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_str_eq(buf_cstr(&out), "kept");
        buf_done(&out);
    }
    metrics_free(metrics);
}

static void *
add_many(void *arg)
{
    Metric **series = arg;

    for (int i = 0; i < 10000; i++) {
        metric_add(series[0], 1);
        metric_observe(series[1], 1);
    }
    return NULL;
}

Test(metrics, updates_from_many_threads_are_all_counted)
{
    Metrics *metrics = metrics_new();
    Metric *series[] = {metrics_counter(metrics, "x_total", NULL, "X."),
                        metrics_histogram(metrics, "h", NULL, "H.", seconds, 3)};
    pthread_t threads[4];
    Buf out;

    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        cr_assert(pthread_create(&threads[i], NULL, add_many, series) == 0);
    }
    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    cr_expect_eq(metric_value(series[0]), 40000);
    cr_expect(strstr(render(metrics, &out), "\nh_sum 40000\n") != NULL);
    buf_done(&out);
    metrics_free(metrics);
}
