/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/again.h -- the streams that an operator asked to begin again (dsctl sync retry, reset,
 * skip).
 *
 * Told the version of ds_sync.control as often as somebody has read it; when it moved, asks which
 * streams were asked since.  A question that fails is asked again with the next version told.
 */
#pragma once

#include "syncd/control_link.h"
#include "syncd/stream_plan.h"

typedef struct Again Again;

/* The key is borrowed until it returns. */
typedef void (*AgainFn)(void *arg, const StreamKey *key);

Again *again_new(ControlLink *link, AgainFn fn, void *arg);
void again_free(Again *again); /* accepts NULL; before the link */
void again_told(Again *again, int64_t version);
