/* SPDX-License-Identifier: Apache-2.0 */
#include "server/file_record.h"

#include <criterion/criterion.h>

#include "common/mem.h"

#define BODY_BYTES_MAX 4096

/* Of a change, with all that it points to. */
typedef struct Sample {
    ShardStream stream;
    StoreOp op;
    Change change;
} Sample;

static const uint32_t ends[] = {3, 5, 9};

static Sample *
sample_new(ChangeKind kind)
{
    Sample *sample = mem_zalloc(sizeof(*sample));

    sample->stream.base.id = 7;
    sample->stream.base.era = 8;
    sample->stream.base.fork_at = 0;
    sample->stream.base.created_ms = 1000;
    sample->stream.base.ttl_s = 60;
    sample->stream.base.expires_at_ms = STREAM_NEVER;
    sample->stream.base.name = STR("a/b");
    sample->stream.base.content_type = STR("application/json");
    sample->op.append = (AppendRequest){
        .payload = {STR("10,2,345,"), ends, 3},
        .close = true,
        .has_seq = true,
        .seq = STR("seq"),
        .has_producer = true,
        .producer = {.id = STR("p"), .epoch = 5, .seq = UINT64_MAX},
    };
    sample->change = (Change){
        .kind = kind,
        .stream = &sample->stream,
        .op = &sample->op,
        .wall_ms = 1234,
        .position = 17,
        .at = {.start = 2, .tail = 20, .base = 1, .messages = 18, .bytes = 99},
    };
    return sample;
}

/* The body as the log gives it back. */
static size_t
make(const Change *change, unsigned *out_kind, char out[BODY_BYTES_MAX])
{
    Str parts[FILE_RECORD_PARTS_MAX];
    Arena arena;
    size_t len = 0;

    arena_init(&arena, BODY_BYTES_MAX);
    for (size_t i = 0, count = file_record_make(change, &arena, out_kind, parts); i < count; i++) {
        cr_assert_leq(len + parts[i].len, BODY_BYTES_MAX);
        memcpy(out + len, parts[i].ptr, parts[i].len);
        len += parts[i].len;
    }
    arena_done(&arena);
    return len;
}

static void
expect_append(const FileRecord *record, const AppendRequest *request)
{
    const AppendRequest *append = &record->append;

    cr_expect_eq(record->position, 17);
    cr_expect_eq(append->close, request->close);
    cr_expect_eq(append->has_seq, request->has_seq);
    cr_expect(!append->has_seq || str_eq(append->seq, request->seq));
    cr_expect_eq(append->has_producer, request->has_producer);
    cr_expect(!append->has_producer || str_eq(append->producer.id, request->producer.id));
    cr_expect_eq(append->producer.seq, append->has_producer ? request->producer.seq : 0);
    cr_assert_eq(append->payload.count, request->payload.count);
    cr_expect(str_eq(append->payload.bytes, request->payload.bytes));
    for (size_t i = 0; i < append->payload.count; i++) {
        cr_expect_eq(append->payload.ends[i], request->payload.ends[i]);
    }
}

Test(file_record, every_kind_comes_back_as_it_was)
{
    static const ChangeKind kinds[] = {CHANGE_CREATE,      CHANGE_APPEND, CHANGE_DELETE,
                                       CHANGE_SOFT_DELETE, CHANGE_TRIM,   CHANGE_TOUCH};

    for (size_t i = 0; i < DS_COUNT(kinds); i++) {
        Sample *sample = sample_new(kinds[i]);
        char body[BODY_BYTES_MAX];
        FileRecord record;
        unsigned kind;
        Arena arena;
        Error err;
        size_t len = make(&sample->change, &kind, body);

        arena_init(&arena, BODY_BYTES_MAX);
        cr_assert(file_record_parse(kind, str_n(body, len), &arena, &record, &err), "%s", err.text);
        cr_expect_eq(record.kind, kinds[i]);
        cr_expect_eq(record.id, 7);
        cr_expect_eq(record.wall_ms, 1234);
        if (kinds[i] == CHANGE_CREATE || kinds[i] == CHANGE_APPEND) {
            expect_append(&record, &sample->op.append);
        }
        if (kinds[i] == CHANGE_CREATE) {
            cr_expect(str_eq(record.name, STR("a/b")));
            cr_expect(str_eq(record.config.content_type, STR("application/json")));
            cr_expect_eq(record.config.ttl_s, 60);
            cr_expect_eq(record.config.expires_at_ms, STREAM_NEVER);
            cr_expect_eq(record.era, 8);
            cr_expect_eq(record.parent_id, 0);
            cr_expect_eq(record.at.start, 2);
            cr_expect_eq(record.at.messages, 15, "before its content");
        }
        if (kinds[i] == CHANGE_TRIM) {
            cr_expect_eq(record.at.base, 1);
            cr_expect_eq(record.at.bytes, 99);
        }
        arena_done(&arena);
        free(sample);
    }
}

Test(file_record, an_append_may_have_any_of_its_parts)
{
    static const LogPayload payloads[] = {{.bytes = STR_EMPTY}, {STR("10,"), ends, 1}};

    for (unsigned flags = 0; flags < 16; flags++) {
        Sample *sample = sample_new(CHANGE_APPEND);
        AppendRequest *request = &sample->op.append;
        char body[BODY_BYTES_MAX];
        FileRecord record;
        unsigned kind;
        Arena arena;
        Error err;
        size_t len;

        request->close = (flags & 1) != 0;
        request->has_seq = (flags & 2) != 0;
        request->has_producer = (flags & 4) != 0;
        request->payload = payloads[flags / 8];
        len = make(&sample->change, &kind, body);
        arena_init(&arena, BODY_BYTES_MAX);
        cr_assert(file_record_parse(kind, str_n(body, len), &arena, &record, &err), "%s", err.text);
        expect_append(&record, request);
        arena_done(&arena);
        free(sample);
    }
}

Test(file_record, no_part_of_one_is_one_and_nothing_may_follow)
{
    static const ChangeKind kinds[] = {CHANGE_CREATE, CHANGE_APPEND, CHANGE_DELETE, CHANGE_TRIM};

    for (size_t i = 0; i < DS_COUNT(kinds); i++) {
        Sample *sample = sample_new(kinds[i]);
        char body[BODY_BYTES_MAX];
        FileRecord record;
        unsigned kind;
        Arena arena;
        Error err;
        size_t len = make(&sample->change, &kind, body);

        arena_init(&arena, BODY_BYTES_MAX);
        for (size_t cut = 0; cut < len; cut++) {
            cr_expect_not(file_record_parse(kind, str_n(body, cut), &arena, &record, &err),
                          "kind %zu cut at byte %zu", i, cut);
            cr_expect_eq(err.code, ERR_CORRUPT);
        }
        cr_expect_not(file_record_parse(kind, str_n(body, len + 1), &arena, &record, &err));
        cr_expect_not(file_record_parse(99, str_n(body, len), &arena, &record, &err));
        arena_done(&arena);
        free(sample);
    }
}

Test(file_record, ends_that_do_not_rise_are_refused)
{
    static const uint32_t wrong[][3] = {{3, 3, 9}, {0, 5, 9}, {3, 5, 8}, {5, 3, 9}, {3, 5, 10}};

    for (size_t i = 0; i < DS_COUNT(wrong); i++) {
        Sample *sample = sample_new(CHANGE_APPEND);
        char body[BODY_BYTES_MAX];
        FileRecord record;
        unsigned kind;
        Arena arena;
        Error err;
        size_t len;

        sample->op.append.payload.ends = wrong[i];
        len = make(&sample->change, &kind, body);
        arena_init(&arena, BODY_BYTES_MAX);
        cr_expect_not(file_record_parse(kind, str_n(body, len), &arena, &record, &err), "%zu", i);
        arena_done(&arena);
        free(sample);
    }
}
