/* SPDX-License-Identifier: Apache-2.0 */
#include "server/manifest.h"

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/json_scan.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/cores.h"
#include "server/file_io.h"

#define LOCK_FILE     "LOCK"
#define MANIFEST_FILE "MANIFEST"
#define MANIFEST_TEMP "MANIFEST.new"
#define NAME_HASH     "fnv1a64-mix"
#define BOOT_ID_FILE  "/proc/sys/kernel/random/boot_id"
#define DIR_MODE      0700
#define FILE_MODE     0600

#define CORES_OF_ONE_SHARD 2

/* ERR_FULL when it is for want of space. */
static bool
data_dir_error(Error *err, const char *what)
{
    int number = errno;
    bool full = number == ENOSPC || number == EDQUOT;

    return error_set(err, full ? ERR_FULL : ERR_CONFIG, "%s: %s", what, strerror(number));
}

/* ---- the text ---- */

static bool
copy_string(Str value, char *out, size_t size)
{
    if (value.ptr == NULL || value.len < 2 || value.ptr[0] != '"' || value.len - 2 >= size) {
        return false;
    }
    memcpy(out, value.ptr + 1, value.len - 2);
    out[value.len - 2] = '\0';
    return strchr(out, '\\') == NULL;
}

static bool
take_shards(Str text, uint64_t *out)
{
    return text.ptr != NULL && parse_u64(text, MANIFEST_SHARDS_MAX, out) && *out > 0 &&
           (*out & (*out - 1)) == 0;
}

bool
manifest_parse(const char *text, size_t len, Manifest *out, Error *err)
{
    static const Str keys[] = {STR("format_version"), STR("mode"),        STR("shards"),
                               STR("hash"),           STR("server_uuid"), STR("clean"),
                               STR("boot_id"),        STR("next_number")};
    JsonValue document;
    JsonValue members[DS_COUNT(keys)];
    Manifest manifest = {0};
    char hash[sizeof(NAME_HASH)];

    if (!json_scan_value(str_n(text, len), JSON_DEPTH_MAX, &document, err)) {
        return error_wrap(err, MANIFEST_FILE);
    }
    if (document.type != JSON_TYPE_OBJECT) {
        return error_set(err, ERR_PROTOCOL, MANIFEST_FILE ": not an object");
    }
    json_members(document.text, keys, DS_COUNT(keys), members);
    if (members[0].text.ptr == NULL ||
        !parse_u64(members[0].text, UINT64_MAX, &manifest.format_version)) {
        return error_set(err, ERR_PROTOCOL, MANIFEST_FILE ": no format_version");
    }
    /* Of a format that is not known nothing else is. */
    if (manifest.format_version == MANIFEST_FORMAT_VERSION) {
        manifest.clean = members[5].text.ptr != NULL && str_eq(members[5].text, STR("true"));
        if (!copy_string(members[1].text, manifest.mode, sizeof(manifest.mode)) ||
            !take_shards(members[2].text, &manifest.shards) ||
            !copy_string(members[3].text, hash, sizeof(hash)) || strcmp(hash, NAME_HASH) != 0 ||
            !copy_string(members[4].text, manifest.server_uuid, sizeof(manifest.server_uuid)) ||
            members[5].text.ptr == NULL ||
            !copy_string(members[6].text, manifest.boot_id, sizeof(manifest.boot_id)) ||
            members[7].text.ptr == NULL ||
            !parse_u64(members[7].text, UINT64_MAX, &manifest.next_number)) {
            return error_set(err, ERR_PROTOCOL, MANIFEST_FILE ": a member is missing or not legal");
        }
    }
    *out = manifest;
    return true;
}

size_t
manifest_format(const Manifest *manifest, char *out)
{
    int length = snprintf(out, MANIFEST_BYTES_MAX,
                          "{\"format_version\":%llu,\"mode\":\"%s\",\"shards\":%llu,"
                          "\"hash\":\"" NAME_HASH "\",\"server_uuid\":\"%s\",\"clean\":%s,"
                          "\"boot_id\":\"%s\",\"next_number\":%llu}\n",
                          (unsigned long long)manifest->format_version, manifest->mode,
                          (unsigned long long)manifest->shards, manifest->server_uuid,
                          manifest->clean ? "true" : "false", manifest->boot_id,
                          (unsigned long long)manifest->next_number);

    DS_ASSERT(length > 0 && length < MANIFEST_BYTES_MAX);
    return (size_t)length;
}

/* ---- the files ---- */

/* Returns the length, or -1 with errno. */
static ssize_t
read_small(int dir_fd, const char *name, char *out, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (fd < 0) {
        return -1;
    }
    length = read(fd, out, size);
    close(fd);
    return length;
}

static bool
write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);

        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        text += written;
        len -= (size_t)written;
    }
    return true;
}

static bool
sync_dir(int dir_fd)
{
    return MUTANT("no_directory_sync") || fsync(dir_fd) == 0;
}

/* Either the old manifest is there afterwards, or the new one. */
static bool
manifest_write(int dir_fd, const Manifest *manifest, Error *err)
{
    char text[MANIFEST_BYTES_MAX];
    size_t len = manifest_format(manifest, text);
    int fd = openat(dir_fd, MANIFEST_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    bool ok;

    if (fd < 0) {
        return data_dir_error(err, MANIFEST_TEMP);
    }
    ok = write_all(fd, text, len) && fsync(fd) == 0;
    if (!ok) {
        data_dir_error(err, MANIFEST_TEMP);
    }
    close(fd);
    if (!ok) {
        unlinkat(dir_fd, MANIFEST_TEMP, 0);
        return false;
    }
    if (renameat(dir_fd, MANIFEST_TEMP, dir_fd, MANIFEST_FILE) < 0 || !sync_dir(dir_fd)) {
        return data_dir_error(err, MANIFEST_FILE);
    }
    return true;
}

static void
read_boot_id(char out[MANIFEST_UUID_CHARS + 1])
{
    char text[MANIFEST_UUID_CHARS + 1];
    ssize_t len = read_small(AT_FDCWD, BOOT_ID_FILE, text, sizeof(text));

    out[0] = '\0';
    if (len >= MANIFEST_UUID_CHARS && strspn(text, "0123456789abcdef-") >= MANIFEST_UUID_CHARS) {
        memcpy(out, text, MANIFEST_UUID_CHARS);
        out[MANIFEST_UUID_CHARS] = '\0';
    }
}

static void
make_uuid(char out[MANIFEST_UUID_CHARS + 1])
{
    unsigned char raw[16];

    arc4random_buf(raw, sizeof(raw));
    raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40);
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
    (void)snprintf(out, MANIFEST_UUID_CHARS + 1,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", raw[0],
                   raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7], raw[8], raw[9], raw[10],
                   raw[11], raw[12], raw[13], raw[14], raw[15]);
}

/* ---- the directory ---- */

static bool
make_folder(const char *path, Error *err)
{
    return mkdir(path, DIR_MODE) == 0 ? file_sync_parent(path, err) : errno == EEXIST;
}

/* Each folder of the path that is missing; the new ones are named durably. */
static bool
make_path(const char *path, Error *err)
{
    char *copy = mem_strdup(path);
    bool ok = true;

    for (char *at = copy + 1; ok && *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            ok = make_folder(copy, err);
            *at = '/';
        }
    }
    ok = ok && make_folder(copy, err);
    if (!ok) {
        data_dir_error(err, path);
    }
    free(copy);
    return ok;
}

static bool
take_lock(DataDir *dir, Error *err)
{
    char text[32];
    ssize_t len;

    dir->lock_fd = openat(dir->fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (dir->lock_fd < 0) {
        return data_dir_error(err, LOCK_FILE);
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        len = read_small(dir->fd, LOCK_FILE, text, sizeof(text) - 1);
        text[DS_MAX(len, (ssize_t)0)] = '\0';
        return error_set(err, ERR_CONFIG,
                         "another ds-server (pid %.20s) uses this directory: stop it, or give "
                         "this one another DS_STORAGE__DATA_DIR",
                         len > 0 ? text : "unknown");
    }
    len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(dir->lock_fd, 0) < 0 || !write_all(dir->lock_fd, text, (size_t)len)) {
        return data_dir_error(err, LOCK_FILE);
    }
    return true;
}

/* What a directory without a manifest may hold: what a start leaves that was cut short. */
static bool
check_empty(const DataDir *dir, Error *err)
{
    static const char *const known[] = {".", "..", LOCK_FILE, MANIFEST_TEMP, "lost+found"};
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool ok = listing != NULL;

    if (!ok) {
        data_dir_error(err, dir->path);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    while (ok && (entry = readdir(listing)) != NULL) {
        bool is_known = false;

        for (size_t i = 0; i < DS_COUNT(known); i++) {
            is_known = is_known || strcmp(entry->d_name, known[i]) == 0;
        }
        if (!is_known) {
            ok = error_set(err, ERR_CONFIG,
                           "it holds \"%.100s\" but no " MANIFEST_FILE ": this is not a data "
                           "directory of ds-server, or its " MANIFEST_FILE " was lost; give "
                           "another DS_STORAGE__DATA_DIR, or restore the whole directory",
                           entry->d_name);
        }
    }
    closedir(listing);
    return ok;
}

static bool
check_version(const Manifest *manifest, Error *err)
{
    if (manifest->format_version == MANIFEST_FORMAT_VERSION) {
        return true;
    }
    return error_set(err, ERR_CONFIG,
                     "its format is version %llu, and this program knows version %d: start the "
                     "ds-server that wrote it, or a newer one",
                     (unsigned long long)manifest->format_version, MANIFEST_FORMAT_VERSION);
}

static bool
check_fits(const Manifest *manifest, const char *mode, uint64_t shards, Error *err)
{
    if (!check_version(manifest, err)) {
        return false;
    }
    if (strcmp(manifest->mode, mode) != 0) {
        return error_set(err, ERR_CONFIG,
                         "it holds streams of the mode %s, not %s: set DS_STORAGE__MODE=%s, or "
                         "give another DS_STORAGE__DATA_DIR",
                         manifest->mode, mode, manifest->mode);
    }
    if (shards != 0 && manifest->shards != shards) {
        return error_set(err, ERR_CONFIG,
                         "its streams are in %llu shards, not %llu, and that is fixed: set "
                         "DS_STORAGE__%s_SHARD_COUNT=%llu",
                         (unsigned long long)manifest->shards, (unsigned long long)shards,
                         strcmp(mode, "acid") == 0 ? "ACID" : "WAL",
                         (unsigned long long)manifest->shards);
    }
    return true;
}

/* *out_found false: there is none. */
static bool
manifest_read(const DataDir *dir, Manifest *out, bool *out_found, Error *err)
{
    char text[MANIFEST_BYTES_MAX];
    ssize_t len = read_small(dir->fd, MANIFEST_FILE, text, sizeof(text));

    *out_found = len >= 0;
    if (len < 0) {
        return errno == ENOENT || data_dir_error(err, MANIFEST_FILE);
    }
    return manifest_parse(text, (size_t)len, out, err);
}

/* Each has a thread and a sync of its own: on few cores a second only makes the groups smaller that
 * are committed together. */
static uint64_t
shards_for_cores(void)
{
    return cores_allowed() <= CORES_OF_ONE_SHARD ? 1 : 2;
}

/* The manifest as it will be while the server runs. */
static bool
take_over(DataDir *dir, const char *mode, uint64_t shards, Error *err)
{
    Manifest *manifest = &dir->manifest;
    char *boot_id = dir->boot_id;
    bool found;

    if (!manifest_read(dir, manifest, &found, err)) {
        return false;
    }
    read_boot_id(boot_id);
    if (found) {
        if (!check_fits(manifest, mode, shards, err)) {
            return false;
        }
        dir->was_clean = manifest->clean;
        dir->same_boot = boot_id[0] != '\0' && strcmp(boot_id, manifest->boot_id) == 0;
    } else {
        if (!check_empty(dir, err)) {
            return false;
        }
        *manifest = (Manifest){.format_version = MANIFEST_FORMAT_VERSION,
                               .shards = shards != 0 ? shards : shards_for_cores()};
        DS_ASSERT(strlcpy(manifest->mode, mode, sizeof(manifest->mode)) < sizeof(manifest->mode));
        make_uuid(manifest->server_uuid);
        dir->is_new = true;
        dir->was_clean = true;
        dir->same_boot = true;
    }
    /* The clock is only where the first run begins: one that is set back changes nothing. */
    dir->first_number = DS_MAX(manifest->next_number, (uint64_t)clock_wall_ms() << 16);
    manifest->next_number = dir->first_number + MANIFEST_NUMBERS;
    manifest->clean = false;
    if (dir->was_clean || dir->same_boot) {
        memcpy(manifest->boot_id, boot_id, sizeof(dir->boot_id));
    }
    return manifest_write(dir->fd, manifest, err);
}

static bool
open_locked(const char *path, DataDir *dir, Error *err)
{
    *dir = (DataDir){.path = mem_strdup(path), .lock_fd = -1};
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0) {
        return data_dir_error(err, path);
    }
    return take_lock(dir, err);
}

bool
data_dir_open(const char *path, const char *mode, uint64_t shards, DataDir *out, Error *err)
{
    DataDir dir = {.fd = -1, .lock_fd = -1};

    if (!make_path(path, err) || !open_locked(path, &dir, err) ||
        !take_over(&dir, mode, shards, err)) {
        data_dir_close(&dir);
        return error_wrap(err, "the data directory %.200s", path);
    }
    *out = dir;
    return true;
}

bool
data_dir_recovered(DataDir *dir, Error *err)
{
    if (strcmp(dir->manifest.boot_id, dir->boot_id) == 0) {
        return true;
    }
    memcpy(dir->manifest.boot_id, dir->boot_id, sizeof(dir->boot_id));
    return manifest_write(dir->fd, &dir->manifest, err);
}

bool
data_dir_seal(DataDir *dir, Error *err)
{
    dir->manifest.clean = true;
    return manifest_write(dir->fd, &dir->manifest, err);
}

void
data_dir_close(DataDir *dir)
{
    if (dir->lock_fd >= 0) {
        close(dir->lock_fd);
    }
    if (dir->fd >= 0) {
        close(dir->fd);
    }
    free(dir->path);
    *dir = (DataDir){.fd = -1, .lock_fd = -1};
}

bool
data_dir_upgrade(const char *path, uint64_t *out_from, Error *err)
{
    DataDir dir = {.fd = -1, .lock_fd = -1};
    Manifest manifest = {0};
    bool found = false;
    bool ok = false;

    if (!open_locked(path, &dir, err) || !manifest_read(&dir, &manifest, &found, err)) {
        goto done;
    }
    if (!found) {
        error_set(err, ERR_CONFIG, "there is no " MANIFEST_FILE " in it");
        goto done;
    }
    if (!check_version(&manifest, err)) {
        goto done;
    }
    *out_from = manifest.format_version;
    ok = true;

done:
    data_dir_close(&dir);
    return ok || error_wrap(err, "the data directory %.200s", path);
}

/* ---- looking without touching ---- */

/* What would be made has to go somewhere: the last folder of the path that is there. */
static bool
check_can_make(const char *path, Error *err)
{
    char *copy = mem_strdup(path);
    char *slash;
    bool ok;

    while (access(copy, F_OK) != 0 && (slash = strrchr(copy, '/')) != NULL && slash != copy) {
        *slash = '\0';
    }
    const char *base = access(copy, F_OK) == 0 ? copy : path[0] == '/' ? "/" : ".";
    ok = access(base, W_OK | X_OK) == 0 || data_dir_error(err, base);
    free(copy);
    return ok;
}

bool
data_dir_check(const char *path, const char *mode, uint64_t shards, Error *err)
{
    DataDir dir = {.path = mem_strdup(path), .lock_fd = -1};
    Manifest manifest = {0};
    bool found = false;
    bool ok = false;

    dir.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir.fd < 0 && errno == ENOENT) {
        ok = check_can_make(path, err);
    } else if (dir.fd < 0 || faccessat(dir.fd, ".", R_OK | W_OK | X_OK, 0) != 0) {
        data_dir_error(err, path);
    } else {
        ok = manifest_read(&dir, &manifest, &found, err) &&
             (found ? check_fits(&manifest, mode, shards, err) : check_empty(&dir, err));
    }
    data_dir_close(&dir);
    return ok || error_wrap(err, "the data directory %.200s", path);
}
