/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal.h"

#include <criterion/criterion.h>

#include "common/mem.h"
#include "tests/support/wal_subject.h"

#define BATCHES 6

TestSuite(wal_damage, .init = wal_subject_setup, .fini = wal_subject_teardown);

/* A log of BATCHES batches of these records; where each one's head and body end. */
static void
damage_subject(FolderImage *image, size_t *out_ends, bool sync, bool seal)
{
    Seen seen;
    Wal *wal = wal_subject_open(sync, 0, &seen);
    Error err;

    for (size_t i = 0; i < BATCHES; i++) {
        uint64_t n = wal_last_lsn(wal) + 1;
        char text[64];
        size_t bytes = BATCH_HEAD;

        for (size_t record = 0; record < 2; record++, n++) {
            bytes += 8 + wal_subject_record_text(n, text) + (size_t)(n % 7 * 300);
        }
        wal_subject_commit(wal, 2);
        cr_assert_leq(bytes, BLOCK);
        out_ends[i] = BLOCK * (i + 1) + bytes;
    }
    cr_assert(!seal || wal_seal(wal, &err));
    wal_free(wal);
    folder_take(wal_dir, image);
    cr_assert_eq(image->count, 1);
}

/* Opens what is in the image; SIZE_MAX: it was refused. */
static size_t
batches_replayed(const FolderImage *image, bool sync)
{
    WalOptions chosen = wal_subject_options(sync);
    Seen seen = {0};
    Wal *wal = NULL;
    Error err = {0};

    folder_put(wal_dir, image);
    if (!wal_open(&chosen, 0, wal_subject_check, &seen, &wal, &err)) {
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

Test(wal_damage, a_tail_that_was_never_written_is_cut_at_the_last_whole_batch, .timeout = 60)
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

Test(wal_damage, a_file_that_is_cut_is_refused_at_every_length)
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

Test(wal_damage, a_changed_byte_costs_the_last_batch_at_most_or_is_refused, .timeout = 120)
{
    flip_every_byte(false);
}

Test(wal_damage, a_changed_byte_in_a_log_that_was_ended_is_refused_in_every_batch, .timeout = 120)
{
    flip_every_byte(true);
}

Test(wal_damage, a_torn_head_of_a_later_batch_is_no_proof_but_a_whole_one_is)
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

Test(wal_damage, without_sync_a_gap_ends_the_log_and_what_follows_never_comes_back)
{
    FolderImage image = {0};
    size_t ends[BATCHES];
    Seen seen;

    damage_subject(&image, ends, false, false);
    image.files[0].bytes[BLOCK * 3 + BATCH_HEAD] ^= 1; /* the third batch */
    folder_put(wal_dir, &image);
    folder_image_done(&image);
    Wal *wal = wal_subject_open(false, 0, &seen);

    cr_expect_eq(seen.count, 4);
    cr_expect_gt(wal_recovery(wal)->discarded_bytes, 0);
    wal_subject_commit(wal, 1); /* as long as nothing fits behind it by accident */
    wal_subject_commit(wal, 1);
    wal_free(wal);
    wal = wal_subject_open(false, 0, &seen);
    cr_expect_eq(seen.count, 6);
    wal_subject_commit(wal, 4);
    wal_free(wal);
    wal = wal_subject_open(false, 0, &seen);
    cr_expect_eq(seen.count, 10);
    wal_free(wal);
}

Test(wal_damage, a_crash_of_the_next_life_leaves_both_lives)
{
    Seen seen;
    FolderImage image = {0};
    size_t ends[BATCHES];

    damage_subject(&image, ends, true, false);
    image.files[0].bytes[BLOCK * BATCHES + BATCH_HEAD] ^= 1; /* torn */
    folder_put(wal_dir, &image);
    folder_image_done(&image);
    uint64_t expected = 2 * (BATCHES - 1);

    for (size_t life = 0; life < 5; life++) {
        Wal *wal = wal_subject_open(true, 0, &seen);

        cr_assert_eq(seen.count, expected);
        wal_subject_commit(wal, 3);
        expected += 3;
        wal_free(wal);
    }
}

/* Fills three segments and one more; returns the last LSN of the first. */
static uint64_t
four_segments(FolderImage *image, uint64_t *out_last)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    uint64_t first_end = 0;

    while (folder_count(wal_dir, ".wal") < 4) {
        first_end = folder_count(wal_dir, ".wal") <= 1 ? wal_last_lsn(wal) : first_end;
        wal_subject_commit(wal, 1);
        first_end = folder_count(wal_dir, ".wal") == 1 ? wal_last_lsn(wal) : first_end;
    }
    *out_last = wal_last_lsn(wal);
    wal_free(wal);
    folder_take(wal_dir, image);
    return first_end;
}

/* Without the nth file; true when the log can be opened, after_lsn being had. */
static bool
opens_without(const FolderImage *image, size_t nth, uint64_t after_lsn, Seen *seen)
{
    FolderImage rest = {0};
    WalOptions chosen = wal_subject_options(true);
    Wal *wal = NULL;
    Error err = {0};

    for (size_t i = 0; i < image->count; i++) {
        if (i != nth) {
            rest.files[rest.count++] = image->files[i];
        }
    }
    folder_put(wal_dir, &rest);
    *seen = (Seen){0};
    bool ok = wal_open(&chosen, after_lsn, wal_subject_check, seen, &wal, &err);

    cr_assert(ok || err.code == ERR_CORRUPT, "%s", err.text);
    cr_assert_not(seen->wrong);
    wal_free(wal);
    return ok;
}

Test(wal_damage, a_missing_segment_is_refused_unless_the_caller_has_what_it_held)
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

Test(wal_damage, a_payload_that_imitates_a_batch_is_not_taken_for_one)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    FolderImage image = {0};
    Error err;

    wal_subject_commit(wal, 1);
    folder_take(wal_dir, &image);
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
    folder_take(wal_dir, &image);
    image.files[0].bytes[2 * BLOCK + BATCH_HEAD] ^= 1;
    folder_put(wal_dir, &image);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    wal_free(wal);
    folder_image_done(&image);
}

Test(wal_damage, a_log_that_was_ended_says_so_until_it_goes_on)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    Error err;

    cr_expect_not(wal_recovery(wal)->sealed);
    wal_subject_commit(wal, 4);
    cr_expect(wal_seal(wal, &err));
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect(wal_recovery(wal)->sealed);
    cr_expect_eq(seen.count, 4);
    wal_subject_commit(wal, 1);
    wal_free(wal);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_not(wal_recovery(wal)->sealed);
    cr_expect_eq(seen.count, 5);
    wal_free(wal);
}

Test(wal_damage, files_of_others_are_left_alone_and_begun_ones_removed)
{
    Seen seen;
    Wal *wal = wal_subject_open(true, 0, &seen);
    FolderImage image = {0};

    wal_subject_commit(wal, 1);
    wal_free(wal);
    folder_take(wal_dir, &image);
    image.files[image.count++] =
        (FolderFile){.name = "0000000000000009.new", .bytes = mem_strdup("x"), .len = 1};
    image.files[image.count++] =
        (FolderFile){.name = "0000000000000008.spare", .bytes = mem_strdup("x"), .len = 1};
    image.files[image.count++] = (FolderFile){.name = "notes", .bytes = mem_strdup("x"), .len = 1};
    folder_put(wal_dir, &image);
    wal = wal_subject_open(true, 0, &seen);
    cr_expect_eq(seen.count, 1);
    cr_expect_eq(folder_count(wal_dir, ".new"), 0);
    cr_expect_eq(folder_count(wal_dir, ".spare"), 0, "one of another size is of no use");
    cr_expect_eq(folder_count(wal_dir, "notes"), 1);
    wal_free(wal);
    folder_image_done(&image);
}
