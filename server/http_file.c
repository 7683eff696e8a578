/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_file.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/mem.h"

#define PROBE_STEP_BYTES 65536 /* the kernel reads and forgets in runs of about this size */
#define WARM_READ_BYTES  65536

static void
release_owned(HttpHold *hold)
{
    HttpFile *file = DS_CONTAINER_OF(hold, HttpFile, hold);

    (void)close(file->fd);
    free(file);
}

HttpFile *
http_file_new(int fd)
{
    HttpFile *file = mem_alloc(sizeof(*file));

    http_hold_init(&file->hold, release_owned);
    file->fd = fd;
    return file;
}

/* Where the file system cannot tell, it is taken for yes. */
static bool
is_cached(int fd, uint64_t offset)
{
    char byte;
    struct iovec room = {.iov_base = &byte, .iov_len = 1};

    return preadv2(fd, &room, 1, (off_t)offset, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

static bool
window_is_cached(int fd, uint64_t offset, size_t len)
{
    for (size_t at = 0; at < len; at += PROBE_STEP_BYTES) {
        if (!is_cached(fd, offset + at)) {
            return false;
        }
    }
    return is_cached(fd, offset + len - 1);
}

HttpFileResult
http_file_send(const HttpFile *file, uint64_t offset, size_t len, int socket, size_t *out_n)
{
    size_t window = DS_MIN(len, (size_t)HTTP_FILE_WINDOW_BYTES);
    off_t at = (off_t)offset;
    ssize_t n;

    if (!window_is_cached(file->fd, offset, window)) {
        return HTTP_FILE_COLD;
    }
    do {
        n = sendfile(socket, file->fd, &at, window);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *out_n = (size_t)n;
        return HTTP_FILE_SENT;
    }
    /* 0: the file ends before the piece does. */
    return n < 0 && errno == EAGAIN ? HTTP_FILE_BLOCKED : HTTP_FILE_BROKEN;
}

HttpFileResult
http_file_read(const HttpFile *file, uint64_t offset, char *room, size_t len)
{
    struct iovec vector = {.iov_base = room, .iov_len = len};
    ssize_t n;

    DS_ASSERT(len <= HTTP_FILE_WINDOW_BYTES);
    if (!window_is_cached(file->fd, offset, len)) {
        return HTTP_FILE_COLD;
    }
    do {
        n = preadv2(file->fd, &vector, 1, (off_t)offset, RWF_NOWAIT);
        if (n < 0 && errno == EOPNOTSUPP) {
            n = pread(file->fd, room, len, (off_t)offset);
        }
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len) {
        return HTTP_FILE_SENT;
    }
    /* Pages were dropped just now, or the file ends before the piece does. */
    return n > 0 || (n < 0 && errno == EAGAIN) ? HTTP_FILE_COLD : HTTP_FILE_BROKEN;
}

bool
http_file_warm(const HttpFile *file, uint64_t offset, size_t len)
{
    size_t window = DS_MIN(len, (size_t)HTTP_FILE_WINDOW_BYTES);
    char *room = mem_alloc(WARM_READ_BYTES);
    size_t done = 0;

    while (done < window) {
        ssize_t n = pread(file->fd, room, DS_MIN(window - done, (size_t)WARM_READ_BYTES),
                          (off_t)(offset + done));

        if (n == 0 || (n < 0 && errno != EINTR)) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    free(room);
    return done == window;
}
