/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/wal_subject.h -- a write-ahead log for tests, in a folder of its own: its record n
 * is known from n alone, so that a replay can be checked.
 */
#pragma once

#include "server/wal.h"
#include "tests/support/folder.h"

#define BLOCK      4096
#define BATCH_HEAD 72
#define SEGMENT    WAL_SEGMENT_BYTES_MIN

extern char wal_folder[FOLDER_PATH_SIZE];
extern char wal_dir[FOLDER_PATH_SIZE + 8]; /* of the log, in the folder */
extern char wal_subject_filler[4096];

/* What a replay delivered. */
typedef struct Seen {
    uint64_t first_lsn;
    uint64_t last_lsn;
    size_t count;
    bool wrong; /* a gap, or a record that was not written so */
} Seen;

void wal_subject_setup(void); /* of a TestSuite */
void wal_subject_teardown(void);

WalOptions wal_subject_options(bool sync);
/* Must succeed. */
Wal *wal_subject_open(bool sync, uint64_t after_lsn, Seen *seen);
/* Text of record n; at most 64 bytes with the zero behind it.  n % 7 * 300 bytes follow it. */
size_t wal_subject_record_text(uint64_t n, char *out);
/* WalRecordFn with a Seen. */
bool wal_subject_check(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err);

void wal_subject_add(Wal *wal, size_t count); /* the next records, to the batch that was begun */
bool wal_subject_try_commit(Wal *wal, size_t count, Error *err);
void wal_subject_commit(Wal *wal, size_t count);
void wal_subject_release(Wal *wal, uint64_t lsn);
