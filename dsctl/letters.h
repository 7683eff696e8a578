/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/letters.h -- dead letters, a bounded page at a time, in the order of each stream's
 * messages.
 */
#pragma once

#include "dsctl/call.h"

#define LETTERS_PAGE 500

/* Texts as the operator gave them; NULL: any. */
typedef struct LettersWanted {
    const char *stream;
    const char *route;
    const char *source;
    const char *generation;
    const char *seq;
    const char *before; /* a time, as Postgres writes it */
} LettersWanted;

/* Columns of a page. */
enum {
    LETTER_STREAM_ID,
    LETTER_STREAM,
    LETTER_ROUTE,
    LETTER_SOURCE,
    LETTER_GENERATION,
    LETTER_SEQ,
    LETTER_REASON,
};

/* The page behind the last letter of *page, or the first one when that is empty; it takes its
 * place. At most `room` letters; no rows: there are no more. */
DS_MUST_CHECK bool letters_next(Call *call, const LettersWanted *wanted, int64_t room,
                                CallRows *page, Error *err);

/* ERR_CONFIG unless it is a whole number. */
DS_MUST_CHECK bool letters_check_seq(const char *seq, Error *err);
