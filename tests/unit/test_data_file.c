/* SPDX-License-Identifier: Apache-2.0 */
#include "server/data_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/support/folder.h"

#define ID       0x1234u
#define MESSAGES 20 /* message i is i + 1 bytes */

static char folder[FOLDER_PATH_SIZE];
static char dir[FOLDER_PATH_SIZE + 16];
static DataFiles *files;

static void
setup(void)
{
    Error err = {0};

    folder_make(folder);
    (void)snprintf(dir, sizeof(dir), "%s/streams", folder);
    cr_assert(data_files_open(dir, 8, true, &files, &err), "%s", err.text);
}

static void
teardown(void)
{
    data_files_free(files);
    folder_remove(folder);
}

TestSuite(data_file, .init = setup, .fini = teardown);

/* Bytes first..first+count of what every file here holds. */
static char
byte_at(uint64_t offset)
{
    return (char)('a' + offset % 23 + offset / 23 % 3);
}

static void
payload_fill(char *out, uint64_t first, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = byte_at(first + i);
    }
}

static bool
try_append(uint64_t id, DataEnd *end, const uint32_t *lengths, size_t count, Error *err)
{
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        len += lengths[i];
    }
    char *bytes = mem_alloc(len + 1);

    payload_fill(bytes, end->bytes, len);
    /* In three parts that no message ends at. */
    Str parts[] = {str_n(bytes, len / 3), STR_EMPTY, str_n(bytes + len / 3, len - len / 3)};
    DataRun run = {.parts = parts, .parts_count = 3, .lengths = lengths, .count = count};
    bool ok = data_file_append(files, id, *end, &run, err);

    free(bytes);
    if (ok) {
        end->bytes += len;
        end->count += count;
    }
    return ok;
}

static DataEnd
subject(uint64_t id)
{
    uint32_t lengths[MESSAGES];
    DataEnd end = {0};
    Error err = {0};

    for (uint32_t i = 0; i < MESSAGES; i++) {
        lengths[i] = i + 1;
    }
    cr_assert(try_append(id, &end, lengths, 7, &err), "%s", err.text);
    cr_assert(try_append(id, &end, lengths + 7, MESSAGES - 7, &err), "%s", err.text);
    cr_assert(data_files_sync(files, &id, 1, &err), "%s", err.text);
    return end;
}

static uint64_t
start_of(uint64_t message)
{
    return message * (message + 1) / 2;
}

static void
expect_range(const Range *range, uint64_t first_byte, uint64_t bytes)
{
    uint64_t at = first_byte;

    cr_assert_eq(range->bytes, bytes);
    for (size_t part = 0; part < range->count; part++) {
        for (size_t i = 0; i < range->parts[part].bytes.len; i++, at++) {
            cr_assert_eq(range->parts[part].bytes.ptr[i], byte_at(at));
        }
    }
    cr_assert_eq(at, first_byte + bytes);
}

static void
must_read(const DataRead *read, Range *range)
{
    Error err = {0};

    range_init(range, read->from);
    cr_assert(data_file_read(files, read, range, &err), "%s", err.text);
}

static ErrorCode
read_error(const DataRead *read, char *out_text)
{
    Range range;
    Error err = {0};

    range_init(&range, read->from);
    if (data_file_read(files, read, &range, &err)) {
        range_done(&range);
        return ERR_NONE;
    }
    cr_assert_eq(range.count, 0);
    cr_assert_eq(range.to, read->from);
    memcpy(out_text, err.text, sizeof(err.text));
    return err.code;
}

/* ---- reading ---- */

Test(data_file, every_range_of_messages_is_read_as_it_was_written)
{
    DataEnd end = subject(ID);

    for (uint64_t from = 0; from < MESSAGES; from++) {
        for (uint64_t to = from + 1; to <= MESSAGES; to++) {
            DataRead read = {.id = ID,
                             .end = end,
                             .counts_messages = true,
                             .from = from,
                             .to = to,
                             .bytes_max = SIZE_MAX};
            Range range;

            must_read(&read, &range);
            cr_assert_eq(range.to, to);
            expect_range(&range, start_of(from), start_of(to) - start_of(from));
            range_done(&range);
        }
    }
}

Test(data_file, every_range_of_bytes_is_read_as_it_was_written)
{
    DataEnd end = subject(ID);

    for (uint64_t from = 0; from < end.bytes; from += 3) {
        for (uint64_t to = from + 1; to <= end.bytes; to += 5) {
            DataRead read = {.id = ID, .end = end, .from = from, .to = to, .bytes_max = SIZE_MAX};
            Range range;

            must_read(&read, &range);
            cr_assert_eq(range.to, to);
            expect_range(&range, from, to - from);
            range_done(&range);
        }
    }
}

Test(data_file, a_read_ends_with_the_last_message_that_fits_and_has_one_at_least)
{
    DataEnd end = subject(ID);

    for (size_t bytes_max = 0; bytes_max < 80; bytes_max++) {
        for (uint64_t from = 0; from < MESSAGES; from++) {
            uint64_t to = from + 1;
            Range range;

            while (to < MESSAGES && start_of(to + 1) - start_of(from) <= bytes_max) {
                to++;
            }
            DataRead by_message = {.id = ID,
                                   .end = end,
                                   .counts_messages = true,
                                   .from = from,
                                   .to = MESSAGES,
                                   .bytes_max = bytes_max};

            must_read(&by_message, &range);
            cr_assert_eq(range.to, to);
            range_done(&range);
            DataRead by_byte = {.id = ID,
                                .end = end,
                                .from = start_of(from),
                                .to = end.bytes,
                                .bytes_max = bytes_max};

            must_read(&by_byte, &range);
            cr_assert_eq(range.to, start_of(to));
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
    cr_assert(try_append(ID, &end, lengths, DS_COUNT(lengths), &err), "%s", err.text);
    for (uint64_t from = 0, byte = 0; from < end.count;) {
        DataRead read = {.id = ID,
                         .end = end,
                         .counts_messages = true,
                         .from = from,
                         .to = end.count,
                         .bytes_max = SIZE_MAX};
        Range range;

        must_read(&read, &range);
        expect_range(&range, byte, range.bytes);
        from = range.to;
        byte += range.bytes;
        range_done(&range);
        cr_assert(from < end.count || byte == end.bytes);
    }
}

Test(data_file, a_range_may_already_hold_what_comes_before)
{
    DataEnd end = subject(ID);
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 0, .to = 3, .bytes_max = SIZE_MAX};
    Range range;
    Error err;

    must_read(&read, &range);
    read.from = 3;
    read.to = 9;
    cr_expect(data_file_read(files, &read, &range, &err));
    cr_expect_eq(range.to, 9);
    expect_range(&range, 0, start_of(9));
    range_done(&range);
}

Test(data_file, what_does_not_count_yet_is_written_over)
{
    DataEnd end = subject(ID);
    DataEnd shorter = {.bytes = start_of(5), .count = 5};
    static const uint32_t lengths[] = {100};
    Error err = {0};

    (void)end;
    cr_assert(try_append(ID, &shorter, lengths, 1, &err), "%s", err.text);
    DataRead read = {
        .id = ID, .end = shorter, .counts_messages = true, .to = 6, .bytes_max = SIZE_MAX};
    Range range;

    must_read(&read, &range);
    expect_range(&range, 0, shorter.bytes);
    range_done(&range);
}

/* ---- damage ---- */

static void
path_of(const char *suffix, char *out)
{
    (void)snprintf(out, FOLDER_PATH_SIZE, "%.200s/%02x/%016x%s", dir, ID % 256, ID, suffix);
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
                             .from = by_byte ? start_of(from) : from,
                             .to = by_byte ? end.bytes : end.count,
                             .bytes_max = 30};
            Range range;
            Error err = {0};

            range_init(&range, read.from);
            if (data_file_read(files, &read, &range, &err)) {
                expect_range(&range, start_of(from), range.bytes);
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
    DataEnd end = subject(ID);

    cr_expect_eq(refused_reads(end), 0);
    for (uint64_t at = 0; at < end.bytes; at++) {
        flip(".data", (off_t)at, (char)(1 << at % 8));
        cr_assert_gt(refused_reads(end), 0);
        flip(".data", (off_t)at, (char)(1 << at % 8));
    }
}

Test(data_file, a_changed_byte_of_the_index_is_never_believed)
{
    DataEnd end = subject(ID);

    for (uint64_t at = 0; at < end.count * 16; at++) {
        flip(".idx", (off_t)at, (char)(1 << at % 8));
        cr_assert_gt(refused_reads(end), 0);
        flip(".idx", (off_t)at, (char)(1 << at % 8));
    }
}

Test(data_file, what_is_cut_off_behind_our_back_is_refused_at_every_length)
{
    DataEnd end = subject(ID);
    char path[FOLDER_PATH_SIZE];
    Error err;

    path_of(".data", path);
    for (off_t len = (off_t)end.bytes - 1; len >= 0; len--) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_gt(refused_reads(end), 0);
        cr_assert_not(data_file_cut(files, ID, end, &err));
        cr_assert_eq(err.code, ERR_CORRUPT);
    }
    path_of(".idx", path);
    for (off_t len = (off_t)end.count * 16 - 1; len >= 0; len -= 7) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_not(data_file_cut(files, ID, end, &err));
        cr_assert_eq(err.code, ERR_CORRUPT);
    }
}

Test(data_file, a_file_that_is_gone_is_told_from_damage)
{
    DataEnd end = subject(ID);
    DataRead read = {.id = ID + 1, .end = end, .to = 5, .bytes_max = 10};
    char text[512];

    cr_expect_eq(read_error(&read, text), ERR_NOT_FOUND);
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
    DataEnd end = subject(ID);
    Error err = {0};

    for (uint64_t count = MESSAGES + 1; count-- > 0;) {
        DataEnd to = {.bytes = start_of(count), .count = count};

        cr_assert(data_file_cut(files, ID, to, &err), "%s", err.text);
        cr_assert_eq(size_of(".data"), (off_t)to.bytes);
        cr_assert_eq(size_of(".idx"), (off_t)(to.count * 16));
    }
    cr_expect_not(data_file_cut(files, ID, end, &err));
    cr_expect(data_file_cut(files, ID + 1, (DataEnd){0}, &err), "nothing is wanted of it");
    cr_expect_not(data_file_cut(files, ID + 1, end, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
}

Test(data_file, an_index_of_another_payload_is_refused_when_it_is_cut)
{
    DataEnd end = subject(ID);
    Error err;

    end.bytes--;
    cr_expect_not(data_file_cut(files, ID, end, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
}

static bool
collect(void *arg, uint64_t id, Error *err)
{
    uint64_t *seen = arg;

    seen[id % 1000]++;
    return data_file_delete(files, id, err);
}

Test(data_file, listing_finds_every_file_and_deleting_leaves_none)
{
    uint64_t seen[1000] = {0};
    Error err = {0};
    char path[FOLDER_PATH_SIZE];

    for (uint64_t id = 0; id < 1000; id += 3) {
        (void)subject(id);
    }
    path_of(".note", path);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);

    cr_assert(fd >= 0);
    (void)close(fd);
    cr_assert(data_files_each(files, collect, seen, &err), "%s", err.text);
    for (uint64_t id = 0; id < 1000; id++) {
        cr_expect_eq(seen[id] > 0, id % 3 == 0);
    }
    memset(seen, 0, sizeof(seen));
    cr_assert(data_files_each(files, collect, seen, &err), "%s", err.text);
    for (uint64_t id = 0; id < 1000; id++) {
        cr_expect_eq(seen[id], 0);
    }
    cr_expect(data_file_delete(files, ID, &err), "there is none, which is fine");
    cr_expect_eq(access(path, F_OK), 0, "a file of somebody else");
}

Test(data_file, what_was_punched_is_refused_and_the_rest_is_served)
{
    static const uint32_t lengths[] = {9000, 9000};
    DataEnd end = {0};
    Error err = {0};
    char text[512];

    cr_assert(try_append(ID, &end, lengths, 2, &err), "%s", err.text);
    cr_expect(data_file_punch(files, ID, 9000));
    cr_expect(data_file_punch(files, ID + 1, 9000));
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 1, .to = 2, .bytes_max = SIZE_MAX};
    Range range;

    must_read(&read, &range);
    expect_range(&range, 9000, 9000);
    range_done(&range);
    read.from = 0;
    cr_expect_eq(read_error(&read, text), ERR_CORRUPT);
}

Test(data_file, the_limit_is_that_of_the_whole_range)
{
    DataEnd end = subject(ID);
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 9, .to = 12, .bytes_max = 22};
    Range range;
    Error err = {0};

    must_read(&read, &range); /* 10 and 11 bytes */
    expect_range(&range, start_of(9), 21);
    read.from = 11;
    cr_assert(data_file_read(files, &read, &range, &err), "%s", err.text);
    expect_range(&range, start_of(9), 21);
    cr_expect_eq(range.to, 11);
    read.bytes_max = 33;
    cr_assert(data_file_read(files, &read, &range, &err), "%s", err.text);
    expect_range(&range, start_of(9), 33);
    cr_expect_eq(range.to, 12);
    range_done(&range);
}

/* ---- ranges that stay in their files ---- */

#define LARGE_MESSAGES 100
#define LARGE_LENGTH   100007u

static DataEnd
large_subject(void)
{
    uint32_t lengths[LARGE_MESSAGES];
    DataEnd end = {0};
    Error err = {0};

    for (size_t i = 0; i < LARGE_MESSAGES; i++) {
        lengths[i] = LARGE_LENGTH;
    }
    cr_assert(try_append(ID, &end, lengths, LARGE_MESSAGES, &err), "%s", err.text);
    return end;
}

static bool
read_in_file(const DataRead *read, Range *range, Error *err)
{
    range_init(range, read->from);
    range->takes_files = true;
    return data_file_read(files, read, range, err);
}

static void
expect_in_file(const Range *range, uint64_t first_byte, size_t bytes)
{
    const HttpPiece *piece = &range->parts[0];
    char *got = mem_alloc(bytes);

    cr_assert_eq(range->count, 1);
    cr_assert_not_null(piece->file);
    cr_assert_eq(range->bytes, bytes);
    cr_assert_eq(pread(piece->file->fd, got, bytes, (off_t)piece->file_offset), (ssize_t)bytes);
    for (size_t i = 0; i < bytes; i++) {
        cr_assert_eq(got[i], byte_at(first_byte + i));
    }
    free(got);
}

Test(data_file, a_large_range_may_stay_in_its_file)
{
    DataEnd end = large_subject();
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 3, .to = 30, .bytes_max = SIZE_MAX};
    Range range;
    Error err = {0};

    cr_assert(read_in_file(&read, &range, &err), "%s", err.text);
    expect_in_file(&range, 3 * LARGE_LENGTH, 27u * LARGE_LENGTH);
    cr_expect_eq(range.to, 30);
    range_done(&range);

    read.counts_messages = false;
    read.from = 12345;
    read.to = 300001;
    cr_assert(read_in_file(&read, &range, &err), "%s", err.text);
    expect_in_file(&range, 12345, 300001 - 12345);
    cr_expect_eq(range.to, 300001);
    range_done(&range);

    read.to = read.from + 1000;
    cr_assert(read_in_file(&read, &range, &err), "%s", err.text);
    cr_expect_null(range.parts[0].file, "a small one does not");
    range_done(&range);
}

Test(data_file, damage_to_a_range_that_stays_in_its_file_is_found)
{
    DataEnd end = large_subject();
    DataRead read = {.id = ID,
                     .end = end,
                     .counts_messages = true,
                     .from = 0,
                     .to = LARGE_MESSAGES,
                     .bytes_max = SIZE_MAX};

    for (uint64_t at = 0; at < end.bytes; at += 333331) {
        char path[FOLDER_PATH_SIZE + 64];
        char good = byte_at(at);
        char bad = (char)(good ^ 4);
        Range range;
        Error err = {0};

        (void)snprintf(path, sizeof(path), "%s/%02x/%016x.data", dir, ID % 256, ID);
        int fd = open(path, O_RDWR);

        cr_assert_geq(fd, 0);
        cr_assert_eq(pwrite(fd, &bad, 1, (off_t)at), 1);
        cr_expect_not(read_in_file(&read, &range, &err));
        cr_expect_eq(err.code, ERR_CORRUPT);
        cr_assert_eq(pwrite(fd, &good, 1, (off_t)at), 1);
        cr_expect(read_in_file(&read, &range, &err));
        range_done(&range);
        close(fd);
    }
}

Test(data_file, a_file_is_not_punched_while_a_range_lies_in_it)
{
    DataEnd end = large_subject();
    DataRead read = {.id = ID,
                     .end = end,
                     .counts_messages = true,
                     .from = 0,
                     .to = LARGE_MESSAGES,
                     .bytes_max = SIZE_MAX};
    Range range;
    Error err = {0};

    cr_assert(read_in_file(&read, &range, &err), "%s", err.text);
    cr_expect_not(data_file_punch(files, ID, 9000000));
    expect_in_file(&range, 0, (size_t)end.bytes);
    cr_assert(data_file_delete(files, ID, &err), "%s", err.text);
    expect_in_file(&range, 0, (size_t)end.bytes);
    range_done(&range);
    end = large_subject();
    cr_expect(data_file_punch(files, ID, 9000000));
    cr_expect_not(read_in_file(&read, &range, &err));
}

/* A file system in memory has other pages. */
static void
move_to_disk(void)
{
    Error err = {0};

    teardown();
    (void)snprintf(folder, sizeof(folder), "/var/tmp/ds_test_XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(dir, sizeof(dir), "%s/streams", folder);
    cr_assert(data_files_open(dir, 8, true, &files, &err), "%s", err.text);
}

/* Sends from the file what the socket takes, as the HTTP engine does; returns how much. */
static size_t
send_piece(const HttpPiece *piece, int fd)
{
    off_t at = (off_t)piece->file_offset;
    size_t sent = 0;
    ssize_t n;

    while (sent < piece->bytes.len &&
           (n = sendfile(fd, piece->file->fd, &at, piece->bytes.len - sent)) > 0) {
        sent += (size_t)n;
    }
    return sent;
}

static void
tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int large = 1 << 22;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
    cr_assert_eq(setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)), 0);
    cr_assert_eq(connect(fds[1], (struct sockaddr *)&address, size), 0);
    close(fds[0]);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    cr_assert_geq(fds[0], 0);
    close(listener);
}

Test(data_file, what_a_socket_was_given_of_a_file_stays_as_it_is_when_the_file_is_punched)
{
    enum { MANY = 120 };
    static uint32_t lengths[MANY];
    DataEnd end = {0};
    Range range;
    Error err = {0};
    int fds[2];

    move_to_disk();
    for (size_t i = 0; i < MANY; i++) {
        lengths[i] = LARGE_LENGTH;
    }
    cr_assert(try_append(ID, &end, lengths, MANY, &err), "%s", err.text);
    for (uint64_t first = 1; first < 110; first += 7) {
        DataRead read = {.id = ID,
                         .end = end,
                         .counts_messages = true,
                         .from = first,
                         .to = first + 7,
                         .bytes_max = SIZE_MAX};
        uint64_t at = first * LARGE_LENGTH;
        char room[8192];
        ssize_t n;

        tcp_pair(fds);
        cr_assert(read_in_file(&read, &range, &err), "%s", err.text);
        size_t sent = send_piece(&range.parts[0], fds[0]);

        cr_assert_gt(sent, 0);
        range_done(&range);
        cr_assert(data_file_punch(files, ID, (first + 3) * LARGE_LENGTH));
        close(fds[0]);
        while ((n = recv(fds[1], room, sizeof(room), 0)) > 0) {
            for (ssize_t i = 0; i < n; i++, at++) {
                cr_assert_eq(room[i], byte_at(at), "byte %llu", (unsigned long long)at);
            }
        }
        cr_assert_eq(at, first * LARGE_LENGTH + sent);
        close(fds[1]);
    }
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 0, .to = 1, .bytes_max = 1};
    char text[512];

    cr_expect_eq(read_error(&read, text), ERR_CORRUPT, "megabytes of it must be gone");
}

Test(data_file, so_many_ranges_lie_in_files_and_no_more)
{
    DataEnd end = large_subject();
    DataRead read = {.id = ID,
                     .end = end,
                     .counts_messages = true,
                     .from = 0,
                     .to = LARGE_MESSAGES,
                     .bytes_max = SIZE_MAX};
    Range ranges[6];
    size_t in_file = 0;
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(ranges); i++) {
        cr_assert(read_in_file(&read, &ranges[i], &err), "%s", err.text);
        in_file += ranges[i].parts[0].file != NULL;
        cr_expect_eq(ranges[i].bytes, end.bytes);
    }
    cr_expect_eq(in_file, 4, "half of the eight files of this suite");
    for (size_t i = 0; i < DS_COUNT(ranges); i++) {
        range_done(&ranges[i]);
    }
    cr_assert(read_in_file(&read, &ranges[0], &err), "%s", err.text);
    expect_in_file(&ranges[0], 0, (size_t)end.bytes);
    range_done(&ranges[0]);
}

/* ---- syncing ---- */

Test(data_file, few_and_many_files_can_be_made_durable)
{
    uint64_t ids[DATA_FILE_SYNC_EACH_MAX + 1];
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(ids); i++) {
        ids[i] = i + 1;
        (void)subject(ids[i]);
    }
    cr_expect(data_files_sync(files, ids, 0, &err), "%s", err.text);
    cr_expect(data_files_sync(files, ids, DATA_FILE_SYNC_EACH_MAX, &err), "%s", err.text);
    cr_expect(data_files_sync(files, ids, DS_COUNT(ids), &err), "%s", err.text);
    ids[0] = 999;
    cr_expect_not(data_files_sync(files, ids, 1, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}

Test(data_file, names_that_could_not_be_made_durable_are_not_forgotten)
{
    uint64_t ids[] = {ID};
    static const uint32_t lengths[] = {1};
    DataEnd end = {0};
    struct rlimit limit;
    Error err = {0};

    cr_assert(try_append(ID, &end, lengths, 1, &err), "%s", err.text);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 0;                                /* the files are open, their folder is not */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0); /* a failed assertion needs a socket */
    bool first = data_files_sync(files, ids, 1, &err);
    bool second = data_files_sync(files, ids, 1, &err);

    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_expect_not(first);
    cr_expect_not(second);
    cr_expect_eq(err.code, ERR_RETRY, "%s", err.text);
    cr_expect(data_files_sync(files, ids, 1, &err), "%s", err.text);
}

Test(data_file, no_room_changes_nothing_that_counts)
{
    DataEnd end = subject(ID);
    DataEnd before = end;
    static const uint32_t lengths[] = {5000};
    struct rlimit limit;
    Error err = {0};

    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 1000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_not(try_append(ID, &end, lengths, 1, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    cr_expect_eq(end.count, before.count);
    cr_expect_eq(refused_reads(before), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect(try_append(ID, &end, lengths, 1, &err), "%s", err.text);
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
        if (!data_file_read(files, &read, &range, &err) || range.to != count) {
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
        cr_assert(try_append(ID, &end, lengths, 1 + i % 3, &err), "%s", err.text);
        atomic_store(&growing.count, end.count);
        if (i % 10 == 0) { /* so that descriptors are closed meanwhile */
            (void)subject(100 + i);
        }
    }
    atomic_store(&growing.stop, true);
    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_expect_eq(atomic_load(&growing.wrong), 0);
}
