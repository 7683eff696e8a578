/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/outage.h"

#include <criterion/criterion.h>

#define STREAMS   1000
#define MEMORY_MS 100000

typedef struct Bench {
    Outage *outage;
    OutageUser users[STREAMS];
    int64_t now_ms;
} Bench;

static Bench bench;

static void
bench_init(void)
{
    bench = (Bench){.outage = outage_new(MEMORY_MS), .now_ms = 77};
    for (size_t i = 0; i < STREAMS; i++) {
        bench.users[i].name = str_c(i == 0 ? "first" : i == 1 ? "second" : "other");
    }
}

static void
bench_done(void)
{
    for (size_t i = 0; i < STREAMS; i++) {
        outage_leave(bench.outage, &bench.users[i], bench.now_ms);
    }
    outage_free(bench.outage);
}

TestSuite(outage, .init = bench_init, .fini = bench_done, .timeout = 60);

static bool
fails(size_t user, const char *reason)
{
    Error err;

    (void)error_set(&err, ERR_RETRY, "%s", reason);
    return outage_failed(bench.outage, &bench.users[user], EVENT_SOURCE_RETRY, &err, bench.now_ms);
}

static void
is_read(size_t user)
{
    outage_answered(bench.outage);
    outage_leave(bench.outage, &bench.users[user], bench.now_ms);
}

/* Asked every second for so long, as long as nothing else is told. */
static OutageNews
wait_news(int64_t ms, OutageView *out)
{
    OutageNews news = OUTAGE_NOTHING;

    for (int64_t end_ms = bench.now_ms + ms; bench.now_ms < end_ms && news == OUTAGE_NOTHING;) {
        bench.now_ms += 1000;
        news = outage_look(bench.outage, bench.now_ms, out);
    }
    return news;
}

Test(outage, a_server_that_never_failed_is_not_told_of)
{
    OutageView view;

    outage_answered(bench.outage);
    is_read(0);
    cr_expect_eq(wait_news(10000000, &view), OUTAGE_NOTHING);
}

Test(outage, of_a_thousand_streams_that_fail_again_and_again_one_is_told)
{
    size_t told = 0;

    for (int try = 0; try < 20; try++) {
        for (size_t i = 0; i < STREAMS; i++) {
            told += fails(i, "no connection");
        }
    }
    cr_expect_eq(told, 1);
}

Test(outage, that_it_goes_on_is_told_at_growing_intervals_up_to_a_bound)
{
    int64_t told_ms = bench.now_ms;
    int64_t before_ms = 0;
    OutageView view;

    cr_expect(fails(0, "no connection"));
    for (int i = 0; i < 20; i++) {
        cr_expect_not(fails(0, "no connection"));
        cr_expect_not(fails(1, "no connection"));
        cr_assert_eq(wait_news(2 * OUTAGE_TOLD_MS_MAX, &view), OUTAGE_GOES_ON);
        int64_t waited_ms = bench.now_ms - told_ms;

        cr_expect(waited_ms > before_ms || waited_ms == OUTAGE_TOLD_MS_MAX, "%d", i);
        cr_expect_leq(waited_ms, OUTAGE_TOLD_MS_MAX);
        cr_expect_eq(view.failing, 2);
        cr_expect_eq(view.failures, i == 0 ? 3 : 2);
        cr_expect_eq(view.lasted_ms, bench.now_ms - 77);
        cr_expect_str_eq(view.reason, "no connection");
        cr_expect_str_eq(view.longest.ptr, "first");
        cr_expect_not(view.answers);
        told_ms = bench.now_ms;
        before_ms = waited_ms;
    }
    cr_expect_eq(before_ms, OUTAGE_TOLD_MS_MAX);
}

Test(outage, streams_that_wait_and_are_not_tried_meanwhile_are_still_told_of)
{
    OutageView view;

    cr_expect(fails(0, "no connection"));
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(wait_news(1000000, &view), OUTAGE_GOES_ON);
        cr_expect_eq(view.failing, 1);
    }
}

Test(outage, its_end_is_told_with_how_long_it_lasted_and_how_many_it_hit)
{
    OutageView view;

    for (size_t i = 0; i < STREAMS; i++) {
        (void)!fails(i, "no connection");
    }
    bench.now_ms += 3500;
    for (size_t i = 0; i < STREAMS; i++) {
        cr_expect_eq(outage_look(bench.outage, bench.now_ms, &view), OUTAGE_NOTHING, "%zu", i);
        is_read(i);
    }
    cr_expect_eq(wait_news(4000, &view), OUTAGE_OVER);
    cr_expect_eq(view.lasted_ms, 3500);
    cr_expect_eq(view.streams, STREAMS);
    cr_expect_eq(view.failing, 0);
    cr_expect(view.answers);
    cr_expect_eq(wait_news(10000000, &view), OUTAGE_NOTHING, "it was told twice");
}

Test(outage, streams_that_are_left_alone_do_not_make_the_server_answer)
{
    OutageView view;

    cr_expect(fails(0, "no connection"));
    outage_leave(bench.outage, &bench.users[0], bench.now_ms);
    cr_expect_eq(wait_news(10000, &view), OUTAGE_OVER);
    cr_expect_not(view.answers);
}

Test(outage, a_new_reason_is_told_once)
{
    cr_expect(fails(0, "no connection"));
    cr_expect(fails(1, "the server answers 503"));
    cr_expect_not(fails(1, "no connection"));
    cr_expect_not(fails(0, "the server answers 503"));
}

Test(outage, where_the_server_answers_others_each_stream_is_told_once_for_each_reason)
{
    cr_expect(fails(0, "the server answers 500"));
    outage_answered(bench.outage);
    cr_expect_not(fails(0, "the server answers 500"));
    cr_expect(fails(1, "the server answers 500"));
    cr_expect_not(fails(1, "the server answers 500"));
    cr_expect(fails(1, "the server answers 503"));
    cr_expect(fails(0, "the server answers 503"));
    cr_expect_not(fails(0, "the server answers 500"));
}

Test(outage, reasons_that_are_always_new_are_bounded_between_two_lines_about_all)
{
    char reason[32];
    size_t told = 0;
    OutageView view;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < STREAMS; i++) {
            (void)snprintf(reason, sizeof(reason), "reason %d of %d", i, round);
            told += fails((size_t)i, reason);
        }
        cr_expect_eq(told, (size_t)(round + 1) * OUTAGE_LINES_MAX);
        cr_expect_eq(wait_news(100000, &view), OUTAGE_GOES_ON);
    }
}

/* Connections that a proxy cuts again and again, each of them opened anew at once. */
Test(outage, trouble_that_comes_and_goes_does_not_begin_anew_each_time)
{
    OutageView view;
    int lines = 0;

    for (int64_t end_ms = bench.now_ms + 100 * MEMORY_MS; bench.now_ms < end_ms;) {
        lines += fails(0, "the connection was cut");
        is_read(0);
        for (int i = 0; i < 30; i++) {
            bench.now_ms += 1000;
            lines += outage_look(bench.outage, bench.now_ms, &view) != OUTAGE_NOTHING;
        }
    }
    /* 333 cuts in 10,000 s. */
    cr_expect_geq(lines, 3);
    cr_expect_leq(lines, 40);
}

Test(outage, after_a_time_without_failures_the_same_one_is_told_again)
{
    OutageView view;

    cr_expect(fails(0, "no connection"));
    is_read(0);
    cr_expect_eq(wait_news(10000, &view), OUTAGE_OVER);
    cr_expect_eq(wait_news(2 * MEMORY_MS, &view), OUTAGE_NOTHING);
    cr_expect(fails(0, "no connection"));
    is_read(0);
    cr_expect_eq(wait_news(10000, &view), OUTAGE_OVER);
    cr_expect_eq(view.streams, 1);
    cr_expect_eq(view.lasted_ms, 0);
}

Test(outage, who_fails_for_longest_is_named)
{
    OutageView view;

    (void)!fails(0, "no connection");
    (void)!fails(1, "no connection");
    (void)!fails(0, "no connection");
    is_read(0);
    (void)!fails(0, "no connection");
    cr_expect_eq(wait_news(10000, &view), OUTAGE_GOES_ON);
    cr_expect_str_eq(view.longest.ptr, "second");
    cr_expect_eq(view.failing, 2);
    cr_expect_eq(view.streams, 2);
    cr_expect(view.answers);
}
