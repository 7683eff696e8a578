/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/lag.h -- how far a committed position is behind the tail of its stream.
 *
 * Offsets are opaque, so in general only "at the tail" or "not" can be said.  Where both are of our
 * own server and of one era, their positions count messages (JSON) or bytes.  Pure.
 */
#pragma once

#include "common/str.h"

typedef enum LagKind {
    LAG_NONE,      /* at the tail */
    LAG_COUNTED,   /* behind by so many messages or bytes */
    LAG_UNKNOWN,   /* behind, and nobody can say by how much */
    LAG_OTHER_ERA, /* the stream was made anew, or lost what was committed */
} LagKind;

typedef struct Lag {
    LagKind kind;
    uint64_t behind; /* LAG_COUNTED; 0 for LAG_NONE */
} Lag;

/* skip: messages or bytes committed past the offset. */
Lag lag_between(Str committed, uint64_t skip, Str tail);
