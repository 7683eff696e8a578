/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/copy_text.h -- the lines of a COPY in pieces, so that long runs of lines that were made
 * ahead are sent from where they lie.
 *
 * Lines made ahead are borrowed until the text was sent; short runs of them are copied, since each
 * piece costs a call and its end may cost a system call.  Pure.
 */
#pragma once

#include "common/buf.h"

#define COPY_TEXT_RUN_BYTES_MIN (32u * 1024) /* of a run that becomes a piece of its own */

typedef struct CopyPiece {
    const char *ahead; /* NULL: it is in own, from `at` on */
    size_t at;
    size_t len;
} CopyPiece;

typedef struct CopyText {
    Buf own;       /* what is not borrowed */
    size_t own_at; /* up to there it is in pieces */
    Str run;       /* lines made ahead, one behind the other, not in pieces yet */
    CopyPiece *pieces;
    size_t count;
    size_t room;
    Str *texts; /* what copy_text_end makes of them; as many */
} CopyText;

void copy_text_init(CopyText *copy, size_t bytes_max); /* bytes_max: that are not borrowed */
void copy_text_done(CopyText *copy);
void copy_text_reset(CopyText *copy); /* empty; keeps memory, within limits */
/* The next line, which was made ahead.  ERR_LIMIT, as for all below. */
DS_MUST_CHECK bool copy_text_ahead(CopyText *copy, Str line, Error *err);
/* Where the next line is to be made; valid until the next call. */
DS_MUST_CHECK bool copy_text_open(CopyText *copy, Buf **out, Error *err);
/* All lines are there: texts are the pieces, until copy_text_reset. */
DS_MUST_CHECK bool copy_text_end(CopyText *copy, Error *err);
