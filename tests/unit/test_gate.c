/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/gate.h"

#include <criterion/criterion.h>

TestSuite(gate, .timeout = 60);

#define USERS       10
#define PLACES      3
#define LONG_MS     3600000
#define NEVER_COMES (-1)

typedef struct Bench Bench;

typedef struct Visitor {
    Bench *bench;
    GateUser user;
    int turn;    /* the how many-th that came in from the line */
    bool passes; /* leaves as soon as it is in */
} Visitor;

struct Bench {
    Loop *loop;
    Gate *gate;
    Visitor visitors[USERS];
    int turns;
};

static void
on_turn(void *arg)
{
    Visitor *visitor = arg;

    visitor->turn = visitor->bench->turns++;
    if (visitor->passes) {
        gate_leave(visitor->bench->gate, &visitor->user);
    }
}

/* All ask at once, in order. */
static void
bench_init(Bench *bench, int64_t held_ms_max)
{
    *bench = (Bench){.loop = loop_new()};
    bench->gate = gate_new(bench->loop, PLACES, held_ms_max);
    for (int i = 0; i < USERS; i++) {
        Visitor *visitor = &bench->visitors[i];

        *visitor = (Visitor){
            .bench = bench, .user = {.on_turn = on_turn, .arg = visitor}, .turn = NEVER_COMES};
        cr_expect_eq(gate_enter(bench->gate, &visitor->user), i < PLACES, "%d", i);
    }
}

static void
bench_leave(Bench *bench, int visitor)
{
    gate_leave(bench->gate, &bench->visitors[visitor].user);
}

/* The loop ends when there is nothing left to wait for: nobody inside. */
static void
bench_done(Bench *bench)
{
    for (int i = 0; i < USERS; i++) {
        bench_leave(bench, i);
    }
    gate_free(bench->gate);
    loop_run(bench->loop);
    loop_free(bench->loop);
}

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

/* Lets what was put off happen. */
static void
bench_turn(Bench *bench)
{
    loop_defer(bench->loop, stop_loop, bench->loop);
    loop_run(bench->loop);
}

Test(gate, no_more_are_inside_than_there_are_places)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    for (int i = 0; i < USERS; i++) {
        cr_expect_eq(gate_inside(bench.gate), (size_t)DS_MIN(PLACES, USERS - i), "%d", i);
        cr_expect_eq(gate_in_line(bench.gate), (size_t)DS_MAX(USERS - PLACES - i, 0), "%d", i);
        bench_leave(&bench, i);
        bench_turn(&bench);
    }
    bench_done(&bench);
}

Test(gate, who_came_first_has_its_turn_first)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    for (int i = 0; i < USERS; i++) {
        bench_leave(&bench, i);
        bench_turn(&bench);
    }
    for (int i = 0; i < USERS; i++) {
        cr_expect_eq(bench.visitors[i].turn, i < PLACES ? NEVER_COMES : i - PLACES, "%d", i);
    }
    bench_done(&bench);
}

Test(gate, nobody_overtakes_the_line_though_a_place_is_free)
{
    Bench bench;
    Visitor *first = &bench.visitors[0];

    bench_init(&bench, LONG_MS);
    bench_leave(&bench, 0);
    cr_expect_not(gate_enter(bench.gate, &first->user));
    bench_turn(&bench);
    cr_expect_eq(bench.visitors[PLACES].turn, 0);
    cr_expect_eq(first->turn, NEVER_COMES);
    bench_done(&bench);
}

Test(gate, a_turn_is_never_told_from_inside_another_call)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    bench_leave(&bench, 0);
    cr_expect_eq(bench.turns, 0);
    bench_turn(&bench);
    cr_expect_eq(bench.turns, 1);
    bench_done(&bench);
}

Test(gate, who_leaves_the_line_gets_no_turn)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    bench_leave(&bench, PLACES);
    bench_leave(&bench, 0);
    bench_turn(&bench);
    cr_expect_eq(bench.visitors[PLACES].turn, NEVER_COMES);
    cr_expect_eq(bench.visitors[PLACES + 1].turn, 0);
    bench_done(&bench);
}

Test(gate, all_get_in_when_each_leaves_in_its_own_turn)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    for (int i = PLACES; i < USERS; i++) {
        bench.visitors[i].passes = true;
    }
    bench_leave(&bench, 0);
    bench_turn(&bench);
    cr_expect_eq(bench.turns, USERS - PLACES);
    cr_expect_eq(gate_inside(bench.gate), (size_t)PLACES - 1);
    bench_done(&bench);
}

/* The loop runs until nobody is inside. */
Test(gate, who_never_leaves_loses_its_place_to_the_line)
{
    Bench bench;

    bench_init(&bench, 1);
    loop_run(bench.loop);
    cr_expect_eq(bench.turns, USERS - PLACES);
    cr_expect_eq(gate_inside(bench.gate), (size_t)0);
    cr_expect_eq(gate_in_line(bench.gate), (size_t)0);
    bench_done(&bench);
}

Test(gate, who_lost_its_place_may_leave_and_come_again)
{
    Bench bench;

    bench_init(&bench, 1);
    loop_run(bench.loop);
    bench_leave(&bench, 0);
    cr_expect(gate_enter(bench.gate, &bench.visitors[0].user));
    cr_expect_eq(gate_inside(bench.gate), (size_t)1);
    bench_done(&bench);
}

Test(gate, it_may_be_freed_while_a_turn_is_due)
{
    Bench bench;

    bench_init(&bench, LONG_MS);
    bench_leave(&bench, 0);
    bench_done(&bench);
    cr_expect_eq(bench.turns, 0);
}
