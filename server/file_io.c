/* SPDX-License-Identifier: Apache-2.0 */
#include "server/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"

#define PREAD_BYTES_MAX ((size_t)1 << 30) /* Linux reads at most 2 GiB at a time */

static ErrorCode
code_of(int cause)
{
    switch (cause) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_FULL;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ERR_RETRY;
    default:
        return ERR_FATAL;
    }
}

bool
file_error(Error *err, const char *what, const char *path)
{
    int cause = errno;

    return error_set(err, code_of(cause), "cannot %s %s: %s", what, path, strerror(cause));
}

/* Forgets what is written; returns how many of the parts are left. */
static size_t
parts_consume(struct iovec **parts, size_t count, size_t written)
{
    while (count > 0 && written >= (*parts)->iov_len) {
        written -= (*parts)->iov_len;
        (*parts)++;
        count--;
    }
    if (count > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + written;
        (*parts)->iov_len -= written;
    }
    return count;
}

bool
file_write_at(int fd, struct iovec *parts, size_t count, uint64_t offset, bool partial_is_full,
              const char *path, Error *err)
{
    bool wrote_some = false;

    count = parts_consume(&parts, count, 0); /* empty ones in front would look like no progress */
    while (count > 0) {
        ssize_t written = pwritev(fd, parts, (int)DS_MIN(count, IOV_MAX), (off_t)offset);

        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? ENOSPC : errno;
            (void)file_error(err, "write", path);
            if (wrote_some && !partial_is_full) {
                err->code = ERR_FATAL;
            }
            return false;
        }
        wrote_some = true;
        offset += (uint64_t)written;
        count = parts_consume(&parts, count, (size_t)written);
    }
    return true;
}

bool
file_read_at(int fd, char *out, size_t len, uint64_t offset, size_t *out_len, const char *path,
             Error *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got =
            pread(fd, out + done, DS_MIN(len - done, PREAD_BYTES_MAX), (off_t)(offset + done));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return file_error(err, "read", path);
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *out_len = done;
    return true;
}

bool
file_size(int fd, uint64_t *out, const char *path, Error *err)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        return file_error(err, "look at", path);
    }
    *out = (uint64_t)status.st_size;
    return true;
}

bool
file_sync(int fd, const char *path, Error *err)
{
    if (MUTANT("no_fdatasync")) {
        return true;
    }
    if (fdatasync(fd) != 0) {
        (void)file_error(err, "sync", path);
        err->code = ERR_FATAL;
        return false;
    }
    return true;
}

bool
file_sync_dir(const char *path, Error *err)
{
    if (MUTANT("no_directory_sync")) {
        return true;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return file_error(err, "open", path);
    }
    bool ok = fsync(fd) == 0;

    if (!ok) {
        (void)file_error(err, "sync", path);
        err->code = ERR_FATAL;
    }
    (void)close(fd);
    return ok;
}

bool
file_sync_parent(const char *path, Error *err)
{
    char parent[PATH_MAX];
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    if (len >= sizeof(parent)) {
        return error_set(err, ERR_CONFIG, "the path is too long: %s", path);
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
    return file_sync_dir(len == 0 ? "." : parent, err);
}

bool
file_make_dir(const char *path, Error *err)
{
    if (mkdir(path, 0755) == 0) {
        return file_sync_parent(path, err);
    }
    return errno == EEXIST || file_error(err, "make", path);
}

bool
file_rename(const char *from, const char *to, Error *err)
{
    if (rename(from, to) != 0) {
        return file_error(err, "rename", from);
    }
    return file_sync_parent(to, err);
}
