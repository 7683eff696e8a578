/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/gate.h -- how many requests a stream server has before it that it has not begun to answer.
 *
 * After a start, a take-over or a restart of the server thousands of streams are opened at one
 * moment.  The gate has a number of places; who finds none waits in line, and they come in the
 * order they asked.  A place is given back when the head of the answer is there.  Who has not left
 * after held_ms_max loses it, and nothing else: a server that is slow about some streams must not
 * keep the others from being read.
 */
#pragma once

#include <sys/queue.h>

#include "common/loop.h"

typedef enum GatePlace {
    GATE_OUTSIDE,
    GATE_IN_LINE,
    GATE_INSIDE,
} GatePlace;

typedef struct GateUser {
    TAILQ_ENTRY(GateUser) link; /* in line, or inside */
    GatePlace place;
    int64_t entered_ms;
    LoopFn on_turn; /* it was in line, and is inside; at the end of a turn of the loop */
    void *arg;
} GateUser;

typedef struct Gate Gate;

Gate *gate_new(Loop *loop, size_t places, int64_t held_ms_max);
void gate_free(Gate *gate); /* accepts NULL; after all users left */

/* Of a user outside.  True: it is inside; false: it is in line, and on_turn comes. */
DS_MUST_CHECK bool gate_enter(Gate *gate, GateUser *user);
void gate_leave(Gate *gate, GateUser *user); /* from wherever it is, also from outside */

size_t gate_inside(const Gate *gate);
size_t gate_in_line(const Gate *gate);
