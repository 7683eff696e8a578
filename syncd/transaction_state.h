/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/transaction_state.h -- a transaction whose sink is a table of state: its messages folded,
 * and the parameters of the statements that carry the outcome out.
 *
 * Pure.  The order of the statements is that of syncd/state_fold.h.
 */
#pragma once

#include "syncd/state_fold.h"
#include "syncd/transaction.h"

#define STATE_PAGE_ROWS 2000 /* of a set that a statement of its own walks over */

/* A key as the table may hold it: what a btree takes. */
#define STATE_PAGE_TEXT_BYTES_MAX 4096
#define STATE_FAULT_SQLSTATE      "22023" /* of messages that we refuse ourselves */

/* How the sets of a part's stream stand in Postgres (ds_sync.state_stream). */
typedef struct StateSets {
    int64_t generation;
    int64_t snapshot_seq; /* or STATE_SEQ_NONE */
    int64_t opened_seq;   /* likewise: see syncd/state_fold.h */
} StateSets;

/* Where a walk over a set of one stream is.  The first page begins with a NULL type. */
typedef struct StatePage {
    size_t part;
    bool begun;
    Buf type; /* of the last row that was looked at */
    Buf key;
} StatePage;

/* sets[i] is of parts[i].  Messages that are no changes, or lack a required column, are marked.
 * False: not all of it can be in one transaction; the lane's next part is shorter, or tried one by
 * one. */
DS_MUST_CHECK bool transaction_fold(Transaction *transaction, const StateSets *sets,
                                    StateFold *fold);
/* The append of that seq does not fit what is there; false: there is no such message. */
DS_MUST_CHECK bool transaction_mark_append(Transaction *transaction, int64_t stream_id, int64_t seq,
                                           Str kind, Str found);
/* The table refuses what is entry `number` of a fold whose changes are apart, from 1 on; false:
 * there is no such entry. */
DS_MUST_CHECK bool transaction_mark_entry(Transaction *transaction, const StateFold *fold,
                                          uint64_t number, const Error *why);
/* Something of a part that is alone in its transaction is at fault: its messages are tried one by
 * one from now on.  False: they are already, or there is only one. */
DS_MUST_CHECK bool transaction_sieve(Transaction *transaction);
/* Postgres refused a part that is alone in its transaction: marks its only message, or makes the
 * next part shorter.  False: it holds a mark only, and that cannot be left out. */
DS_MUST_CHECK bool transaction_narrow(Transaction *transaction, const Error *why);

/* Parameters of state_open.sql, of the sink's state_sql[SINK_STATE_CHECK], [_STAGE] or [_APPLY],
 * and of state_mark.sql.  *out_needed is false where there is nothing to do.  ERR_LIMIT: too large
 * for one value. */
DS_MUST_CHECK bool transaction_encode_state_open(Transaction *transaction, Error *err);
DS_MUST_CHECK bool transaction_encode_state_check(Transaction *transaction, const StateFold *fold,
                                                  bool *out_needed, Error *err);
DS_MUST_CHECK bool transaction_encode_state_rows(Transaction *transaction, const StateFold *fold,
                                                 bool staged, bool *out_needed, Error *err);
/* Whether what is to become of the visible sets can be had by [_PUT]; then its parameters, and how
 * many rows it is to write. */
bool transaction_only_sets(const StateFold *fold);
DS_MUST_CHECK bool transaction_encode_state_put(Transaction *transaction, const StateFold *fold,
                                                size_t *out_rows, Error *err);
/* Those of state_drop.sql and of the sink's [SINK_STATE_REMOVE], [_MOVE], [_CLEAR], and with `sift`
 * of [_SIFT]. */
DS_MUST_CHECK bool transaction_encode_state_page(Transaction *transaction, const StatePage *page,
                                                 bool sift, Error *err);
DS_MUST_CHECK bool transaction_encode_state_mark(Transaction *transaction, const StateSets *sets,
                                                 const StateFold *fold, bool *out_needed,
                                                 Error *err);
