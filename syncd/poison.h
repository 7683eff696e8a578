/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/poison.h -- messages that Postgres cannot hold, told before they are sent where possible.
 *
 * One bad value would abort the transaction of all, so each message is judged by what the JSON
 * scanner saw.  What passes and is refused all the same (a CHECK of the operator, a trigger) comes
 * back as a row fault.  Either way the message goes to ds_sync.dead_letter in the transaction that
 * moves the offset past it; a stream of which hardly anything can be loaded stops.  Pure.
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

/* What refuses nearly all messages is the table or the route, not the messages.  Each dead letter
 * weighs one and each row takes three away, down to nothing: a run of bad messages as long as the
 * limit passes, and three of four may be bad for ever, but no table makes more letters than this
 * while it takes hardly a row. */
#define POISON_LETTERS_MAX 3000 /* of a stream */
#define POISON_ROW_REDEEMS 3

/* Zeroed at first. */
typedef struct PoisonTally {
    int64_t weight;
    int64_t lent; /* taken away by messages that may yet become no rows */
} PoisonTally;

/* False when the letter is one too many; then it is not counted. */
DS_MUST_CHECK bool poison_tally_letter(PoisonTally *tally, int64_t letters_max);
void poison_tally_rows(PoisonTally *tally, int64_t rows);
/* Messages of a set that has not ended count as rows for the present; when it ends or is given up,
 * what they took away weighs again, and what became rows of them is counted then.  Returns it. */
void poison_tally_staged(PoisonTally *tally, int64_t messages);
int64_t poison_tally_unstage(PoisonTally *tally);

/* The line that COPY was at, from an error's CONTEXT ("COPY t, line 3, column c: ..."), first = 1.
 * False when there is none, or it is in another language. */
DS_MUST_CHECK bool poison_copy_line(Str context, uint64_t *out_line);
