/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/position.h -- how far a stream is read or loaded.
 *
 * A server's offset stands behind a whole data event, and one event may be larger than a
 * transaction.  So a position is an offset and how much behind it is done already: messages of a
 * JSON stream, bytes of any other.  The same place can have several positions, since a server may
 * cut its events differently the next time; they are compared only with themselves.  Pure.
 */
#pragma once

#include "common/offset.h"

typedef struct Position {
    char offset[OFFSET_BYTES_MAX + 1]; /* as the server minted it, or "-1" */
    int64_t skip;
} Position;

/* The offset must be valid or "-1". */
void position_set(Position *position, Str offset, int64_t skip);
bool position_equal(const Position *a, const Position *b);
bool position_at_start(const Position *position); /* "-1" and nothing of it done */

/* Whether it says which life of the stream it is of, as those of ds-server do.  Another server's
 * look alike, with a number of messages where ours have an era, which comes from the clock. */
bool offset_names_life(Str offset);

/* "-1" becomes the offset that lies so many messages, or bytes, before `end`; not where that names
 * no life.  skip stays. */
void position_name_start(Position *position, Str end, int64_t steps);

/* Both offsets look as if one scheme had made them, and `theirs` is before `ours` (protocol 8:
 * offsets of a stream are bytewise ordered): the stream lost its end or is another one. */
bool offset_went_back(Str ours, Str theirs);
