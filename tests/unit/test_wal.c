/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "common/mem.h"
#include "tests/support/wal_subject.h"

TestSuite(wal, .init = wal_subject_setup, .fini = wal_subject_teardown);

/* ---- what was committed comes back ---- */

Test(wal, what_was_committed_comes_back_in_order)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);

    cr_expect_eq(seen.count, 0);
    for (size_t batch = 1; batch <= 20; batch++) {
        wal_subject_commit(wal, batch);
    }
    cr_expect_eq(wal_last_lsn(wal), 210);
    wal_free(wal);

    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 210);
    cr_expect_eq(seen.first_lsn, 1);
    cr_expect_eq(wal_last_lsn(wal), 210);
    cr_expect_eq(wal_recovery(wal)->records, 210);
    cr_expect_eq(wal_recovery(wal)->torn_bytes, 0);
    wal_subject_commit(wal, 3);
    wal_free(wal);

    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 213);
    wal_free(wal);
}

Test(wal, a_record_of_many_and_empty_parts_is_one_body)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    char text[64];
    size_t len = wal_subject_record_text(1, text);
    Str parts[1200]; /* more than one call takes */
    Error err;

    memset(wal_subject_filler, 'f', sizeof(wal_subject_filler));
    for (size_t i = 0; i < DS_COUNT(parts); i++) {
        parts[i] = STR_EMPTY;
    }
    for (size_t i = 0; i < len; i++) {
        parts[i] = str_n(text + i, 1);
    }
    parts[len] = str_n(wal_subject_filler, 100);
    parts[DS_COUNT(parts) - 1] = str_n(wal_subject_filler + 100, 200);
    wal_begin(wal);
    cr_expect_eq(wal_add(wal, 1, parts, DS_COUNT(parts)), 1);
    cr_expect(wal_commit(wal, &err));
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, many_large_parts_need_several_calls_and_are_still_one_batch)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);

    wal_subject_commit(wal, 3000);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 3000);
    wal_free(wal);
}

Test(wal, what_was_abandoned_is_gone_and_its_numbers_are_used_again)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err;

    wal_subject_commit(wal, 2);
    wal_begin(wal);
    wal_subject_add(wal, 5);
    wal_abandon(wal);
    wal_begin(wal);
    cr_expect(wal_commit(wal, &err));
    cr_expect_eq(wal_last_lsn(wal), 2);
    wal_subject_commit(wal, 2);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 4);
    wal_free(wal);
}

Test(wal, what_the_caller_has_is_not_replayed_and_numbers_go_on_behind_it)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);

    wal_subject_commit(wal, 5);
    wal_subject_commit(wal, 5);
    wal_free(wal);
    wal = wal_subject_open(true, 7, &seen);
    cr_expect_eq(seen.first_lsn, 8);
    cr_expect_eq(seen.count, 3);
    wal_free(wal);

    wal = wal_subject_open(true, 100, &seen);
    cr_expect_eq(seen.count, 0);
    cr_expect_eq(wal_last_lsn(wal), 100);
    wal_subject_commit(wal, 1);
    cr_expect_eq(wal_last_lsn(wal), 101);
    wal_free(wal);
    wal = wal_subject_open(true, 100, &seen);
    cr_expect_eq(seen.first_lsn, 101);
    wal_free(wal);
}

static bool
refuse(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    (void)arg;
    (void)kind;
    (void)body;
    return lsn < 3 || error_set(err, ERR_INPUT, "no");
}

Test(wal, a_record_that_the_caller_refuses_stops_the_opening)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    WalOptions chosen = wal_subject_options(true);
    Error err = {0};

    wal_subject_commit(wal, 5);
    wal_free(wal);
    wal = NULL;
    cr_expect_not(wal_open(&chosen, 0, refuse, NULL, &wal, &err));
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_null(wal);
}

/* ---- segments ---- */

Test(wal, segments_are_used_again_and_old_records_never_come_back)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err;

    for (size_t round = 0; round < 40; round++) {
        for (size_t i = 0; i < 11; i++) {
            wal_subject_commit(wal, 1 + (round + i) % 9);
        }
        if (round % 3 == 0) {
            cr_assert(wal_prepare(wal, &err));
        }
        if (round % 2 == 0) {
            wal_subject_release(wal, wal_last_lsn(wal));
        }
        cr_assert_leq(folder_count(wal_dir, ".wal"), 7);
        cr_assert_leq(folder_count(wal_dir, ".spare"), 2);
    }
    uint64_t last = wal_last_lsn(wal);

    wal_subject_commit(wal, 1);
    wal_free(wal);
    wal = wal_subject_open(true, last, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, a_batch_larger_than_a_segment_gets_one_of_its_own)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err;

    wal_subject_commit(wal, 1);
    cr_assert(wal_prepare(wal, &err));
    wal_subject_commit(wal, 1000);
    wal_subject_commit(wal, 1);
    wal_subject_commit(wal, 1000);
    wal_subject_commit(wal, 1000);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 3002);
    wal_subject_release(wal, 3002);
    cr_expect_eq(folder_count(wal_dir, ".wal"), 0, "all were released");
    wal_subject_commit(wal, 1);
    wal_free(wal);
    wal = wal_subject_open(true, 3002, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, commits_are_refused_when_too_many_segments_wait_and_go_on_after_a_release)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err = {0};

    while (wal_subject_try_commit(wal, 9, &err)) {
        cr_assert_lt(wal_last_lsn(wal), 4000);
    }
    uint64_t last = wal_last_lsn(wal);

    cr_expect_eq(err.code, ERR_FULL);
    cr_expect_eq(folder_count(wal_dir, ".wal"), 8);
    cr_expect(wal_prepare(wal, &err), "there is nothing to prepare, which is no error");
    cr_expect_eq(folder_count(wal_dir, ".wal"), 8);
    wal_subject_release(wal, last / 2);
    wal_subject_commit(wal, 9);
    cr_expect_eq(wal_last_lsn(wal), last + 9);
    wal_free(wal);
    wal = wal_subject_open(true, last / 2, &seen);
    cr_expect_eq(seen.count, last + 9 - last / 2);
    wal_free(wal);
}

Test(wal, bytes_used_grow_with_commits_and_shrink_with_releases)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);

    cr_expect_eq(wal_bytes_used(wal), 0);
    for (size_t i = 1; i <= 10; i++) {
        wal_subject_commit(wal, 1);
        cr_expect_eq(wal_bytes_used(wal), BLOCK * (i + 1));
    }
    wal_subject_release(wal, 5);
    cr_expect_eq(wal_bytes_used(wal), BLOCK * 5);
    wal_subject_release(wal, 10);
    cr_expect_eq(wal_bytes_used(wal), 0);
    wal_free(wal);
}

/* ---- no room ---- */

Test(wal, no_room_for_a_segment_refuses_the_batch_and_changes_nothing)
{
    Seen seen;
    Error err = {0};

    (void)setenv("DS_FAULT", "wal.make_segment:fail:2", 1);
    Wal *wal = wal_subject_open(true, 0, &seen);

    wal_subject_commit(wal, 1);
    cr_expect_not(wal_subject_try_commit(wal, 1000, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_eq(wal_last_lsn(wal), 1);
    cr_expect_eq(folder_count(wal_dir, ""), 1, "what was begun is removed");
    wal_subject_commit(wal, 1000);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 1001);
    wal_free(wal);
}

static void
limit_files(rlim_t bytes)
{
    struct rlimit limit;

    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(wal, the_system_refusing_room_is_no_error_that_stops_the_process)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err = {0};

    limit_files(SEGMENT / 2);
    cr_expect_not(wal_subject_try_commit(wal, 1, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_not(wal_prepare(wal, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    wal_subject_commit(wal, 1);
    limit_files(2 * BLOCK); /* the next block lies behind it: nothing of the batch is written */
    cr_expect_not(wal_subject_try_commit(wal, 2, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    wal_subject_commit(wal, 2);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 3);
    wal_free(wal);
}

Test(wal, a_batch_that_was_written_in_part_is_fatal_and_stays_so)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err = {0};

    wal_subject_commit(wal, 1);
    limit_files(2 * BLOCK + 512);
    cr_expect_not(wal_subject_try_commit(wal, 9, &err));
    cr_expect_eq(err.code, ERR_FATAL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    cr_expect_not(wal_subject_try_commit(wal, 1, &err));
    cr_expect_eq(err.code, ERR_FATAL);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    cr_expect_gt(wal_recovery(wal)->torn_bytes, 0);
    wal_free(wal);
}

/* ---- threads ---- */

typedef struct Checkpointer {
    Wal *wal;
    atomic_bool stop;
    bool failed;
} Checkpointer;

static void *
checkpoints(void *arg)
{
    Checkpointer *checkpointer = arg;

    while (!atomic_load(&checkpointer->stop)) {
        uint64_t lsn = wal_last_lsn(checkpointer->wal);
        Error err;

        checkpointer->failed |=
            !wal_prepare(checkpointer->wal, &err) || !wal_release(checkpointer->wal, lsn, &err);
        (void)wal_bytes_used(checkpointer->wal);
    }
    return NULL;
}

Test(wal, segments_may_be_made_and_released_while_batches_are_committed)
{
    Seen seen;
    Checkpointer checkpointer = {.wal = wal_subject_open(true, 0, &seen)};
    pthread_t thread;
    Error err = {0};

    cr_assert_eq(pthread_create(&thread, NULL, checkpoints, &checkpointer), 0);
    for (size_t i = 0; i < 400; i++) {
        bool ok = wal_subject_try_commit(checkpointer.wal, 1 + i % 20, &err);

        cr_assert(ok || err.code == ERR_FULL, "%s", err.text);
    }
    atomic_store(&checkpointer.stop, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_not(checkpointer.failed);
    uint64_t last = wal_last_lsn(checkpointer.wal);

    wal_subject_release(checkpointer.wal, last);
    wal_subject_commit(checkpointer.wal, 2);
    wal_free(checkpointer.wal);
    Wal *wal = wal_subject_open(true, last, &seen);

    cr_expect_eq(seen.count, 2);
    wal_free(wal);
}
