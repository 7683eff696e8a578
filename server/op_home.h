/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_home.h -- the way of an operation through a store that finishes it on another thread.
 *
 * One OpHome per network loop.  op_home_send keeps what the op borrows from its request, lets the
 * exchange wait, and submits it at the end of the loop's turn, with all that came in it.  When the
 * store is done, on a thread of its own, the op waits at home with others that finished meanwhile;
 * one call on the loop's thread answers them all, in the order in which they finished.
 *
 * A client that leaves detaches its op: the operation happens all the same, nobody is answered, and
 * the store's thread frees the op.  So an op that is not home never needs its loop, which may have
 * ended by then; the home itself lives until its loop and every op have let go of it.
 *
 * Limit: the bodies that wait in the store, DS_LIMITS__MAX_INFLIGHT_BODY_BYTES for all loops
 * together, as for those being received; 503 beyond it.
 */
#pragma once

#include "server/op.h"

#define OP_HOME_SPARES_MAX 256

/* At most this much of a body is copied beside the op's other text; more is taken as it lies. */
#define OP_COPIED_BYTES_MAX 4096

OpHome *op_home_new(NetLoop *net);
void op_home_drop(OpHome *home); /* the loop's reference; every exchange of the loop has ended */

/* On the loop's thread: memory for an op, and that of one back.  An op is larger than malloc keeps
 * at hand, so the home keeps some itself. */
Op *op_home_make(OpHome *home);
void op_home_spare(Op *op);

/* For a store that queues.  op->store.done becomes what answers, on the loop's thread, and frees
 * the op; or the op is answered with 503 and freed now. */
void op_home_send(OpHome *home, Op *op);
void op_home_release(Op *op); /* op_free's part */
