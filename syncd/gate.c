/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/gate.h"

#include <stdlib.h>

#include "common/mem.h"

typedef TAILQ_HEAD(GateUsers, GateUser) GateUsers;

struct Gate {
    Loop *loop;
    size_t places;
    int64_t held_ms_max;
    GateUsers line;
    size_t line_count;
    GateUsers inside; /* who entered first comes first */
    size_t inside_count;
    LoopTimer *timer; /* for the first one inside; runs while there is somebody */
    bool scheduled;
    bool freed; /* while scheduled */
};

static void
gate_let_in(Gate *gate, GateUser *user)
{
    user->place = GATE_INSIDE;
    user->entered_ms = loop_now_ms(gate->loop);
    TAILQ_INSERT_TAIL(&gate->inside, user, link);
    gate->inside_count++;
    if (!timer_active(gate->timer)) {
        timer_start(gate->timer, gate->held_ms_max);
    }
}

static void
gate_take_out(Gate *gate, GateUser *user)
{
    user->place = GATE_OUTSIDE;
    TAILQ_REMOVE(&gate->inside, user, link);
    gate->inside_count--;
}

/* Who has its turn may begin and end at once: the line is looked at anew each time. */
static void
gate_step(void *arg)
{
    Gate *gate = arg;

    gate->scheduled = false;
    if (gate->freed) {
        free(gate);
        return;
    }
    while (gate->inside_count < gate->places && !TAILQ_EMPTY(&gate->line)) {
        GateUser *user = TAILQ_FIRST(&gate->line);

        TAILQ_REMOVE(&gate->line, user, link);
        gate->line_count--;
        gate_let_in(gate, user);
        user->on_turn(user->arg);
    }
}

static void
gate_schedule(Gate *gate)
{
    if (!gate->scheduled && !TAILQ_EMPTY(&gate->line)) {
        gate->scheduled = true;
        loop_defer(gate->loop, gate_step, gate);
    }
}

static void
gate_on_time(void *arg)
{
    Gate *gate = arg;
    int64_t now_ms = loop_now_ms(gate->loop);
    GateUser *user;

    while ((user = TAILQ_FIRST(&gate->inside)) != NULL) {
        int64_t left_ms = user->entered_ms + gate->held_ms_max - now_ms;

        if (left_ms > 0) {
            timer_start(gate->timer, left_ms);
            break;
        }
        gate_take_out(gate, user);
    }
    gate_schedule(gate);
}

Gate *
gate_new(Loop *loop, size_t places, int64_t held_ms_max)
{
    Gate *gate = mem_zalloc(sizeof(*gate));

    DS_ASSERT(places > 0 && held_ms_max > 0);
    gate->loop = loop;
    gate->places = places;
    gate->held_ms_max = held_ms_max;
    gate->timer = timer_new(loop, gate_on_time, gate);
    TAILQ_INIT(&gate->line);
    TAILQ_INIT(&gate->inside);
    return gate;
}

void
gate_free(Gate *gate)
{
    if (gate == NULL) {
        return;
    }
    DS_ASSERT(gate->line_count == 0 && gate->inside_count == 0);
    timer_free(gate->timer);
    if (gate->scheduled) {
        gate->freed = true;
    } else {
        loop_defer_free(gate->loop, gate); /* in its own step, perhaps */
    }
}

bool
gate_enter(Gate *gate, GateUser *user)
{
    DS_ASSERT(user->place == GATE_OUTSIDE);
    if (gate->inside_count < gate->places && gate->line_count == 0) {
        gate_let_in(gate, user);
        return true;
    }
    user->place = GATE_IN_LINE;
    TAILQ_INSERT_TAIL(&gate->line, user, link);
    gate->line_count++;
    return false;
}

void
gate_leave(Gate *gate, GateUser *user)
{
    switch (user->place) {
    case GATE_OUTSIDE:
        return;
    case GATE_IN_LINE:
        user->place = GATE_OUTSIDE;
        TAILQ_REMOVE(&gate->line, user, link);
        gate->line_count--;
        break;
    case GATE_INSIDE:
        gate_take_out(gate, user);
        break;
    }
    if (gate->inside_count == 0) {
        timer_stop(gate->timer);
    }
    gate_schedule(gate);
}

size_t
gate_inside(const Gate *gate)
{
    return gate->inside_count;
}

size_t
gate_in_line(const Gate *gate)
{
    return gate->line_count;
}
