/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index file holds what the input says, over a payload that is right: a read is refused, or
 * gives bytes that the index has the checksum of.
 *
 * Input: the index, 16 bytes an entry.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/data_file.h"

#define ID            1u
#define MESSAGES      8u
#define MESSAGE_BYTES 5u
#define INDEX_BYTES   (MESSAGES * 16)

static char folder[64];
static char index_path[128];
static DataFiles *files;
static char payload[MESSAGES * MESSAGE_BYTES];
static char index_bytes[INDEX_BYTES];

static void
clean(void)
{
    Error err;

    bool deleted = data_file_delete(files, ID, &err);

    DS_ASSERT(deleted);
    data_files_free(files);
    for (unsigned shelf = 0; shelf < 256; shelf++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%02x", folder, shelf);
        (void)rmdir(path);
    }
    (void)rmdir(folder);
}

static void
subject_make(void)
{
    uint32_t lengths[MESSAGES];
    Error err;

    (void)snprintf(folder, sizeof(folder), "%s/fuzz_data_file_XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    DS_ASSERT(mkdtemp(folder) != NULL && data_files_open(folder, 8, false, &files, &err));
    (void)atexit(clean);
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (char)('a' + i % 26);
    }
    for (size_t i = 0; i < MESSAGES; i++) {
        lengths[i] = MESSAGE_BYTES;
    }
    Str part = str_n(payload, sizeof(payload));
    DataRun run = {.parts = &part, .parts_count = 1, .lengths = lengths, .count = MESSAGES};

    DS_ASSERT(data_file_append(files, ID, (DataEnd){0}, &run, &err));
    (void)snprintf(index_path, sizeof(index_path), "%s/%02x/%016x.idx", folder, ID, ID);
    int fd = open(index_path, O_RDONLY);

    DS_ASSERT(fd >= 0 && read(fd, index_bytes, INDEX_BYTES) == (ssize_t)INDEX_BYTES);
    (void)close(fd);
}

/* Whatever the index says: bytes of the payload, from one place of it. */
static void
read_all(bool counts_messages)
{
    for (uint64_t from = 0; from < MESSAGES; from++) {
        DataRead read = {.id = ID,
                         .end = {.bytes = sizeof(payload), .count = MESSAGES},
                         .counts_messages = counts_messages,
                         .from = counts_messages ? from : from * MESSAGE_BYTES,
                         .to = counts_messages ? MESSAGES : sizeof(payload),
                         .bytes_max = 11};
        Range range;
        Error err;

        range_init(&range, read.from);
        if (data_file_read(files, &read, &range, &err)) {
            Str bytes = range.parts[0].bytes;

            DS_ASSERT(range.count == 1 && bytes.len == range.bytes && range.to > read.from);
            DS_ASSERT(memmem(payload, sizeof(payload), bytes.ptr, bytes.len) != NULL);
            DS_ASSERT(counts_messages || memcmp(payload + read.from, bytes.ptr, bytes.len) == 0);
        } else {
            DS_ASSERT(err.code == ERR_CORRUPT);
        }
        range_done(&range);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (files == NULL) {
        subject_make();
    }
    int fd = open(index_path, O_WRONLY | O_TRUNC);
    size_t len = DS_MIN(size, INDEX_BYTES);

    DS_ASSERT(fd >= 0);
    DS_ASSERT(write(fd, index_bytes, INDEX_BYTES) == (ssize_t)INDEX_BYTES);
    DS_ASSERT(pwrite(fd, data, len, 0) == (ssize_t)len);
    (void)close(fd);
    read_all(true);
    read_all(false);
    return 0;
}
