/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/poison.h -- messages that Postgres cannot hold, told before they are sent where possible.
 *
 * One bad value would abort the transaction of all, so each message is judged by what the JSON
 * scanner saw.  What passes and is refused all the same (a CHECK of the operator, a trigger) comes
 * back as a row fault.  Either way the message goes to ds_sync.dead_letter in the transaction that
 * moves the offset past it; too many of them stop the stream.  Pure.
 */
#pragma once

#include "common/json_scan.h"

typedef enum PoisonReason {
    POISON_NONE,
    POISON_NUL,            /* \u0000, or a zero byte for text: 22P05 */
    POISON_LONE_SURROGATE, /* 22P02 */
    POISON_NUMBER,         /* 22003 */
    POISON_UTF8,           /* 22021 */
    POISON_DEPTH,          /* 54001 */
    POISON_SIZE,           /* above SYNCD_MESSAGE_BYTES_MAX */
    POISON_ROW_FAULT,      /* Postgres refused the row */
    POISON_COUNT
} PoisonReason;

/* The stable word in dead_letter.reason. */
const char *poison_name(PoisonReason reason);
/* What Postgres would have said; NULL when it has no code of its own. */
const char *poison_sqlstate(PoisonReason reason);
/* One sentence for people. */
const char *poison_message(PoisonReason reason);

/* Of what the scanner saw and the payload's type cannot hold. */
PoisonReason poison_judge(unsigned json_traits);

/* A stream may have this many dead letters within so many messages (1 % of them), and no more. */
#define POISON_LETTERS_MAX     100
#define POISON_WINDOW_MESSAGES 10000

/* Zeroed at first.  Remembers the newest dead letters by their seq; a stream without any, as nearly
 * all are, has no memory for them. */
typedef struct PoisonWindow {
    int64_t *seqs; /* POISON_LETTERS_MAX, or NULL */
    size_t count;
} PoisonWindow;

void poison_window_done(PoisonWindow *window); /* forgets them all */

/* False when the letter would be one too many; then nothing is remembered.  A seq that is known was
 * counted before (its batch is tried again) and is allowed.  Any order. */
DS_MUST_CHECK bool poison_window_add(PoisonWindow *window, int64_t seq);

/* The line that COPY was at, from an error's CONTEXT ("COPY t, line 3, column c: ..."), first = 1.
 * False when there is none, or it is in another language. */
DS_MUST_CHECK bool poison_copy_line(Str context, uint64_t *out_line);
