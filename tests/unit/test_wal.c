/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "common/mem.h"
#include "tests/support/folder.h"

#define BLOCK      4096
#define BATCH_HEAD 72
#define SEGMENT    WAL_SEGMENT_BYTES_MIN
#define SEEN_MAX   4096

static char folder[FOLDER_PATH_SIZE];
static char dir[FOLDER_PATH_SIZE + 8];

/* What a replay delivered. */
typedef struct Seen {
    uint64_t first_lsn;
    uint64_t last_lsn;
    size_t count;
    bool wrong; /* a gap, or a record that was not written so */
} Seen;

static void
setup(void)
{
    folder_make(folder);
    (void)snprintf(dir, sizeof(dir), "%s/wal", folder);
}

static void
teardown(void)
{
    folder_remove(folder);
}

TestSuite(wal, .init = setup, .fini = teardown);

/* Record n: a text that only n has, and n % 7 * 300 bytes that are gathered or copied. */
static size_t
record_text(uint64_t n, char *out)
{
    return (size_t)snprintf(out, 64, "record %llu of the log", (unsigned long long)n);
}

static char filler[4096];

static bool
on_record(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    Seen *seen = arg;
    char text[64];
    size_t len = record_text(lsn, text);
    size_t fill = (size_t)(lsn % 7 * 300);

    (void)err;
    seen->wrong |= seen->count > 0 && lsn != seen->last_lsn + 1;
    seen->wrong |= kind != lsn % 5 || body.len != len + fill ||
                   !str_eq(str_head(body, len), str_n(text, len)) ||
                   !str_eq(str_skip(body, len), str_n(filler, fill));
    seen->first_lsn = seen->count == 0 ? lsn : seen->first_lsn;
    seen->last_lsn = lsn;
    seen->count++;
    return true;
}

static WalOptions
options(bool sync)
{
    return (WalOptions){.dir = dir, .segment_bytes = SEGMENT, .segments_max = 8, .sync = sync};
}

static Wal *
open_log(bool sync, uint64_t after_lsn, Seen *seen)
{
    WalOptions chosen = options(sync);
    Wal *wal = NULL;
    Error err = {0};

    *seen = (Seen){0};
    cr_assert(wal_open(&chosen, after_lsn, on_record, seen, &wal, &err), "%s", err.text);
    cr_assert_not(seen->wrong);
    return wal;
}

static void
add_records(Wal *wal, size_t count)
{
    uint64_t last = wal_last_lsn(wal);
    static char texts[64][64];

    for (uint64_t n = last + 1; n <= last + count; n++) {
        char *text = texts[n % 64];
        Str parts[] = {str_n(text, record_text(n, text)), str_n(filler, (size_t)(n % 7 * 300))};

        cr_assert_eq(wal_add(wal, (unsigned)(n % 5), parts, DS_COUNT(parts)), n);
    }
}

static bool
try_commit(Wal *wal, size_t count, Error *err)
{
    wal_begin(wal);
    add_records(wal, count);
    return wal_commit(wal, err);
}

static void
commit_records(Wal *wal, size_t count)
{
    Error err = {0};

    cr_assert(try_commit(wal, count, &err), "%s", err.text);
}

static void
release(Wal *wal, uint64_t lsn)
{
    Error err = {0};

    cr_assert(wal_release(wal, lsn, &err), "%s", err.text);
}

/* ---- what was committed comes back ---- */

Test(wal, what_was_committed_comes_back_in_order)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);

    cr_expect_eq(seen.count, 0);
    for (size_t batch = 1; batch <= 20; batch++) {
        commit_records(wal, batch);
    }
    cr_expect_eq(wal_last_lsn(wal), 210);
    wal_free(wal);

    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 210);
    cr_expect_eq(seen.first_lsn, 1);
    cr_expect_eq(wal_last_lsn(wal), 210);
    cr_expect_eq(wal_recovery(wal)->records, 210);
    cr_expect_eq(wal_recovery(wal)->torn_bytes, 0);
    commit_records(wal, 3);
    wal_free(wal);

    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 213);
    wal_free(wal);
}

Test(wal, a_record_of_many_and_empty_parts_is_one_body)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    char text[64];
    size_t len = record_text(1, text);
    Str parts[1200]; /* more than one call takes */
    Error err;

    memset(filler, 'f', sizeof(filler));
    for (size_t i = 0; i < DS_COUNT(parts); i++) {
        parts[i] = STR_EMPTY;
    }
    for (size_t i = 0; i < len; i++) {
        parts[i] = str_n(text + i, 1);
    }
    parts[len] = str_n(filler, 100);
    parts[DS_COUNT(parts) - 1] = str_n(filler + 100, 200);
    wal_begin(wal);
    cr_expect_eq(wal_add(wal, 1, parts, DS_COUNT(parts)), 1);
    cr_expect(wal_commit(wal, &err));
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, many_large_parts_need_several_calls_and_are_still_one_batch)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);

    commit_records(wal, 3000);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 3000);
    wal_free(wal);
}

Test(wal, what_was_abandoned_is_gone_and_its_numbers_are_used_again)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    Error err;

    commit_records(wal, 2);
    wal_begin(wal);
    add_records(wal, 5);
    wal_abandon(wal);
    wal_begin(wal);
    cr_expect(wal_commit(wal, &err));
    cr_expect_eq(wal_last_lsn(wal), 2);
    commit_records(wal, 2);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 4);
    wal_free(wal);
}

Test(wal, what_the_caller_has_is_not_replayed_and_numbers_go_on_behind_it)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);

    commit_records(wal, 5);
    commit_records(wal, 5);
    wal_free(wal);
    wal = open_log(true, 7, &seen);
    cr_expect_eq(seen.first_lsn, 8);
    cr_expect_eq(seen.count, 3);
    wal_free(wal);

    wal = open_log(true, 100, &seen);
    cr_expect_eq(seen.count, 0);
    cr_expect_eq(wal_last_lsn(wal), 100);
    commit_records(wal, 1);
    cr_expect_eq(wal_last_lsn(wal), 101);
    wal_free(wal);
    wal = open_log(true, 100, &seen);
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
    Wal *wal = open_log(true, 0, &seen);
    WalOptions chosen = options(true);
    Error err = {0};

    commit_records(wal, 5);
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
    Wal *wal = open_log(true, 0, &seen);
    Error err;

    for (size_t round = 0; round < 40; round++) {
        for (size_t i = 0; i < 11; i++) {
            commit_records(wal, 1 + (round + i) % 9);
        }
        if (round % 3 == 0) {
            cr_assert(wal_prepare(wal, &err));
        }
        if (round % 2 == 0) {
            release(wal, wal_last_lsn(wal));
        }
        cr_assert_leq(folder_count(dir, ".wal"), 7);
        cr_assert_leq(folder_count(dir, ".spare"), 2);
    }
    uint64_t last = wal_last_lsn(wal);

    commit_records(wal, 1);
    wal_free(wal);
    wal = open_log(true, last, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, a_batch_larger_than_a_segment_gets_one_of_its_own)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    Error err;

    commit_records(wal, 1);
    cr_assert(wal_prepare(wal, &err));
    commit_records(wal, 1000);
    commit_records(wal, 1);
    commit_records(wal, 1000);
    commit_records(wal, 1000);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 3002);
    release(wal, 3002);
    cr_expect_eq(folder_count(dir, ".wal"), 0, "all were released");
    commit_records(wal, 1);
    wal_free(wal);
    wal = open_log(true, 3002, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
}

Test(wal, commits_are_refused_when_too_many_segments_wait_and_go_on_after_a_release)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    Error err = {0};

    while (try_commit(wal, 9, &err)) {
        cr_assert_lt(wal_last_lsn(wal), 4000);
    }
    uint64_t last = wal_last_lsn(wal);

    cr_expect_eq(err.code, ERR_FULL);
    cr_expect_eq(folder_count(dir, ".wal"), 8);
    cr_expect(wal_prepare(wal, &err), "there is nothing to prepare, which is no error");
    cr_expect_eq(folder_count(dir, ".wal"), 8);
    release(wal, last / 2);
    commit_records(wal, 9);
    cr_expect_eq(wal_last_lsn(wal), last + 9);
    wal_free(wal);
    wal = open_log(true, last / 2, &seen);
    cr_expect_eq(seen.count, last + 9 - last / 2);
    wal_free(wal);
}

Test(wal, bytes_used_grow_with_commits_and_shrink_with_releases)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);

    cr_expect_eq(wal_bytes_used(wal), 0);
    for (size_t i = 1; i <= 10; i++) {
        commit_records(wal, 1);
        cr_expect_eq(wal_bytes_used(wal), BLOCK * (i + 1));
    }
    release(wal, 5);
    cr_expect_eq(wal_bytes_used(wal), BLOCK * 5);
    release(wal, 10);
    cr_expect_eq(wal_bytes_used(wal), 0);
    wal_free(wal);
}

/* ---- no room ---- */

Test(wal, no_room_for_a_segment_refuses_the_batch_and_changes_nothing)
{
    Seen seen;
    Error err = {0};

    (void)setenv("DS_FAULT", "wal.make_segment:fail:2", 1);
    Wal *wal = open_log(true, 0, &seen);

    commit_records(wal, 1);
    cr_expect_not(try_commit(wal, 1000, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_eq(wal_last_lsn(wal), 1);
    cr_expect_eq(folder_count(dir, ""), 1, "what was begun is removed");
    commit_records(wal, 1000);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
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
    Wal *wal = open_log(true, 0, &seen);
    Error err = {0};

    limit_files(SEGMENT / 2);
    cr_expect_not(try_commit(wal, 1, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_not(wal_prepare(wal, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    commit_records(wal, 1);
    limit_files(2 * BLOCK); /* the next block lies behind it: nothing of the batch is written */
    cr_expect_not(try_commit(wal, 2, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    commit_records(wal, 2);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 3);
    wal_free(wal);
}

Test(wal, a_batch_that_was_written_in_part_is_fatal_and_stays_so)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    Error err = {0};

    commit_records(wal, 1);
    limit_files(2 * BLOCK + 512);
    cr_expect_not(try_commit(wal, 9, &err));
    cr_expect_eq(err.code, ERR_FATAL, "%s", err.text);
    limit_files(RLIM_INFINITY);
    cr_expect_not(try_commit(wal, 1, &err));
    cr_expect_eq(err.code, ERR_FATAL);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    cr_expect_gt(wal_recovery(wal)->torn_bytes, 0);
    wal_free(wal);
}

/* ---- damage ---- */

#define BATCHES 6

/* A log of BATCHES batches of these records; where each one's head and body end. */
static void
damage_subject(FolderImage *image, size_t *out_ends, bool sync, bool seal)
{
    Seen seen;
    Wal *wal = open_log(sync, 0, &seen);
    Error err;

    for (size_t i = 0; i < BATCHES; i++) {
        uint64_t n = wal_last_lsn(wal) + 1;
        char text[64];
        size_t bytes = BATCH_HEAD;

        for (size_t record = 0; record < 2; record++, n++) {
            bytes += 8 + record_text(n, text) + (size_t)(n % 7 * 300);
        }
        commit_records(wal, 2);
        cr_assert_leq(bytes, BLOCK);
        out_ends[i] = BLOCK * (i + 1) + bytes;
    }
    cr_assert(!seal || wal_seal(wal, &err));
    wal_free(wal);
    folder_take(dir, image);
    cr_assert_eq(image->count, 1);
}

/* Opens what is in the image; SIZE_MAX: it was refused. */
static size_t
batches_replayed(const FolderImage *image, bool sync)
{
    WalOptions chosen = options(sync);
    Seen seen = {0};
    Wal *wal = NULL;
    Error err = {0};

    folder_put(dir, image);
    if (!wal_open(&chosen, 0, on_record, &seen, &wal, &err)) {
        cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
        cr_assert_not_null(strstr(err.text, image->files[0].name), "%s", err.text);
        return SIZE_MAX;
    }
    wal_free(wal);
    cr_assert_not(seen.wrong);
    cr_assert(seen.count == 0 || seen.first_lsn == 1);
    cr_assert_eq(seen.count % 2, 0, "a part of a batch was replayed");
    return seen.count / 2;
}

Test(wal, a_tail_that_was_never_written_is_cut_at_the_last_whole_batch, .timeout = 60)
{
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, false);
    FolderFile *file = &image.files[0];
    size_t whole = BATCHES;

    /* From the end: each round one byte more was not written. */
    for (size_t at = ends[BATCHES - 1]; at-- > BLOCK;) {
        bool was_zero = file->bytes[at] == 0;

        file->bytes[at] = 0;
        while (whole > 0 && at < ends[whole - 1] && !was_zero) {
            whole--;
        }
        if (!was_zero && (at % 7 == 0 || at % BLOCK < BATCH_HEAD)) {
            cr_assert_eq(batches_replayed(&image, true), whole, "at %zu", at);
        }
    }
    cr_expect_eq(whole, 0);
    folder_image_done(&image);
}

Test(wal, a_file_that_is_cut_is_refused_at_every_length)
{
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, false);
    for (size_t len = 0; len < image.files[0].len; len += len < 2 * BLOCK ? 61 : 4093) {
        FolderImage cut = image;

        cut.files[0].len = len;
        cr_assert_eq(batches_replayed(&cut, true), SIZE_MAX, "at %zu", len);
    }
    folder_image_done(&image);
}

/* What must come of a changed byte. */
static size_t
flip_expected(size_t at, const size_t *ends, bool sealed)
{
    size_t batch = at / BLOCK - 1;

    if (at < BLOCK) {
        return at < 40 ? SIZE_MAX : BATCHES; /* the segment's head */
    }
    if (batch == BATCHES) {
        return BATCHES; /* the seal: then it is missing */
    }
    if (at >= ends[batch]) {
        return BATCHES; /* padding */
    }
    return batch < BATCHES - 1 || sealed ? SIZE_MAX : batch;
}

static void
flip_every_byte(bool sealed)
{
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, sealed);
    FolderFile *file = &image.files[0];
    size_t to = BLOCK * (BATCHES + 1) + (sealed ? BATCH_HEAD : 0);

    for (size_t at = 0; at < to; at++) {
        size_t within = at % BLOCK;
        bool is_padding =
            within >= (at < BLOCK ? 40 : ends[DS_MIN(at / BLOCK, BATCHES) - 1] % BLOCK);

        if (is_padding && within % 509 != 0) {
            continue; /* some are enough */
        }
        file->bytes[at] = (char)(file->bytes[at] ^ (1 << at % 8));
        size_t got = batches_replayed(&image, true);

        cr_assert_eq(got, flip_expected(at, ends, sealed), "byte %zu: %zd batches", at,
                     (ssize_t)got);
        file->bytes[at] = (char)(file->bytes[at] ^ (1 << at % 8));
    }
    folder_image_done(&image);
}

Test(wal, a_changed_byte_costs_the_last_batch_at_most_or_is_refused, .timeout = 120)
{
    flip_every_byte(false);
}

Test(wal, a_changed_byte_in_a_log_that_was_ended_is_refused_in_every_batch, .timeout = 120)
{
    flip_every_byte(true);
}

Test(wal, a_torn_head_of_a_later_batch_is_no_proof_but_a_whole_one_is)
{
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, false);
    char *bytes = image.files[0].bytes;

    bytes[BLOCK * BATCHES + BATCH_HEAD + 9] ^= 1; /* the last one's body: its head stays */
    bytes[BLOCK * (BATCHES - 1) + BATCH_HEAD + 9] ^= 1;
    cr_expect_eq(batches_replayed(&image, true), SIZE_MAX);
    bytes[BLOCK * BATCHES + 5] ^= 1; /* its head, too */
    cr_expect_eq(batches_replayed(&image, true), BATCHES - 2);
    folder_image_done(&image);
}

Test(wal, without_sync_a_gap_ends_the_log_and_what_follows_never_comes_back)
{
    FolderImage image = {0};
    size_t ends[BATCHES];
    Seen seen;

    damage_subject(&image, ends, false, false);
    image.files[0].bytes[BLOCK * 3 + BATCH_HEAD] ^= 1; /* the third batch */
    folder_put(dir, &image);
    folder_image_done(&image);
    Wal *wal = open_log(false, 0, &seen);

    cr_expect_eq(seen.count, 4);
    cr_expect_gt(wal_recovery(wal)->discarded_bytes, 0);
    commit_records(wal, 1); /* as long as nothing fits behind it by accident */
    commit_records(wal, 1);
    wal_free(wal);
    wal = open_log(false, 0, &seen);
    cr_expect_eq(seen.count, 6);
    commit_records(wal, 4);
    wal_free(wal);
    wal = open_log(false, 0, &seen);
    cr_expect_eq(seen.count, 10);
    wal_free(wal);
}

Test(wal, a_crash_of_the_next_life_leaves_both_lives)
{
    Seen seen;
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, false);
    image.files[0].bytes[BLOCK * BATCHES + BATCH_HEAD] ^= 1; /* torn */
    folder_put(dir, &image);
    folder_image_done(&image);
    uint64_t expected = 2 * (BATCHES - 1);

    for (size_t life = 0; life < 5; life++) {
        Wal *wal = open_log(true, 0, &seen);

        cr_assert_eq(seen.count, expected);
        commit_records(wal, 3);
        expected += 3;
        wal_free(wal);
    }
}

/* Fills three segments and one more; returns the last LSN of the first. */
static uint64_t
four_segments(FolderImage *image, uint64_t *out_last)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    uint64_t first_end = 0;

    while (folder_count(dir, ".wal") < 4) {
        first_end = folder_count(dir, ".wal") <= 1 ? wal_last_lsn(wal) : first_end;
        commit_records(wal, 1);
        first_end = folder_count(dir, ".wal") == 1 ? wal_last_lsn(wal) : first_end;
    }
    *out_last = wal_last_lsn(wal);
    wal_free(wal);
    folder_take(dir, image);
    return first_end;
}

/* Without the nth file; true when the log can be opened, after_lsn being had. */
static bool
opens_without(const FolderImage *image, size_t nth, uint64_t after_lsn, Seen *seen)
{
    FolderImage rest = {0};
    WalOptions chosen = options(true);
    Wal *wal = NULL;
    Error err = {0};

    for (size_t i = 0; i < image->count; i++) {
        if (i != nth) {
            rest.files[rest.count++] = image->files[i];
        }
    }
    folder_put(dir, &rest);
    *seen = (Seen){0};
    bool ok = wal_open(&chosen, after_lsn, on_record, seen, &wal, &err);

    cr_assert(ok || err.code == ERR_CORRUPT, "%s", err.text);
    cr_assert_not(seen->wrong);
    wal_free(wal);
    return ok;
}

Test(wal, a_missing_segment_is_refused_unless_the_caller_has_what_it_held)
{
    FolderImage image = {0};
    uint64_t last = 0;
    uint64_t first_end = four_segments(&image, &last);
    Seen seen;

    cr_expect_not(opens_without(&image, 0, 0, &seen));
    cr_expect_not(opens_without(&image, 0, first_end - 1, &seen));
    cr_expect(opens_without(&image, 0, first_end, &seen));
    cr_expect_eq(seen.first_lsn, first_end + 1);
    cr_expect_eq(seen.last_lsn, last);

    cr_expect_not(opens_without(&image, 1, 0, &seen));
    cr_expect_not(opens_without(&image, 1, first_end * 2 - 1, &seen));
    cr_expect(opens_without(&image, 1, first_end * 2, &seen), "both were released, one came back");
    cr_expect_eq(seen.first_lsn, first_end * 2 + 1);
    cr_expect_eq(seen.last_lsn, last);
    folder_image_done(&image);
}

Test(wal, a_payload_that_imitates_a_batch_is_not_taken_for_one)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    FolderImage image = {0};
    Error err;

    commit_records(wal, 1);
    folder_take(dir, &image);
    /* Where the records begin, the next block boundary is BLOCK - BATCH_HEAD - 8 bytes away. */
    size_t before = BLOCK - BATCH_HEAD - 8;
    char *payload = mem_zalloc(before + BLOCK);

    memcpy(payload + before, image.files[0].bytes + BLOCK, BLOCK); /* a whole, valid one */
    Str part = str_n(payload, before + BLOCK);
    wal_begin(wal);
    (void)wal_add(wal, 0, &part, 1);
    cr_assert(wal_commit(wal, &err));
    free(payload);
    wal_free(wal);
    folder_image_done(&image);

    /* The batch around it is torn: the imitation is seen, claims nothing new, and is not served. */
    folder_take(dir, &image);
    image.files[0].bytes[2 * BLOCK + BATCH_HEAD] ^= 1;
    folder_put(dir, &image);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
    folder_image_done(&image);
}

Test(wal, a_log_that_was_ended_says_so_until_it_goes_on)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    Error err;

    cr_expect_not(wal_recovery(wal)->sealed);
    commit_records(wal, 4);
    cr_expect(wal_seal(wal, &err));
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect(wal_recovery(wal)->sealed);
    cr_expect_eq(seen.count, 4);
    commit_records(wal, 1);
    wal_free(wal);
    wal = open_log(true, 0, &seen);
    cr_expect_not(wal_recovery(wal)->sealed);
    cr_expect_eq(seen.count, 5);
    wal_free(wal);
}

Test(wal, files_of_others_are_left_alone_and_begun_ones_removed)
{
    Seen seen;
    Wal *wal = open_log(true, 0, &seen);
    FolderImage image = {0};

    commit_records(wal, 1);
    wal_free(wal);
    folder_take(dir, &image);
    image.files[image.count++] =
        (FolderFile){.name = "0000000000000009.new", .bytes = mem_strdup("x"), .len = 1};
    image.files[image.count++] =
        (FolderFile){.name = "0000000000000008.spare", .bytes = mem_strdup("x"), .len = 1};
    image.files[image.count++] = (FolderFile){.name = "notes", .bytes = mem_strdup("x"), .len = 1};
    folder_put(dir, &image);
    wal = open_log(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    cr_expect_eq(folder_count(dir, ".new"), 0);
    cr_expect_eq(folder_count(dir, ".spare"), 0, "one of another size is of no use");
    cr_expect_eq(folder_count(dir, "notes"), 1);
    wal_free(wal);
    folder_image_done(&image);
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
    Checkpointer checkpointer = {.wal = open_log(true, 0, &seen)};
    pthread_t thread;
    Error err = {0};

    cr_assert_eq(pthread_create(&thread, NULL, checkpoints, &checkpointer), 0);
    for (size_t i = 0; i < 400; i++) {
        bool ok = try_commit(checkpointer.wal, 1 + i % 20, &err);

        cr_assert(ok || err.code == ERR_FULL, "%s", err.text);
    }
    atomic_store(&checkpointer.stop, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_not(checkpointer.failed);
    uint64_t last = wal_last_lsn(checkpointer.wal);

    release(checkpointer.wal, last);
    commit_records(checkpointer.wal, 2);
    wal_free(checkpointer.wal);
    Wal *wal = open_log(true, last, &seen);

    cr_expect_eq(seen.count, 2);
    wal_free(wal);
}
