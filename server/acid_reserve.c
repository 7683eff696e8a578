/* SPDX-License-Identifier: Apache-2.0 */
/* Room on the disk that a shard holds in advance, so that a full disk can be left again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/store_acid_internal.h"

#define GROW_PAGES     64 /* held at once, when there is room */
#define LOG_HELD_BYTES (256 * 1024)

/* Beyond the end of the file, whose size stays. */
static bool
hold(int fd, uint64_t bytes)
{
    int result;

    do {
        result = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    /* A file system that cannot hold room in advance does without. */
    return result == 0 || (errno != ENOSPC && errno != EDQUOT && errno != EFBIG);
}

static void
hold_log(const char *path)
{
    char *log = NULL;
    int fd;

    DS_ASSERT(asprintf(&log, "%s-wal", path) > 0);
    fd = open(log, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        (void)hold(fd, LOG_HELD_BYTES); /* without room it is as it is */
        (void)close(fd);
    }
    free(log);
}

bool
acid_reserve_open(AcidReserve *reserve, const char *path, Error *err)
{
    reserve->pages = 0;
    atomic_init(&reserve->is_lost, false);
    reserve->fd = open(path, O_RDWR | O_CLOEXEC);
    if (reserve->fd < 0) {
        return error_set(err, ERR_CONFIG, "cannot open %s: %s", path, strerror(errno));
    }
    hold_log(path);
    return true;
}

void
acid_reserve_close(AcidReserve *reserve)
{
    if (reserve->fd >= 0) {
        (void)close(reserve->fd);
    }
    reserve->fd = -1;
}

bool
acid_reserve_hold(AcidReserve *reserve, uint64_t pages, Error *err)
{
    if (atomic_exchange(&reserve->is_lost, false)) {
        reserve->pages = 0;
    }
    if (pages <= reserve->pages) {
        return true;
    }
    if (hold(reserve->fd, (pages + GROW_PAGES) * SQLITE_PAGE_BYTES)) {
        reserve->pages = pages + GROW_PAGES;
        return true;
    }
    if (hold(reserve->fd, pages * SQLITE_PAGE_BYTES)) {
        reserve->pages = pages;
        return true;
    }
    return error_set(err, ERR_FULL, "no room for the file to grow to %llu pages",
                     (unsigned long long)pages);
}
