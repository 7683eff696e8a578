/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/transaction.h -- what one Postgres transaction writes: parts of several lanes, and their
 * text.
 *
 * Holds rows of one sink, so that the number of published row changes is known (Electric 1.4.2
 * loses a transaction with a multiple of 100).  Composed anew for each try.  Pure:
 * the writer sends what is encoded here.
 */
#pragma once

#include "common/pg.h"
#include "syncd/copy_text.h"
#include "syncd/lane.h"

#define TRANSACTION_PARTS_MAX      1024
#define TRANSACTION_ARRAYS_MAX     (14 + SINK_VALUES_MAX)
#define TRANSACTION_TEXT_BYTES_MAX ((size_t)1 << 30) /* Postgres's own limit of a value */

/* Below this the rows go with the guard in one statement: fewer than 100, so that the Electric rule
 * never applies to it. */
#define TRANSACTION_SMALL_ROWS_MAX  99
#define TRANSACTION_SMALL_BYTES_MAX (256u * 1024)

typedef struct TransactionRow {
    Part *part;
    Unit *unit;
    size_t item;
    int64_t seq;
} TransactionRow;

typedef struct Transaction {
    Part parts[TRANSACTION_PARTS_MAX]; /* in stream_id order */
    size_t part_count;
    const Sink *sink; /* of all parts */
    size_t items;
    size_t letters;
    bool marked; /* what are letters, or rows, is known better than when the parts were added */
    size_t bytes;
    Buf arrays[TRANSACTION_ARRAYS_MAX]; /* array literals, the parameters of the statement encoded
                                           last */
    size_t array_count;
    CopyText copy[2];   /* of the newest slice, and of the one before, which is being sent */
    unsigned copy_now;  /* the newest one's */
    size_t slice_first; /* its rows */
    size_t slice_end;
    size_t next_part; /* what it ends before */
    PartCursor next_item;
    TransactionRow *rows; /* of all slices so far */
    size_t row_count;
    size_t row_room;
    Buf scratch;
} Transaction;

void transaction_init(Transaction *transaction);
void transaction_done(Transaction *transaction);
void transaction_reset(Transaction *transaction); /* forgets the parts, keeps memory */

/* Adds what fits of a lane.  The first part decides the sink; a lane of another one adds nothing.
 * False when nothing was added; *out_blocked says that the lane must stop instead. */
bool transaction_add(Transaction *transaction, Lane *lane, const PartLimits *limits,
                     bool *out_blocked);
void transaction_sort(Transaction *transaction); /* by stream_id; before anything is encoded */
bool transaction_is_small(const Transaction *transaction);

/* For modules that fill arrays: so many empty ones, and their closing braces. */
void transaction_begin_arrays(Transaction *transaction, size_t count);
DS_MUST_CHECK bool transaction_end_arrays(Transaction *transaction, Error *err);

/* Which of the sink's statements takes what transaction_encode_small encodes. */
const char *transaction_small_sql(const Transaction *transaction);

/* Fill arrays with the parameters of guard.sql, the sink's small_sql and one_sql,
 * read_positions.sql and dead_letters.sql.  ERR_LIMIT: too large for one value.  ERR_INPUT, of the
 * small one: a row is at fault; slices and the sieve find it. */
DS_MUST_CHECK bool transaction_encode_guard(Transaction *transaction, Error *err);
DS_MUST_CHECK bool transaction_encode_small(Transaction *transaction, Error *err);
DS_MUST_CHECK bool transaction_encode_ids(Transaction *transaction, Error *err);
DS_MUST_CHECK bool transaction_encode_letters(Transaction *transaction, Error *err);
/* A row turned out to be bad. */
void transaction_mark(Transaction *transaction, size_t row, const Error *err);
/* What the first of the letters is for; there is one. */
void transaction_first_letter(const Transaction *transaction, Error *out);
/* False: they are for several reasons, or for one that lies in the message. */
bool transaction_letters_are_alike(const Transaction *transaction, Error *out);
/* False: a part holds a dead letter that it may not hold, and all must be composed again. */
bool transaction_allows_letters(Transaction *transaction);
/* What is no dead letter, as COPY text, in slices: one can be encoded while the one before is under
 * way. transaction_first_slice begins; each transaction_next_slice makes slice_first .. slice_end -
 * 1 the next rows, rows_max of them at most and none behind the last; those that are found at fault
 * are marked and left out.  The text of a slice, and what it borrows of the lanes' units, stays in
 * place until the second call after it. */
void transaction_first_slice(Transaction *transaction);
DS_MUST_CHECK bool transaction_next_slice(Transaction *transaction, size_t rows_max, Error *err);
/* As transaction_next_slice, for the sink's sieve_fill_sql: the rows are in the arrays. */
DS_MUST_CHECK bool transaction_next_sieve(Transaction *transaction, size_t rows_max, Error *err);
/* The COPY lines of the newest slice. */
const CopyText *transaction_copy_text(const Transaction *transaction);
/* The arrays as parameters; count is array_count. */
void transaction_params(Transaction *transaction, PgParam *out);
/* NULL when no part has that stream. */
Part *transaction_find(Transaction *transaction, int64_t stream_id);
/* The checkpoint that the part leads to. */
Checkpoint part_after(const Part *part);
