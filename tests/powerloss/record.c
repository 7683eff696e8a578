/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/powerloss/record.c -- a library to preload that records what a program does to the files of
 * one folder, so that a test can build what a power failure might have left.
 *
 * DS_RECORD_ROOT names the folder, DS_RECORD_TRACE the file to write, DS_RECORD_SYNC_US how much
 * longer a sync takes than it would: an answer that does not wait for it is then seen.
 *
 * A record is {u32 bytes in all, u32 kind, u64 file, u64 a, u64 b} and data.  Writes, renames and
 * the like are recorded when they are done, under one lock, so the trace has their order.  A sync
 * is recorded when it has returned, with the length of the trace when it began: what was recorded
 * before that is durable.  Of what is written through a memory map nothing is seen (SQLite's -shm,
 * which a power failure does not keep).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX   65536
#define FILES_MAX 65536

/* Known to tests/powerloss/disk.py. */
enum {
    RECORD_FILE = 1, /* file, path: it was there before */
    RECORD_CREATE,   /* file, path */
    RECORD_WRITE,    /* file, a = offset, data */
    RECORD_ZERO,     /* file, a = offset, b = length: zeros, or a hole */
    RECORD_SIZE,     /* file, a = size: cut or extended */
    RECORD_SYNC,     /* file, a = trace length when it began */
    RECORD_SYNC_DIR, /* a, path */
    RECORD_SYNC_ALL, /* a */
    RECORD_RENAME,   /* path, 0, path */
    RECORD_UNLINK,   /* path */
    RECORD_MKDIR,    /* path */
    RECORD_RMDIR,    /* path */
};

typedef struct Head {
    uint32_t bytes;
    uint32_t kind;
    uint64_t file;
    uint64_t a;
    uint64_t b;
} Head;

typedef struct Known {
    dev_t device;
    ino_t inode;
    uint64_t file;
} Known;

/* What a descriptor is. */
enum { FD_UNKNOWN, FD_FOREIGN, FD_FILE, FD_FOLDER };

static char root[PATH_MAX];
static size_t root_len;
static int trace = -1;
static uint64_t trace_bytes;
static long sync_us;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Known known[FILES_MAX];
static size_t known_count;
static uint64_t files;
static unsigned char fd_kind[FDS_MAX];
static uint64_t fd_file[FDS_MAX];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
fail(const char *what)
{
    (void)fprintf(stderr, "record: %s\n", what);
    abort();
}

static void
start(void)
{
    const char *folder = getenv("DS_RECORD_ROOT");
    const char *path = getenv("DS_RECORD_TRACE");
    const char *delay = getenv("DS_RECORD_SYNC_US");

    if (folder == NULL || path == NULL || realpath(folder, root) == NULL) {
        return;
    }
    root_len = strlen(root);
    sync_us = delay != NULL ? strtol(delay, NULL, 10) : 0;
    trace =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (trace < 0) {
        fail("cannot open the trace");
    }
    trace_bytes = (uint64_t)lseek(trace, 0, SEEK_END);
}

static bool
recording(void)
{
    (void)pthread_once(&once, start);
    return trace >= 0;
}

static void
record(uint32_t kind, uint64_t file, uint64_t a, uint64_t b, const struct iovec *data, int count)
{
    struct iovec parts[1024 + 1];
    size_t bytes = sizeof(Head);

    for (int i = 0; i < count; i++) {
        bytes += data[i].iov_len;
        parts[i + 1] = data[i];
    }
    Head head = {.bytes = (uint32_t)bytes, .kind = kind, .file = file, .a = a, .b = b};

    parts[0] = (struct iovec){.iov_base = &head, .iov_len = sizeof(head)};
    if (syscall(SYS_writev, trace, parts, count + 1) != (ssize_t)bytes) {
        fail("cannot write the trace");
    }
    trace_bytes += bytes;
}

/* ---- which paths and descriptors are ours ---- */

/* The path inside the root, or NULL.  The file itself need not exist. */
static const char *
ours(const char *path, char *full)
{
    char copy[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (strlen(path) >= sizeof(copy)) {
        return NULL;
    }
    if (realpath(path, full) == NULL) {
        const char *name = slash != NULL ? slash + 1 : path;

        memcpy(copy, path, (size_t)(name - path));
        copy[name - path] = '\0';
        if (realpath(name == path ? "." : copy, full) == NULL ||
            strlen(full) + strlen(name) + 2 > PATH_MAX) {
            return NULL;
        }
        strcat(strcat(full, "/"), name);
    }
    if (strncmp(full, root, root_len) != 0 || (full[root_len] != '/' && full[root_len] != '\0')) {
        return NULL;
    }
    return full[root_len] == '/' ? full + root_len + 1 : "";
}

/* The same of a path that begins at a folder's descriptor. */
static const char *
ours_at(int at, const char *path, char *full)
{
    char joined[PATH_MAX];
    char link[64];

    if (at == AT_FDCWD || path[0] == '/') {
        return ours(path, full);
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
    ssize_t len = readlink(link, joined, sizeof(joined) - 1);

    if (len <= 0 || (size_t)len + strlen(path) + 2 > sizeof(joined)) {
        return NULL;
    }
    joined[len] = '\0';
    strcat(strcat(joined, "/"), path);
    return ours(joined, full);
}

static void
record_path(uint32_t kind, uint64_t file, uint64_t a, const char *path)
{
    struct iovec data = {.iov_base = (void *)(uintptr_t)path, .iov_len = strlen(path)};

    record(kind, file, a, 0, &data, 1);
}

static uint64_t
file_of(const struct stat *status, const char *path, bool created)
{
    size_t i = 0;

    while (i < known_count &&
           (known[i].inode != status->st_ino || known[i].device != status->st_dev)) {
        i++;
    }
    if (i < known_count && !created) {
        return known[i].file;
    }
    if (i == FILES_MAX) {
        fail("too many files");
    }
    known_count += i == known_count;
    known[i] = (Known){.device = status->st_dev, .inode = status->st_ino, .file = ++files};
    record_path(created ? RECORD_CREATE : RECORD_FILE, files, 0, path);
    return files;
}

/* Lock held. */
static void
fd_learn(int fd, const char *inside, bool created)
{
    struct stat status;

    if (fd < 0 || fd >= FDS_MAX) {
        return;
    }
    fd_kind[fd] = FD_FOREIGN;
    if (inside == NULL || fstat(fd, &status) != 0) {
        return;
    }
    if (S_ISDIR(status.st_mode)) {
        fd_kind[fd] = FD_FOLDER;
    } else if (S_ISREG(status.st_mode)) {
        fd_kind[fd] = FD_FILE;
        fd_file[fd] = file_of(&status, inside, created);
    }
}

/* Lock held.  What was opened where we do not look (mkstemp, fopen) is learned when it is used. */
static int
fd_is(int fd)
{
    char link[64];
    char path[PATH_MAX];
    char full[PATH_MAX];

    if (fd < 0 || fd >= FDS_MAX) {
        return FD_FOREIGN;
    }
    if (fd_kind[fd] == FD_UNKNOWN) {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, path, sizeof(path) - 1);

        path[len > 0 ? len : 0] = '\0';
        fd_learn(fd, path[0] == '/' ? ours(path, full) : NULL, false);
    }
    return fd_kind[fd];
}

static const char *
fd_path(int fd, char *full)
{
    char link[64];
    char path[PATH_MAX];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);

    path[len > 0 ? len : 0] = '\0';
    const char *inside = ours(path, full);

    return inside != NULL ? inside : "";
}

/* ---- open and close ---- */

static int
open_recorded(int at, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    struct stat status;

    if (!recording()) {
        return (int)syscall(SYS_openat, at, path, flags, mode);
    }
    (void)pthread_mutex_lock(&lock);
    const char *inside = ours_at(at, path, full);
    bool was_there = inside != NULL && fstatat(at, path, &status, 0) == 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    int cause = errno;

    fd_learn(fd, inside, !was_there);
    if (fd >= 0 && was_there && (flags & O_TRUNC) != 0 && fd_is(fd) == FD_FILE) {
        record(RECORD_SIZE, fd_file[fd], 0, 0, NULL, 0);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return fd;
}

#define OPEN_MODE(flags, last)                                                                     \
    mode_t mode = 0;                                                                               \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                                  \
        va_list args;                                                                              \
        va_start(args, last);                                                                      \
        mode = va_arg(args, mode_t);                                                               \
        va_end(args);                                                                              \
    }

int
open(const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return open_recorded(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int
openat(int at, const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return open_recorded(at, path, flags, mode);
}

int
openat64(int at, const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return open_recorded(at, path, flags | O_LARGEFILE, mode);
}

/* What glibc's fortified headers call. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);

int
__open_2(const char *path, int flags)
{
    return open_recorded(AT_FDCWD, path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
    return open_recorded(AT_FDCWD, path, flags, 0);
}

int
__openat_2(int at, const char *path, int flags)
{
    return open_recorded(at, path, flags, 0);
}

int
close(int fd)
{
    if (recording() && fd >= 0 && fd < FDS_MAX) {
        (void)pthread_mutex_lock(&lock);
        fd_kind[fd] = FD_UNKNOWN;
        (void)pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, fd);
}

/* ---- writing ---- */

static bool
is_zero(const struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++) {
        const char *bytes = parts[i].iov_base;
        size_t len = parts[i].iov_len;

        if (len > 0 && (bytes[0] != 0 || memcmp(bytes, bytes + 1, len - 1) != 0)) {
            return false;
        }
    }
    return true;
}

/* Lock held; `written` of the parts went to the offset. */
static void
record_write(int fd, const struct iovec *parts, int count, uint64_t offset, size_t written)
{
    struct iovec taken[1024];
    size_t left = written;
    int used = 0;

    for (; used < count && left > 0; used++) {
        taken[used] = parts[used];
        taken[used].iov_len = parts[used].iov_len < left ? parts[used].iov_len : left;
        left -= taken[used].iov_len;
    }
    if (is_zero(taken, used)) {
        record(RECORD_ZERO, fd_file[fd], offset, written, NULL, 0);
    } else {
        record(RECORD_WRITE, fd_file[fd], offset, 0, taken, used);
    }
}

static ssize_t
pwritev_recorded(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!recording()) {
        return syscall(SYS_pwritev, fd, parts, count, offset, 0);
    }
    (void)pthread_mutex_lock(&lock);
    int kind = fd_is(fd);

    if (kind != FD_FILE) {
        (void)pthread_mutex_unlock(&lock);
        return syscall(SYS_pwritev, fd, parts, count, offset, 0);
    }
    ssize_t written = syscall(SYS_pwritev, fd, parts, count, offset, 0);
    int cause = errno;

    if (written > 0) {
        record_write(fd, parts, count, (uint64_t)offset, (size_t)written);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return written;
}

static ssize_t
writev_recorded(int fd, const struct iovec *parts, int count)
{
    if (!recording()) {
        return syscall(SYS_writev, fd, parts, count);
    }
    (void)pthread_mutex_lock(&lock);
    if (fd_is(fd) != FD_FILE) {
        (void)pthread_mutex_unlock(&lock);
        return syscall(SYS_writev, fd, parts, count);
    }
    ssize_t written = syscall(SYS_writev, fd, parts, count);
    int cause = errno;

    if (written > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);

        record_write(fd, parts, count, (uint64_t)(end - written), (size_t)written);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return written;
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev_recorded(fd, parts, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev_recorded(fd, parts, count, offset);
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};

    return pwritev_recorded(fd, &part, 1, offset);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};

    return pwritev_recorded(fd, &part, 1, offset);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    return writev_recorded(fd, parts, count);
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};

    return writev_recorded(fd, &part, 1);
}

static int
size_recorded(int fd, off_t size)
{
    if (!recording()) {
        return (int)syscall(SYS_ftruncate, fd, size);
    }
    (void)pthread_mutex_lock(&lock);
    int kind = fd_is(fd);
    int status = (int)syscall(SYS_ftruncate, fd, size);
    int cause = errno;

    if (status == 0 && kind == FD_FILE) {
        record(RECORD_SIZE, fd_file[fd], (uint64_t)size, 0, NULL, 0);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return status;
}

int
ftruncate(int fd, off_t size)
{
    return size_recorded(fd, size);
}

int
ftruncate64(int fd, off64_t size)
{
    return size_recorded(fd, size);
}

static int
fallocate_recorded(int fd, int mode, off_t offset, off_t len)
{
    struct stat status = {0};

    if (!recording()) {
        return (int)syscall(SYS_fallocate, fd, mode, offset, len);
    }
    (void)pthread_mutex_lock(&lock);
    int kind = fd_is(fd);
    int done = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    int cause = errno;

    if (done == 0 && kind == FD_FILE && fstat(fd, &status) == 0) {
        if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
            record(RECORD_ZERO, fd_file[fd], (uint64_t)offset, (uint64_t)len, NULL, 0);
        } else if (mode == 0) {
            record(RECORD_SIZE, fd_file[fd], (uint64_t)status.st_size, 0, NULL, 0);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return done;
}

int
fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fallocate_recorded(fd, mode, offset, len);
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fallocate_recorded(fd, mode, offset, len);
}

/* ---- syncing ---- */

static void
linger(void)
{
    struct timespec time = {.tv_sec = sync_us / 1000000, .tv_nsec = sync_us % 1000000 * 1000};

    if (sync_us > 0) {
        (void)nanosleep(&time, NULL);
    }
}

static int
sync_recorded(int fd, long number)
{
    char full[PATH_MAX];

    if (!recording()) {
        return (int)syscall(number, fd);
    }
    (void)pthread_mutex_lock(&lock);
    uint64_t begin = trace_bytes;
    int kind = fd_is(fd);
    uint64_t file = kind == FD_FILE ? fd_file[fd] : 0;

    (void)pthread_mutex_unlock(&lock);
    if (kind != FD_FILE && kind != FD_FOLDER) {
        return (int)syscall(number, fd);
    }
    linger();
    int status = (int)syscall(number, fd);
    int cause = errno;

    (void)pthread_mutex_lock(&lock);
    if (status == 0 && number == SYS_syncfs) {
        record(RECORD_SYNC_ALL, 0, begin, 0, NULL, 0);
    } else if (status == 0 && kind == FD_FOLDER) {
        record_path(RECORD_SYNC_DIR, 0, begin, fd_path(fd, full));
    } else if (status == 0) {
        record(RECORD_SYNC, file, begin, 0, NULL, 0);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return status;
}

int
fsync(int fd)
{
    return sync_recorded(fd, SYS_fsync);
}

int
fdatasync(int fd)
{
    return sync_recorded(fd, SYS_fdatasync);
}

int
syncfs(int fd)
{
    return sync_recorded(fd, SYS_syncfs);
}

/* ---- names ---- */

static int
rename_recorded(int at_from, const char *from, int at_to, const char *to)
{
    char full_from[PATH_MAX];
    char full_to[PATH_MAX];

    if (!recording()) {
        return (int)syscall(SYS_renameat, at_from, from, at_to, to);
    }
    (void)pthread_mutex_lock(&lock);
    const char *inside_from = ours_at(at_from, from, full_from);
    const char *inside_to = ours_at(at_to, to, full_to);
    int status = (int)syscall(SYS_renameat, at_from, from, at_to, to);
    int cause = errno;

    if (status == 0 && inside_from != NULL && inside_to != NULL) {
        struct iovec data[] = {
            {.iov_base = (void *)(uintptr_t)inside_from, .iov_len = strlen(inside_from) + 1},
            {.iov_base = (void *)(uintptr_t)inside_to, .iov_len = strlen(inside_to)},
        };
        record(RECORD_RENAME, 0, 0, 0, data, 2);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = cause;
    return status;
}

int
rename(const char *from, const char *to)
{
    return rename_recorded(AT_FDCWD, from, AT_FDCWD, to);
}

int
renameat(int at_from, const char *from, int at_to, const char *to)
{
    return rename_recorded(at_from, from, at_to, to);
}

static int
name_recorded(int at, const char *path, uint32_t kind, mode_t mode)
{
    char full[PATH_MAX];
    bool on = recording();
    const char *inside = NULL;
    int status = 0;

    if (on) {
        (void)pthread_mutex_lock(&lock);
        inside = ours_at(at, path, full);
    }
    if (kind == RECORD_MKDIR) {
        status = (int)syscall(SYS_mkdirat, at, path, mode);
    } else {
        status = (int)syscall(SYS_unlinkat, at, path, kind == RECORD_RMDIR ? AT_REMOVEDIR : 0);
    }
    int cause = errno;

    if (on) {
        if (status == 0 && inside != NULL) {
            record_path(kind, 0, 0, inside);
        }
        (void)pthread_mutex_unlock(&lock);
    }
    errno = cause;
    return status;
}

int
unlink(const char *path)
{
    return name_recorded(AT_FDCWD, path, RECORD_UNLINK, 0);
}

int
unlinkat(int at, const char *path, int flags)
{
    return name_recorded(at, path, (flags & AT_REMOVEDIR) != 0 ? RECORD_RMDIR : RECORD_UNLINK, 0);
}

int
mkdir(const char *path, mode_t mode)
{
    return name_recorded(AT_FDCWD, path, RECORD_MKDIR, mode);
}

int
mkdirat(int at, const char *path, mode_t mode)
{
    return name_recorded(at, path, RECORD_MKDIR, mode);
}

int
rmdir(const char *path)
{
    return name_recorded(AT_FDCWD, path, RECORD_RMDIR, 0);
}
