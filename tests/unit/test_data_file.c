/* SPDX-License-Identifier: Apache-2.0 */
#include "server/data_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/support/data_subject.h"

TestSuite(data_file, .init = data_subject_setup, .fini = data_subject_teardown);

/* ---- reading ---- */

Test(data_file, every_range_of_messages_is_read_as_it_was_written)
{
    DataEnd end = data_subject(ID);

    for (uint64_t from = 0; from < MESSAGES; from++) {
        for (uint64_t to = from + 1; to <= MESSAGES; to++) {
            DataRead read = {.id = ID,
                             .end = end,
                             .counts_messages = true,
                             .from = from,
                             .to = to,
                             .bytes_max = SIZE_MAX};
            Range range;

            data_must_read(&read, &range);
            cr_assert_eq(range.to, to);
            data_expect_range(&range, data_start_of(from), data_start_of(to) - data_start_of(from));
            range_done(&range);
        }
    }
}

Test(data_file, every_range_of_bytes_is_read_as_it_was_written)
{
    DataEnd end = data_subject(ID);

    for (uint64_t from = 0; from < end.bytes; from += 3) {
        for (uint64_t to = from + 1; to <= end.bytes; to += 5) {
            DataRead read = {.id = ID, .end = end, .from = from, .to = to, .bytes_max = SIZE_MAX};
            Range range;

            data_must_read(&read, &range);
            cr_assert_eq(range.to, to);
            data_expect_range(&range, from, to - from);
            range_done(&range);
        }
    }
}

Test(data_file, a_read_ends_with_the_last_message_that_fits_and_has_one_at_least)
{
    DataEnd end = data_subject(ID);

    for (size_t bytes_max = 0; bytes_max < 80; bytes_max++) {
        for (uint64_t from = 0; from < MESSAGES; from++) {
            uint64_t to = from + 1;
            Range range;

            while (to < MESSAGES && data_start_of(to + 1) - data_start_of(from) <= bytes_max) {
                to++;
            }
            DataRead by_message = {.id = ID,
                                   .end = end,
                                   .counts_messages = true,
                                   .from = from,
                                   .to = MESSAGES,
                                   .bytes_max = bytes_max};

            data_must_read(&by_message, &range);
            cr_assert_eq(range.to, to);
            range_done(&range);
            DataRead by_byte = {.id = ID,
                                .end = end,
                                .from = data_start_of(from),
                                .to = end.bytes,
                                .bytes_max = bytes_max};

            data_must_read(&by_byte, &range);
            cr_assert_eq(range.to, data_start_of(to));
            range_done(&range);
        }
    }
}

Test(data_file, many_messages_are_read_in_pages_without_a_gap)
{
    static uint32_t lengths[150000];
    DataEnd end = {0};
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(lengths); i++) {
        lengths[i] = 1 + (uint32_t)(i % 5);
    }
    cr_assert(data_try_append(ID, &end, lengths, DS_COUNT(lengths), &err), "%s", err.text);
    for (uint64_t from = 0, byte = 0; from < end.count;) {
        DataRead read = {.id = ID,
                         .end = end,
                         .counts_messages = true,
                         .from = from,
                         .to = end.count,
                         .bytes_max = SIZE_MAX};
        Range range;

        data_must_read(&read, &range);
        data_expect_range(&range, byte, range.bytes);
        from = range.to;
        byte += range.bytes;
        range_done(&range);
        cr_assert(from < end.count || byte == end.bytes);
    }
}

Test(data_file, a_range_may_already_hold_what_comes_before)
{
    DataEnd end = data_subject(ID);
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 0, .to = 3, .bytes_max = SIZE_MAX};
    Range range;
    Error err;

    data_must_read(&read, &range);
    read.from = 3;
    read.to = 9;
    cr_expect(data_file_read(data_files, &read, &range, &err));
    cr_expect_eq(range.to, 9);
    data_expect_range(&range, 0, data_start_of(9));
    range_done(&range);
}

Test(data_file, what_does_not_count_yet_is_written_over)
{
    DataEnd end = data_subject(ID);
    DataEnd shorter = {.bytes = data_start_of(5), .count = 5};
    static const uint32_t lengths[] = {100};
    Error err = {0};

    (void)end;
    cr_assert(data_try_append(ID, &shorter, lengths, 1, &err), "%s", err.text);
    DataRead read = {
        .id = ID, .end = shorter, .counts_messages = true, .to = 6, .bytes_max = SIZE_MAX};
    Range range;

    data_must_read(&read, &range);
    data_expect_range(&range, 0, shorter.bytes);
    range_done(&range);
}

/* ---- damage ---- */

static void
path_of(const char *suffix, char *out)
{
    (void)snprintf(out, FOLDER_PATH_SIZE, "%.200s/%02x/%016x%s", data_dir, ID % 256, ID, suffix);
}

static void
flip(const char *suffix, off_t at, char with)
{
    char path[FOLDER_PATH_SIZE];
    char byte;

    path_of(suffix, path);
    int fd = open(path, O_RDWR);

    cr_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte = (char)(byte ^ with);
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

/* Reads of every kind: each is refused, or right. */
static size_t
refused_reads(DataEnd end)
{
    size_t refused = 0;

    for (uint64_t from = 0; from < MESSAGES; from++) {
        for (int by_byte = 0; by_byte < 2; by_byte++) {
            DataRead read = {.id = ID,
                             .end = end,
                             .counts_messages = !by_byte,
                             .from = by_byte ? data_start_of(from) : from,
                             .to = by_byte ? end.bytes : end.count,
                             .bytes_max = 30};
            Range range;
            Error err = {0};

            range_init(&range, read.from);
            if (data_file_read(data_files, &read, &range, &err)) {
                data_expect_range(&range, data_start_of(from), range.bytes);
                cr_assert_gt(range.bytes, 0);
                range_done(&range);
            } else {
                cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
                cr_assert_not_null(strstr(err.text, "0000000000001234."), "%s", err.text);
                refused++;
            }
        }
    }
    return refused;
}

Test(data_file, a_changed_byte_of_the_payload_is_never_served)
{
    DataEnd end = data_subject(ID);

    cr_expect_eq(refused_reads(end), 0);
    for (uint64_t at = 0; at < end.bytes; at++) {
        flip(".data", (off_t)at, (char)(1 << at % 8));
        cr_assert_gt(refused_reads(end), 0);
        flip(".data", (off_t)at, (char)(1 << at % 8));
    }
}

Test(data_file, a_changed_byte_of_the_index_is_never_believed)
{
    DataEnd end = data_subject(ID);

    for (uint64_t at = 0; at < end.count * 16; at++) {
        flip(".idx", (off_t)at, (char)(1 << at % 8));
        cr_assert_gt(refused_reads(end), 0);
        flip(".idx", (off_t)at, (char)(1 << at % 8));
    }
}

Test(data_file, what_is_cut_off_behind_our_back_is_refused_at_every_length)
{
    DataEnd end = data_subject(ID);
    char path[FOLDER_PATH_SIZE];
    Error err;

    path_of(".data", path);
    for (off_t len = (off_t)end.bytes - 1; len >= 0; len--) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_gt(refused_reads(end), 0);
        cr_assert_not(data_file_cut(data_files, ID, end, &err));
        cr_assert_eq(err.code, ERR_CORRUPT);
    }
    path_of(".idx", path);
    for (off_t len = (off_t)end.count * 16 - 1; len >= 0; len -= 7) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_not(data_file_cut(data_files, ID, end, &err));
        cr_assert_eq(err.code, ERR_CORRUPT);
    }
}

Test(data_file, a_file_that_is_gone_is_told_from_damage)
{
    DataEnd end = data_subject(ID);
    DataRead read = {.id = ID + 1, .end = end, .to = 5, .bytes_max = 10};
    char text[512];

    cr_expect_eq(data_read_error(&read, text), ERR_NOT_FOUND);
}

/* ---- cutting, deleting, listing ---- */

static off_t
size_of(const char *suffix)
{
    char path[FOLDER_PATH_SIZE];
    struct stat status;

    path_of(suffix, path);
    return stat(path, &status) == 0 ? status.st_size : -1;
}

Test(data_file, cutting_leaves_what_counts)
{
    DataEnd end = data_subject(ID);
    Error err = {0};

    for (uint64_t count = MESSAGES + 1; count-- > 0;) {
        DataEnd to = {.bytes = data_start_of(count), .count = count};

        cr_assert(data_file_cut(data_files, ID, to, &err), "%s", err.text);
        cr_assert_eq(size_of(".data"), (off_t)to.bytes);
        cr_assert_eq(size_of(".idx"), (off_t)(to.count * 16));
    }
    cr_expect_not(data_file_cut(data_files, ID, end, &err));
    cr_expect(data_file_cut(data_files, ID + 1, (DataEnd){0}, &err), "nothing is wanted of it");
    cr_expect_not(data_file_cut(data_files, ID + 1, end, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
}

Test(data_file, an_index_of_another_payload_is_refused_when_it_is_cut)
{
    DataEnd end = data_subject(ID);
    Error err;

    end.bytes--;
    cr_expect_not(data_file_cut(data_files, ID, end, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
}

static bool
collect(void *arg, uint64_t id, Error *err)
{
    uint64_t *seen = arg;

    seen[id % 1000]++;
    return data_file_delete(data_files, id, err);
}

Test(data_file, listing_finds_every_file_and_deleting_leaves_none)
{
    uint64_t seen[1000] = {0};
    Error err = {0};
    char path[FOLDER_PATH_SIZE];

    for (uint64_t id = 0; id < 1000; id += 3) {
        (void)data_subject(id);
    }
    path_of(".note", path);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);

    cr_assert(fd >= 0);
    (void)close(fd);
    cr_assert(data_files_each(data_files, collect, seen, &err), "%s", err.text);
    for (uint64_t id = 0; id < 1000; id++) {
        cr_expect_eq(seen[id] > 0, id % 3 == 0);
    }
    memset(seen, 0, sizeof(seen));
    cr_assert(data_files_each(data_files, collect, seen, &err), "%s", err.text);
    for (uint64_t id = 0; id < 1000; id++) {
        cr_expect_eq(seen[id], 0);
    }
    cr_expect(data_file_delete(data_files, ID, &err), "there is none, which is fine");
    cr_expect_eq(access(path, F_OK), 0, "a file of somebody else");
}

Test(data_file, what_was_punched_is_refused_and_the_rest_is_served)
{
    static const uint32_t lengths[] = {9000, 9000};
    DataEnd end = {0};
    Error err = {0};
    char text[512];

    cr_assert(data_try_append(ID, &end, lengths, 2, &err), "%s", err.text);
    cr_expect(data_file_punch(data_files, ID, 9000));
    cr_expect(data_file_punch(data_files, ID + 1, 9000));
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 1, .to = 2, .bytes_max = SIZE_MAX};
    Range range;

    data_must_read(&read, &range);
    data_expect_range(&range, 9000, 9000);
    range_done(&range);
    read.from = 0;
    cr_expect_eq(data_read_error(&read, text), ERR_CORRUPT);
}

Test(data_file, the_limit_is_that_of_the_whole_range)
{
    DataEnd end = data_subject(ID);
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 9, .to = 12, .bytes_max = 22};
    Range range;
    Error err = {0};

    data_must_read(&read, &range); /* 10 and 11 bytes */
    data_expect_range(&range, data_start_of(9), 21);
    read.from = 11;
    cr_assert(data_file_read(data_files, &read, &range, &err), "%s", err.text);
    data_expect_range(&range, data_start_of(9), 21);
    cr_expect_eq(range.to, 11);
    read.bytes_max = 33;
    cr_assert(data_file_read(data_files, &read, &range, &err), "%s", err.text);
    data_expect_range(&range, data_start_of(9), 33);
    cr_expect_eq(range.to, 12);
    range_done(&range);
}

/* ---- syncing ---- */

Test(data_file, few_and_many_files_can_be_made_durable)
{
    uint64_t ids[DATA_FILE_SYNC_EACH_MAX + 1];
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(ids); i++) {
        ids[i] = i + 1;
        (void)data_subject(ids[i]);
    }
    cr_expect(data_files_sync(data_files, ids, 0, &err), "%s", err.text);
    cr_expect(data_files_sync(data_files, ids, DATA_FILE_SYNC_EACH_MAX, &err), "%s", err.text);
    cr_expect(data_files_sync(data_files, ids, DS_COUNT(ids), &err), "%s", err.text);
    ids[0] = 999;
    cr_expect_not(data_files_sync(data_files, ids, 1, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}

Test(data_file, names_that_could_not_be_made_durable_are_not_forgotten)
{
    uint64_t ids[] = {ID};
    static const uint32_t lengths[] = {1};
    DataEnd end = {0};
    struct rlimit limit;
    Error err = {0};

    cr_assert(data_try_append(ID, &end, lengths, 1, &err), "%s", err.text);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 0; /* the data_files are open, their data_folder is not */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0); /* a failed assertion needs a socket */
    bool first = data_files_sync(data_files, ids, 1, &err);
    bool second = data_files_sync(data_files, ids, 1, &err);

    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_expect_not(first);
    cr_expect_not(second);
    cr_expect_eq(err.code, ERR_RETRY, "%s", err.text);
    cr_expect(data_files_sync(data_files, ids, 1, &err), "%s", err.text);
}

Test(data_file, no_room_changes_nothing_that_counts)
{
    DataEnd end = data_subject(ID);
    DataEnd before = end;
    static const uint32_t lengths[] = {5000};
    struct rlimit limit;
    Error err = {0};

    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 1000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_not(data_try_append(ID, &end, lengths, 1, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_eq(end.count, before.count);
    cr_expect_eq(refused_reads(before), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect(data_try_append(ID, &end, lengths, 1, &err), "%s", err.text);
    cr_expect_eq(refused_reads(end), 0);
}

Test(data_file, a_folder_that_cannot_be_made_is_refused)
{
    DataFiles *none = NULL;
    Error err;

    cr_expect_not(data_files_open("/proc/none/streams", 8, true, &none, &err));
    cr_expect_null(none);
}

/* ---- threads ---- */

typedef struct Growing {
    _Atomic uint64_t count; /* messages of 10 bytes */
    atomic_bool stop;
    atomic_int wrong;
} Growing;

static void *
follow(void *arg)
{
    Growing *growing = arg;
    uint64_t reads = 0;

    while (!atomic_load(&growing->stop) || reads == 0) {
        uint64_t count = atomic_load(&growing->count);
        DataRead read = {.id = ID,
                         .end = {.bytes = count * 10, .count = count},
                         .counts_messages = true,
                         .from = count > 20 ? count - 20 : 0,
                         .to = count,
                         .bytes_max = SIZE_MAX};
        Range range;
        Error err;

        if (count == 0) {
            continue;
        }
        range_init(&range, read.from);
        if (!data_file_read(data_files, &read, &range, &err) || range.to != count) {
            atomic_fetch_add(&growing->wrong, 1);
        }
        range_done(&range);
        reads++;
    }
    return NULL;
}

Test(data_file, readers_see_whole_messages_while_the_file_grows)
{
    static uint32_t lengths[] = {10, 10, 10};
    Growing growing = {0};
    pthread_t threads[3];
    DataEnd end = {0};
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, follow, &growing), 0);
    }
    for (size_t i = 0; i < 500; i++) {
        cr_assert(data_try_append(ID, &end, lengths, 1 + i % 3, &err), "%s", err.text);
        atomic_store(&growing.count, end.count);
        if (i % 10 == 0) { /* so that descriptors are closed meanwhile */
            (void)data_subject(100 + i);
        }
    }
    atomic_store(&growing.stop, true);
    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_expect_eq(atomic_load(&growing.wrong), 0);
}
