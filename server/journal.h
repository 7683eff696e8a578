/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/journal.h -- which streams came, closed and went, lately.
 *
 * A ring of the last JOURNAL_ENTRIES_MAX changes, numbered from 1.  Who follows keeps the number of
 * the last one seen; who was away for too long is told so and lists the streams again.  Tokens look
 * like offsets and die with the process, as the numbers do.  Thread safe.
 */
#pragma once

#include "common/offset.h"
#include "server/wake.h"

#define JOURNAL_ENTRIES_MAX 4096

typedef enum JournalKind {
    JOURNAL_CREATED,
    JOURNAL_CLOSED,
    JOURNAL_DELETED, /* or expired, once it is swept */
} JournalKind;

typedef struct JournalEntry {
    uint64_t number;
    JournalKind kind;
    uint64_t era;
    char *name; /* owned by the journal, or by who copied the entry */
    size_t name_len;
} JournalEntry;

typedef struct Journal Journal;

Journal *journal_new(void);
void journal_free(Journal *journal);

void journal_add(Journal *journal, JournalKind kind, Str name, uint64_t era);

/* The token of now: changes after this call come after it. */
Offset journal_token(Journal *journal);

/* Copies of up to `limit` changes after the token, and how many; free each name.  *out_token is the
 * token after them.  ERR_GONE when the token is too old or of another process. */
DS_MUST_CHECK bool journal_read(Journal *journal, Offset token, JournalEntry *out, size_t limit,
                                size_t *out_count, Offset *out_token, Error *err);

/* On the loop's thread; wake_leave undoes it. */
void journal_wait(Journal *journal, NetLoop *loop, Waiter *waiter);
