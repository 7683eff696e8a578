/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_chunk_log.c -- the log of a stream against one flat buffer.
 *
 * The first byte chooses what positions count; then each command is a byte and two for its size:
 * append, trim, or read a page.
 */
#include "server/chunk_log.h"

#define MESSAGES_MAX 512
#define BYTES_MAX    (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Model {
    ChunkLog log;
    char *bytes;
    size_t len;
    size_t ends[MESSAGES_MAX];
    size_t count;
    uint64_t start; /* trimmed up to this position */
} Model;

static size_t
byte_of(const Model *model, uint64_t position)
{
    if (!model->log.counts_messages) {
        return position;
    }
    return position == 0 ? 0 : model->ends[position - 1];
}

static uint64_t
tail_of(const Model *model)
{
    return model->log.counts_messages ? model->count : model->len;
}

static void
append(Model *model, size_t len, unsigned parts)
{
    uint32_t ends[4];
    size_t count = 0;

    if (model->len + 4 * (len + 1) > BYTES_MAX || model->count + parts > MESSAGES_MAX) {
        return;
    }
    for (size_t i = 0; i < parts * (len + 1); i++) {
        model->bytes[model->len + i] = (char)(model->len * 7 + i);
    }
    while (count < parts) {
        ends[count] = (uint32_t)((count + 1) * (len + 1));
        model->ends[model->count++] = model->len + ends[count++];
    }
    chunk_log_append(&model->log, (LogPayload){
                                      .bytes = str_n(model->bytes + model->len, ends[count - 1]),
                                      .ends = ends,
                                      .count = count,
                                  });
    model->len += ends[count - 1];
}

/* The first end of a message after the byte. */
static size_t
next_end(const Model *model, size_t byte)
{
    size_t i = 0;

    while (i < model->count && model->ends[i] <= byte) {
        i++;
    }
    return i < model->count ? model->ends[i] : model->len;
}

static void
read_page(const Model *model, uint64_t from, size_t page)
{
    size_t begin = byte_of(model, from);
    size_t at = begin;
    Range range;

    range_init(&range, from);
    chunk_log_read(&model->log, from, chunk_log_tail(&model->log), page, &range);
    for (size_t i = 0; i < range.count; i++) {
        Str part = range.parts[i].bytes;

        DS_ASSERT(part.len > 0 && memcmp(part.ptr, model->bytes + at, part.len) == 0);
        at += part.len;
    }
    DS_ASSERT(at == byte_of(model, range.to) && at - begin == range.bytes);
    /* It ends with a message, within the page or with the first one, and as late as it can. */
    DS_ASSERT(at == begin ? begin == model->len : next_end(model, at - 1) == at);
    DS_ASSERT(range.bytes <= page || at == next_end(model, begin));
    DS_ASSERT(at == model->len || next_end(model, at) - begin > page);
    DS_ASSERT(chunk_log_bytes_from(&model->log, from) == model->len - begin);
    range_done(&range);
}

/* What a fork reads of its parent: up to any position and not beyond. */
static void
read_between(const Model *model, uint64_t from, uint64_t to)
{
    size_t at = byte_of(model, from);
    Range range;

    range_init(&range, from);
    chunk_log_read(&model->log, from, to, SIZE_MAX, &range);
    for (size_t i = 0; i < range.count; i++) {
        Str part = range.parts[i].bytes;

        DS_ASSERT(part.len > 0 && memcmp(part.ptr, model->bytes + at, part.len) == 0);
        at += part.len;
    }
    DS_ASSERT(range.to == to && at == byte_of(model, to));
    range_done(&range);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Model model = {0};

    if (size < 1) {
        return 0;
    }
    model.bytes = malloc(BYTES_MAX);
    DS_ASSERT(model.bytes != NULL);
    chunk_log_init(&model.log, data[0] & 1);
    for (size_t i = 1; i + 2 < size; i += 3) {
        size_t number = data[i + 1] * 256u + data[i + 2];
        uint64_t left = tail_of(&model) - model.start;

        if (data[i] < 0x80) {
            append(&model, number, 1 + data[i] % 4);
        } else if (data[i] < 0xa0) {
            model.start += number % (left + 1);
            chunk_log_trim(&model.log, model.start);
        } else {
            uint64_t from = model.start + (number * (data[i] + 1u)) % (left + 1);

            read_page(&model, from, number);
            read_between(&model, from, from + number % (tail_of(&model) - from + 1));
        }
        DS_ASSERT(chunk_log_tail(&model.log) == tail_of(&model));
    }
    chunk_log_done(&model.log);
    free(model.bytes);
    return 0;
}
