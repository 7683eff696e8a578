/* SPDX-License-Identifier: Apache-2.0 */
#include "server/data_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/support/data_subject.h"

/* ---- ranges that stay in their data_files ---- */

TestSuite(data_file_ranges, .init = data_subject_setup, .fini = data_subject_teardown);

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
    cr_assert(data_try_append(ID, &end, lengths, LARGE_MESSAGES, &err), "%s", err.text);
    return end;
}

static bool
read_in_file(const DataRead *read, Range *range, Error *err)
{
    range_init(range, read->from);
    range->takes_files = true;
    return data_file_read(data_files, read, range, err);
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
        cr_assert_eq(got[i], data_byte_at(first_byte + i));
    }
    free(got);
}

Test(data_file_ranges, a_large_range_may_stay_in_its_file)
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

Test(data_file_ranges, damage_to_a_range_that_stays_in_its_file_is_found)
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
        char good = data_byte_at(at);
        char bad = (char)(good ^ 4);
        Range range;
        Error err = {0};

        (void)snprintf(path, sizeof(path), "%s/%02x/%016x.data", data_dir, ID % 256, ID);
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

Test(data_file_ranges, a_file_is_not_punched_while_a_range_lies_in_it)
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
    cr_expect_not(data_file_punch(data_files, ID, 9000000));
    expect_in_file(&range, 0, (size_t)end.bytes);
    cr_assert(data_file_delete(data_files, ID, &err), "%s", err.text);
    expect_in_file(&range, 0, (size_t)end.bytes);
    range_done(&range);
    end = large_subject();
    cr_expect(data_file_punch(data_files, ID, 9000000));
    cr_expect_not(read_in_file(&read, &range, &err));
}

/* A file system in memory has other pages. */
static void
move_to_disk(void)
{
    Error err = {0};

    data_subject_teardown();
    (void)snprintf(data_folder, sizeof(data_folder), "/var/tmp/ds_test_XXXXXX");
    cr_assert_not_null(mkdtemp(data_folder));
    (void)snprintf(data_dir, sizeof(data_dir), "%s/streams", data_folder);
    cr_assert(data_files_open(data_dir, 8, true, &data_files, &err), "%s", err.text);
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

Test(data_file_ranges, what_a_socket_was_given_of_a_file_stays_as_it_is_when_the_file_is_punched)
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
    cr_assert(data_try_append(ID, &end, lengths, MANY, &err), "%s", err.text);
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
        cr_assert(data_file_punch(data_files, ID, (first + 3) * LARGE_LENGTH));
        close(fds[0]);
        while ((n = recv(fds[1], room, sizeof(room), 0)) > 0) {
            for (ssize_t i = 0; i < n; i++, at++) {
                cr_assert_eq(room[i], data_byte_at(at), "byte %llu", (unsigned long long)at);
            }
        }
        cr_assert_eq(at, first * LARGE_LENGTH + sent);
        close(fds[1]);
    }
    DataRead read = {
        .id = ID, .end = end, .counts_messages = true, .from = 0, .to = 1, .bytes_max = 1};
    char text[512];

    cr_expect_eq(data_read_error(&read, text), ERR_CORRUPT, "megabytes of it must be gone");
}

Test(data_file_ranges, so_many_ranges_lie_in_files_and_no_more)
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
    cr_expect_eq(in_file, 4, "half of the eight data_files of this suite");
    for (size_t i = 0; i < DS_COUNT(ranges); i++) {
        range_done(&ranges[i]);
    }
    cr_assert(read_in_file(&read, &ranges[0], &err), "%s", err.text);
    expect_in_file(&ranges[0], 0, (size_t)end.bytes);
    range_done(&ranges[0]);
}
