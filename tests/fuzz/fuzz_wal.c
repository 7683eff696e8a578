/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log's file is damaged as the input says and opened: it is refused, or a beginning of what was
 * written is replayed.  Where the input also mends checksums, nothing is promised but an answer.
 *
 * Input: steps {u8 what, u16 where, u8 value}, little-endian.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/little_endian.h"
#include "server/wal.h"

#define BLOCK      4096u
#define BATCH_HEAD 72u
#define BATCHES    5u
#define STEP       4u
#define STEPS_MAX  64u

static char folder[64];
static char path[96];
static char spare_path[96]; /* what the log makes of a file without batches */
static char image[WAL_SEGMENT_BYTES_MIN];

typedef struct Seen {
    uint64_t next;
    bool wrong;
} Seen;

static bool
on_record(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    Seen *seen = arg;
    char text[32];
    int len = snprintf(text, sizeof(text), "record %" PRIu64, lsn);

    (void)err;
    seen->wrong |= lsn != seen->next || kind != 7 || !str_eq(body, str_n(text, (size_t)len));
    seen->next = lsn + 1;
    return true;
}

static bool
open_log(Seen *seen, Wal **out, Error *err)
{
    const WalOptions options = {
        .dir = folder, .segment_bytes = WAL_SEGMENT_BYTES_MIN, .segments_max = 4, .sync = true};

    *seen = (Seen){.next = 1};
    return wal_open(&options, 0, on_record, seen, out, err);
}

static void
remove_folder(void)
{
    (void)unlink(path);
    (void)unlink(spare_path);
    (void)rmdir(folder);
}

static void
image_make(void)
{
    Wal *wal = NULL;
    Seen seen;
    Error err;

    (void)snprintf(folder, sizeof(folder), "%s/fuzz_wal_XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    DS_ASSERT(mkdtemp(folder) != NULL);
    (void)atexit(remove_folder);
    DS_ASSERT(open_log(&seen, &wal, &err));
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        wal_begin(wal);
        for (unsigned i = 0; i <= batch; i++) {
            char text[32];
            int len = snprintf(text, sizeof(text), "record %" PRIu64, wal_last_lsn(wal) + i + 1);
            Str part = str_n(text, (size_t)len);

            (void)wal_add(wal, 7, &part, 1);
        }
        DS_ASSERT(wal_commit(wal, &err));
    }
    wal_free(wal);
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.wal", folder);
    (void)snprintf(spare_path, sizeof(spare_path), "%s/0000000000000001.spare", folder);
    int fd = open(path, O_RDONLY);

    DS_ASSERT(fd >= 0 && read(fd, image, sizeof(image)) == (ssize_t)sizeof(image));
    (void)close(fd);
}

/* So that the next checks are reached. */
static void
mend(char *bytes, size_t batch)
{
    char *head = bytes + BLOCK * (1 + batch % (BATCHES + 2));
    uint64_t length = DS_MIN(le64_get(head + 56), BLOCK);

    le32_put(head + 8, crc32c(CRC32C_INIT, str_n(head + BATCH_HEAD, length)));
    le32_put(head + 4, crc32c(CRC32C_INIT, str_n(head + 8, BATCH_HEAD - 8)));
}

/* True when checksums were mended. */
static bool
damage(const uint8_t *data, size_t size, char *bytes)
{
    bool mended = false;

    for (size_t i = 0; i + STEP <= size && i < STEP * STEPS_MAX; i += STEP) {
        size_t where = data[i + 1] | (size_t)data[i + 2] << 8;
        size_t target = BLOCK * (data[i + 3] % 16);

        switch (data[i] % 4) {
        case 0:
            bytes[where] = (char)(bytes[where] ^ data[i + 3]);
            break;
        case 1: /* was not written */
            memset(bytes + where, 0, DS_MIN(sizeof(image) - where, data[i + 3] * (size_t)16));
            break;
        case 2: /* another block */
            memmove(bytes + target, bytes + where / BLOCK * BLOCK, BLOCK);
            break;
        default:
            mend(bytes, data[i + 3]);
            mended = true;
            break;
        }
    }
    return mended;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[sizeof(image)];
    Wal *wal = NULL;
    Seen seen;
    Error err;

    if (path[0] == '\0') {
        image_make();
    }
    memcpy(bytes, image, sizeof(image));
    bool mended = damage(data, size, bytes);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    DS_ASSERT(fd >= 0 && write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes));
    (void)close(fd);
    bool opened = open_log(&seen, &wal, &err);

    DS_ASSERT(opened || err.code == ERR_CORRUPT || mended);
    DS_ASSERT(mended || !seen.wrong);
    wal_free(wal);
    (void)unlink(spare_path);
    return 0;
}
