/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/data_subject.h"

#include <criterion/criterion.h>

#include "common/mem.h"

char data_folder[FOLDER_PATH_SIZE];
char data_dir[FOLDER_PATH_SIZE + 16];
DataFiles *data_files;

void
data_subject_setup(void)
{
    Error err = {0};

    folder_make(data_folder);
    (void)snprintf(data_dir, sizeof(data_dir), "%s/streams", data_folder);
    cr_assert(data_files_open(data_dir, 8, true, &data_files, &err), "%s", err.text);
}

void
data_subject_teardown(void)
{
    data_files_free(data_files);
    folder_remove(data_folder);
}

/* Bytes first..first+count of what every file here holds. */
char
data_byte_at(uint64_t offset)
{
    return (char)('a' + offset % 23 + offset / 23 % 3);
}

void
data_payload_fill(char *out, uint64_t first, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = data_byte_at(first + i);
    }
}

bool
data_try_append(uint64_t id, DataEnd *end, const uint32_t *lengths, size_t count, Error *err)
{
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        len += lengths[i];
    }
    char *bytes = mem_alloc(len + 1);

    data_payload_fill(bytes, end->bytes, len);
    /* In three parts that no message ends at. */
    Str parts[] = {str_n(bytes, len / 3), STR_EMPTY, str_n(bytes + len / 3, len - len / 3)};
    DataRun run = {.parts = parts, .parts_count = 3, .lengths = lengths, .count = count};
    bool ok = data_file_append(data_files, id, *end, &run, err);

    free(bytes);
    if (ok) {
        end->bytes += len;
        end->count += count;
    }
    return ok;
}

DataEnd
data_subject(uint64_t id)
{
    uint32_t lengths[MESSAGES];
    DataEnd end = {0};
    Error err = {0};

    for (uint32_t i = 0; i < MESSAGES; i++) {
        lengths[i] = i + 1;
    }
    cr_assert(data_try_append(id, &end, lengths, 7, &err), "%s", err.text);
    cr_assert(data_try_append(id, &end, lengths + 7, MESSAGES - 7, &err), "%s", err.text);
    cr_assert(data_files_sync(data_files, &id, 1, &err), "%s", err.text);
    return end;
}

uint64_t
data_start_of(uint64_t message)
{
    return message * (message + 1) / 2;
}

void
data_expect_range(const Range *range, uint64_t first_byte, uint64_t bytes)
{
    uint64_t at = first_byte;

    cr_assert_eq(range->bytes, bytes);
    for (size_t part = 0; part < range->count; part++) {
        for (size_t i = 0; i < range->parts[part].bytes.len; i++, at++) {
            cr_assert_eq(range->parts[part].bytes.ptr[i], data_byte_at(at));
        }
    }
    cr_assert_eq(at, first_byte + bytes);
}

void
data_must_read(const DataRead *read, Range *range)
{
    Error err = {0};

    range_init(range, read->from);
    cr_assert(data_file_read(data_files, read, range, &err), "%s", err.text);
}

ErrorCode
data_read_error(const DataRead *read, char *out_text)
{
    Range range;
    Error err = {0};

    range_init(&range, read->from);
    if (data_file_read(data_files, read, &range, &err)) {
        range_done(&range);
        return ERR_NONE;
    }
    cr_assert_eq(range.count, 0);
    cr_assert_eq(range.to, read->from);
    memcpy(out_text, err.text, sizeof(err.text));
    return err.code;
}
