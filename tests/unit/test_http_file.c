/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http_out.h"

enum { FILE_BYTES = 700000 };

static char content[FILE_BYTES];

/* On a disk, which /tmp need not be. */
static HttpFile *
file_new(void)
{
    char path[] = "/var/tmp/ds-test-http-file-XXXXXX";
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(unlink(path), 0);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (char)('a' + i % 23);
    }
    cr_assert_eq(write(fd, content, FILE_BYTES), FILE_BYTES);
    return http_file_new(fd);
}

static void
forget(const HttpFile *file)
{
    cr_assert_eq(fdatasync(file->fd), 0);
    cr_assert_eq(posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void
make_pair(int fds[2])
{
    int small = 4096;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
}

static void
put_file(HttpOut *out, const HttpFile *file, uint64_t offset, size_t len)
{
    http_out_piece(out, &(HttpPiece){.bytes = {NULL, len},
                                     .hold = (HttpHold *)(uintptr_t)&file->hold,
                                     .file = file,
                                     .file_offset = offset});
}

static void
receive_all(int fd, Buf *got)
{
    char room[1500];
    ssize_t n;
    Error err;

    while ((n = recv(fd, room, sizeof(room), 0)) > 0) {
        cr_assert(buf_append(got, str_n(room, (size_t)n), &err));
    }
}

Test(http_file, pieces_of_files_and_of_memory_leave_in_order)
{
    HttpFile *file = file_new();
    HttpOutResult result;
    int fd = file->fd;
    uint64_t sent = 0;
    HttpOut out;
    Buf got, want;
    Error err;
    int fds[2];

    make_pair(fds);
    http_out_init(&out);
    buf_init(&got, 1 << 24);
    buf_init(&want, 1 << 24);
    for (size_t i = 0; i < 30; i++) {
        size_t offset = i * 9973;
        size_t len = i * 14000 + 1;

        http_out_copy(&out, STR("head"));
        put_file(&out, file, offset, len);
        cr_assert(buf_append(&want, STR("head"), &err) &&
                  buf_append(&want, str_n(content + offset, len), &err));
    }
    cr_expect_eq(out.bytes, want.len);
    http_hold_drop(&file->hold); /* the pieces have their own */
    do {
        result = http_out_send(&out, &(Transport){.fd = fds[0]}, &sent);
        cr_assert(result == HTTP_OUT_EMPTY || result == HTTP_OUT_BLOCKED);
        receive_all(fds[1], &got);
    } while (result != HTTP_OUT_EMPTY);
    cr_expect_eq(sent, want.len);
    cr_expect(str_eq(buf_str(&got), buf_str(&want)));
    cr_expect_eq(fcntl(fd, F_GETFD), -1, "the last piece must have closed it");
    buf_done(&got);
    buf_done(&want);
    close(fds[0]);
    close(fds[1]);
}

Test(http_file, what_is_not_in_memory_is_not_sent_before_it_is_brought_there)
{
    HttpFile *file = file_new();
    uint64_t offset = 300000;
    size_t n = 0;
    int fds[2];

    make_pair(fds);
    forget(file);
    /* Once: being asked makes the kernel bring it. */
    HttpFileResult result = http_file_send(file, offset, 1000, fds[0], &n);
    if (result == HTTP_FILE_SENT) {
        cr_skip_test("this file system keeps everything in memory");
    }
    cr_expect_eq(result, HTTP_FILE_COLD);
    cr_assert(http_file_warm(file, offset, FILE_BYTES - offset));
    cr_assert_eq(http_file_send(file, offset, HTTP_FILE_WINDOW_BYTES, fds[0], &n), HTTP_FILE_SENT);
    cr_expect_gt(n, 0);
    http_hold_drop(&file->hold);
    close(fds[0]);
    close(fds[1]);
}

Test(http_file, a_file_that_ends_too_early_breaks_the_reply)
{
    HttpFile *file = file_new();
    HttpOut out;
    uint64_t sent = 0;
    HttpOutResult result;
    Buf got;
    int fds[2];

    make_pair(fds);
    http_out_init(&out);
    buf_init(&got, 1 << 24);
    put_file(&out, file, FILE_BYTES - 100, 101);
    do {
        result = http_out_send(&out, &(Transport){.fd = fds[0]}, &sent);
        receive_all(fds[1], &got);
    } while (result == HTTP_OUT_BLOCKED);
    cr_expect_eq(result, HTTP_OUT_BROKEN);
    cr_expect_eq(got.len, 100);
    cr_expect_not(http_file_warm(file, FILE_BYTES - 100, 101));
    http_out_done(&out);
    http_hold_drop(&file->hold);
    buf_done(&got);
    close(fds[0]);
    close(fds[1]);
}
