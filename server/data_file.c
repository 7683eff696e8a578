/* SPDX-License-Identifier: Apache-2.0 */
#include "server/data_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/fault.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/data_file_internal.h"

#define SHELVES          DATA_FILE_SHELVES
#define SHELF_BYTES_MAX  4 /* "/ff" and a terminator */
#define NAME_BYTES_MAX   32
#define PARTS_AT_ONCE    256
#define ENTRIES_AT_ONCE  1024
#define PUNCH_BYTES      4096
#define PUNCH_SENT_PAGES 2048 /* the most that the kernel takes for one page of a file */

static const char *const suffixes[] = {[DATA_PAYLOAD] = ".data", [DATA_INDEX] = ".idx"};

/* ---- names ---- */

static unsigned
shelf_of(uint64_t id)
{
    return (unsigned)(id % SHELVES);
}

static void
shelf_path(const DataFiles *files, unsigned shelf, char *out)
{
    int len = snprintf(out, PATH_MAX, "%s/%02x", files->dir, shelf);

    DS_ASSERT(len > 0 && len < PATH_MAX);
}

void
data_file_path(const DataFiles *files, uint64_t id, DataPart part, char *out)
{
    int len = snprintf(out, PATH_MAX, "%s/%02x/%016" PRIx64 "%s", files->dir, shelf_of(id), id,
                       suffixes[part]);

    DS_ASSERT(len > 0 && len < PATH_MAX);
}

static uint64_t
key_of(uint64_t id, DataPart part)
{
    DS_ASSERT(id <= UINT64_MAX / 2);
    return id * 2 + part;
}

static bool
open_file(void *arg, uint64_t key, bool create, int *out_fd, Error *err)
{
    const DataFiles *files = arg;
    char path[PATH_MAX];

    data_file_path(files, key / 2, (DataPart)(key % 2), path);
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0644);

    if (fd < 0) {
        return file_error(err, "open", path);
    }
    *out_fd = fd;
    return true;
}

bool
data_file_pin(DataFiles *files, uint64_t id, DataPart part, bool create, FdPin *out, Error *err)
{
    return fd_cache_pin(files->cache, key_of(id, part), create, out, err);
}

/* ---- life ---- */

static bool
shelves_make(DataFiles *files, Error *err)
{
    bool made = false;

    for (unsigned shelf = 0; shelf < SHELVES; shelf++) {
        char path[PATH_MAX];

        shelf_path(files, shelf, path);
        if (mkdir(path, 0755) == 0) {
            made = true;
        } else if (errno != EEXIST) {
            return file_error(err, "make", path);
        }
    }
    return !made || file_sync_dir(files->dir, err);
}

bool
data_files_open(const char *dir, size_t open_files_max, bool sync, DataFiles **out, Error *err)
{
    if (strlen(dir) + SHELF_BYTES_MAX + NAME_BYTES_MAX >= PATH_MAX) {
        return error_set(err, ERR_CONFIG, "the path is too long: %s", dir);
    }
    DataFiles *files = mem_zalloc(sizeof(*files));

    files->dir = mem_strdup(dir);
    files->sync = sync;
    files->cache = fd_cache_new(open_files_max, open_file, files);
    files->pieces_max = open_files_max / 2;
    files->dir_fd = -1;
    (void)pthread_mutex_init(&files->names, NULL);
    bool ok = file_make_dir(dir, err) && shelves_make(files, err);

    if (ok) {
        /* Open from now on: syncfs tells of every error since. */
        files->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ok = files->dir_fd >= 0 || file_error(err, "open", dir);
    }
    if (!ok) {
        data_files_free(files);
        return false;
    }
    *out = files;
    return true;
}

void
data_files_free(DataFiles *files)
{
    if (files == NULL) {
        return;
    }
    fd_cache_free(files->cache);
    (void)pthread_mutex_destroy(&files->names);
    if (files->dir_fd >= 0) {
        (void)close(files->dir_fd);
    }
    free(files->dir);
    free(files);
}

/* ---- appending ---- */

static bool
payload_write(int fd, const DataRun *run, uint64_t at, const char *path, Error *err)
{
    for (size_t i = 0; i < run->parts_count;) {
        struct iovec parts[PARTS_AT_ONCE];
        size_t count = 0;
        uint64_t from = at;

        for (; count < PARTS_AT_ONCE && i < run->parts_count; count++, i++) {
            parts[count] = (struct iovec){.iov_base = (void *)(uintptr_t)run->parts[i].ptr,
                                          .iov_len = run->parts[i].len};
            at += run->parts[i].len;
        }
        if (!file_write_at(fd, parts, count, from, true, path, err)) {
            return false;
        }
    }
    return true;
}

/* Walks the parts of a run. */
typedef struct RunCursor {
    const DataRun *run;
    size_t part;
    size_t offset;
} RunCursor;

static uint32_t
cursor_crc(RunCursor *cursor, size_t len)
{
    uint32_t crc = CRC32C_INIT;

    while (len > 0) {
        DS_ASSERT(cursor->part < cursor->run->parts_count);
        Str part = cursor->run->parts[cursor->part];
        Str piece = str_head(str_skip(part, cursor->offset), len);

        crc = crc32c(crc, piece);
        len -= piece.len;
        cursor->offset += piece.len;
        if (cursor->offset == part.len) {
            cursor->part++;
            cursor->offset = 0;
        }
    }
    return crc;
}

static bool
index_write(int fd, const DataRun *run, DataEnd end, const char *path, Error *err)
{
    RunCursor cursor = {.run = run};
    char bytes[ENTRIES_AT_ONCE * DATA_ENTRY_BYTES];

    for (size_t i = 0; i < run->count;) {
        uint64_t from = end.count * DATA_ENTRY_BYTES;
        size_t len = 0;

        for (; len < sizeof(bytes) && i < run->count; i++, len += DATA_ENTRY_BYTES) {
            DataEntry entry = {.length = run->lengths[i]};

            end.bytes += entry.length;
            end.count++;
            entry.end = end.bytes;
            entry.crc = cursor_crc(&cursor, entry.length);
            data_entry_put(&entry, bytes + len);
        }
        struct iovec part = {.iov_base = bytes, .iov_len = len};

        if (!file_write_at(fd, &part, 1, from, true, path, err)) {
            return false;
        }
    }
    return true;
}

/* The mark comes behind the name: another shard that syncs the shelf before the name is there must
 * not take the mark away. */
static bool
pin_to_append(DataFiles *files, uint64_t id, DataPart part, bool create, FdPin *out, Error *err)
{
    bool ok = data_file_pin(files, id, part, create, out, err);

    if (ok && create) {
        atomic_store(&files->shelf_dirty[shelf_of(id)], true);
    }
    return ok;
}

bool
data_file_append(DataFiles *files, uint64_t id, DataEnd end, const DataRun *run, Error *err)
{
    bool create = end.count == 0;
    char path[PATH_MAX];
    FdPin pin;

    data_file_path(files, id, DATA_PAYLOAD, path);
    if (!pin_to_append(files, id, DATA_PAYLOAD, create, &pin, err)) {
        return false;
    }
    bool ok = payload_write(pin.fd, run, end.bytes, path, err);

    fd_cache_unpin(files->cache, &pin);
    data_file_path(files, id, DATA_INDEX, path);
    if (!ok || !pin_to_append(files, id, DATA_INDEX, create, &pin, err)) {
        return false;
    }
    ok = index_write(pin.fd, run, end, path, err);
    fd_cache_unpin(files->cache, &pin);
    return ok;
}

/* ---- making durable ---- */

static bool
part_sync(DataFiles *files, uint64_t id, DataPart part, Error *err)
{
    char path[PATH_MAX];
    FdPin pin;

    data_file_path(files, id, part, path);
    if (!data_file_pin(files, id, part, false, &pin, err)) {
        return false;
    }
    bool ok = file_sync(pin.fd, path, err);

    fd_cache_unpin(files->cache, &pin);
    return ok;
}

/* Who finds no mark relies on whoever took it away: that is done when we have `names`. */
static bool
shelves_sync(DataFiles *files, Error *err)
{
    bool ok = true;

    (void)pthread_mutex_lock(&files->names);
    for (unsigned shelf = 0; ok && shelf < SHELVES; shelf++) {
        char path[PATH_MAX];

        if (!atomic_exchange(&files->shelf_dirty[shelf], false)) {
            continue;
        }
        shelf_path(files, shelf, path);
        ok = file_sync_dir(path, err);
        if (!ok) {
            atomic_store(&files->shelf_dirty[shelf], true);
        }
    }
    (void)pthread_mutex_unlock(&files->names);
    return ok;
}

static bool
all_sync(DataFiles *files, Error *err)
{
    if (MUTANT("no_fdatasync")) {
        return true;
    }
    (void)pthread_mutex_lock(&files->names);
    for (unsigned shelf = 0; shelf < SHELVES; shelf++) {
        atomic_store(&files->shelf_dirty[shelf], false);
    }
    bool ok = syncfs(files->dir_fd) == 0;

    if (!ok) {
        (void)file_error(err, "sync the file system of", files->dir);
        err->code = ERR_FATAL;
    }
    (void)pthread_mutex_unlock(&files->names);
    return ok;
}

bool
data_files_sync(DataFiles *files, const uint64_t *ids, size_t count, Error *err)
{
    if (!files->sync) {
        return true;
    }
    if (count > DATA_FILE_SYNC_EACH_MAX) {
        return all_sync(files, err);
    }
    for (size_t i = 0; i < count; i++) {
        if (!part_sync(files, ids[i], DATA_PAYLOAD, err) ||
            !part_sync(files, ids[i], DATA_INDEX, err)) {
            return false;
        }
    }
    return shelves_sync(files, err);
}

/* ---- cutting ---- */

static bool
part_cut(DataFiles *files, uint64_t id, DataPart part, uint64_t len, Error *err)
{
    char path[PATH_MAX];
    uint64_t size = 0;
    FdPin pin;

    data_file_path(files, id, part, path);
    if (!data_file_pin(files, id, part, false, &pin, err)) {
        if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        return len == 0 || error_set(err, ERR_CORRUPT,
                                     "%s is missing, and %" PRIu64 " bytes of it are needed: "
                                     "restore it from a copy, or delete the stream",
                                     path, len);
    }
    bool ok = file_size(pin.fd, &size, path, err);

    if (ok && size < len) {
        ok = error_set(err, ERR_CORRUPT,
                       "%s ends at byte %" PRIu64 ", and %" PRIu64
                       " are needed: restore it from a copy, or delete the stream",
                       path, size, len);
    } else if (ok && size > len && ftruncate(pin.fd, (off_t)len) != 0) {
        ok = file_error(err, "cut", path);
    }
    fd_cache_unpin(files->cache, &pin);
    return ok;
}

bool
data_file_cut(DataFiles *files, uint64_t id, DataEnd end, Error *err)
{
    return part_cut(files, id, DATA_PAYLOAD, end.bytes, err) &&
           part_cut(files, id, DATA_INDEX, end.count * DATA_ENTRY_BYTES, err) &&
           (end.count == 0 || data_index_check_end(files, id, end, err));
}

static size_t
sent_bit(uint64_t id)
{
    return (size_t)(id * 0x9e3779b97f4a7c15u >> 32) % DATA_FILE_SENT_BITS;
}

void
data_file_set_sent(DataFiles *files, uint64_t id)
{
    size_t bit = sent_bit(id);

    atomic_fetch_or(&files->sent[bit / 8], (unsigned char)(1u << bit % 8));
}

static bool
was_sent(DataFiles *files, uint64_t id)
{
    size_t bit = sent_bit(id);

    return (atomic_load(&files->sent[bit / 8]) & (1u << bit % 8)) != 0;
}

/* The kernel takes pages that lie within a hole as a whole out of the file, and whoever refers to
 * them keeps what they held.  One at an end of the hole it fills with zeros where it is, under
 * everybody; and a page may be a large one. */
bool
data_file_punch(DataFiles *files, uint64_t id, uint64_t bytes)
{
    uint64_t large = PUNCH_SENT_PAGES * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t unit = was_sent(files, id) ? large : PUNCH_BYTES;
    uint64_t whole = bytes / unit * unit;
    Error err;
    FdPin pin;

    if (whole == 0 || !data_file_pin(files, id, DATA_PAYLOAD, false, &pin, &err)) {
        return true;
    }
    bool shared = fd_cache_is_shared(files->cache, &pin);

    if (!shared) {
        (void)fallocate(pin.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)whole);
    }
    fd_cache_unpin(files->cache, &pin);
    return !shared;
}

/* ---- deleting ---- */

static bool
part_delete(DataFiles *files, uint64_t id, DataPart part, Error *err)
{
    char path[PATH_MAX];

    data_file_path(files, id, part, path);
    bool ok = unlink(path) == 0 || errno == ENOENT || file_error(err, "remove", path);

    /* Behind the unlink: a reader that comes now finds no file and opens none. */
    fd_cache_forget(files->cache, key_of(id, part));
    return ok;
}

bool
data_file_delete(DataFiles *files, uint64_t id, Error *err)
{
    return part_delete(files, id, DATA_INDEX, err) && part_delete(files, id, DATA_PAYLOAD, err);
}

/* ---- listing ---- */

static bool
id_of_name(Str name, uint64_t *out)
{
    for (size_t i = 0; i < DS_COUNT(suffixes); i++) {
        Str suffix = str_c(suffixes[i]);

        if (str_ends(name, suffix) && name.len == 16 + suffix.len &&
            parse_hex_u64(str_head(name, 16), out)) {
            return true;
        }
    }
    return false;
}

static bool
shelf_each(const char *path, DataFileFn fn, void *arg, Error *err)
{
    DIR *dir = opendir(path);
    bool ok = true;

    if (dir == NULL) {
        return file_error(err, "open", path);
    }
    while (ok) {
        uint64_t id = 0;

        errno = 0;
        const struct dirent *entry = readdir(dir);

        if (entry == NULL) {
            ok = errno == 0 || file_error(err, "read", path);
            break;
        }
        ok = !id_of_name(str_c(entry->d_name), &id) || fn(arg, id, err);
    }
    (void)closedir(dir);
    return ok;
}

bool
data_files_each(DataFiles *files, DataFileFn fn, void *arg, Error *err)
{
    for (unsigned shelf = 0; shelf < SHELVES; shelf++) {
        char path[PATH_MAX];

        shelf_path(files, shelf, path);
        if (!shelf_each(path, fn, arg, err)) {
            return false;
        }
    }
    return true;
}
