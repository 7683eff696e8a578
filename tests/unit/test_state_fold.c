/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/state_fold.h"

#include <criterion/criterion.h>

#define TEXT_BYTES 4096

typedef struct Fixture {
    StateFold fold;
    int64_t seq;
    size_t back;
} Fixture;

static bool
add(Fixture *it, const char *message)
{
    StateChange change;
    Error err;

    cr_assert(state_change_parse(str_c(message), &change, &err), "%s: %s", message, err.text);
    return state_fold_add(&it->fold, &change, str_c(message), it->seq++, &it->back);
}

/* "set k 1", "remove k", "append k [1]", "reset", "start", "end"; separated by ';'. */
static bool
run(Fixture *it, const char *program)
{
    static char texts[64][256]; /* the fold keeps views of them */
    static size_t used;
    Str rest = str_c(program);
    bool more = true;

    while (more) {
        Str step;
        Str op;
        Str key;
        Str value;
        char *text = texts[used++ % DS_COUNT(texts)];

        more = str_cut(rest, ';', &step, &rest);
        (void)str_cut(step, ' ', &op, &value);
        (void)str_cut(value, ' ', &key, &value);
        if (str_eq(op, STR("reset"))) {
            (void)snprintf(text, 256, "{\"headers\":{\"control\":\"reset\"}}");
        } else if (str_eq(op, STR("start")) || str_eq(op, STR("end"))) {
            (void)snprintf(text, 256, "{\"headers\":{\"control\":\"snapshot-%.*s\"}}", STR_ARG(op));
        } else {
            (void)snprintf(
                text, 256,
                "{\"type\":\"t\",\"key\":\"%.*s\",\"operation\":\"%.*s\",\"value\":%.*s}",
                STR_ARG(key), STR_ARG(op), STR_ARG(value.len > 0 ? value : STR("0")));
        }
        if (!add(it, text)) {
            return false;
        }
    }
    return true;
}

static void
begin(Fixture *it, int64_t snapshot_seq)
{
    *it = (Fixture){.seq = 10};
    state_fold_init(&it->fold);
    state_fold_stream(&it->fold, snapshot_seq, snapshot_seq, false, it->seq);
}

/* What is to be done, as one line: sets in order of execution, then rows as "key op value @seq". */
static const char *
outcome(Fixture *it)
{
    static char text[TEXT_BYTES];
    const StateStream *stream = &it->fold.streams[0];
    static const char *const ops[] = {"=", "-", "+\"", "+["};
    Buf out;
    Error err;

    state_fold_end(&it->fold);
    buf_init(&out, TEXT_BYTES);
    bool ok = true;
    for (int staged = 1; staged >= 0 && ok; staged--) {
        size_t at = 0;
        const StateEntry *entry;

        if (staged == 1 && stream->drop_staged) {
            ok = buf_append(&out, STR("drop-staged "), &err);
        }
        if (staged == 0 && stream->swap) {
            ok = buf_append(&out, STR("swap "), &err);
        }
        if (staged == 0 && stream->drop_visible) {
            ok = buf_append(&out, STR("drop-visible "), &err);
        }
        while (ok && (entry = state_fold_next(&it->fold, staged == 1, &at)) != NULL) {
            ok = buf_printf(&out, &err, "%s%.*s%s", staged == 1 ? "staged:" : "",
                            STR_ARG(entry->key), ops[entry->op]) &&
                 (entry->op == STATE_DELETE || state_fold_value(&it->fold, entry, &out, &err)) &&
                 buf_printf(&out, &err, "@%d ", (int)entry->seq);
        }
    }
    cr_assert(ok, "%s", err.text);
    (void)snprintf(text, sizeof(text), "%s", buf_cstr(&out));
    buf_done(&out);
    state_fold_done(&it->fold);
    return text;
}

static void
expect(int64_t snapshot_seq, const char *program, const char *wanted)
{
    Fixture it;

    begin(&it, snapshot_seq);
    cr_assert(run(&it, program), "%s: was cut", program);
    const char *found = outcome(&it);
    cr_expect_str_eq(found, wanted, "%s\n  gives  %s\n  not    %s", program, found, wanted);
}

static void
expect_cut(int64_t snapshot_seq, const char *program, int64_t seq, size_t back)
{
    Fixture it;

    begin(&it, snapshot_seq);
    cr_assert(!run(&it, program), "%s: was not cut", program);
    cr_expect_eq(it.seq - 1, seq, "%s: cut at %lld", program, (long long)it.seq - 1);
    cr_expect_eq(it.back, back);
    state_fold_done(&it.fold);
}

#define CLOSED STATE_SEQ_NONE
#define OPEN   5 /* a snapshot began in an earlier transaction */

Test(state_fold, the_last_change_of_a_key_is_the_one_that_is_written)
{
    expect(CLOSED, "set a 1;set b 2;set a 3", "a=3@12 b=2@11 ");
    expect(CLOSED, "set a 1;remove a", "a-@11 ");
    expect(CLOSED, "remove a;set a 1", "a=1@11 ");
    expect(CLOSED, "set a {\"x\":[1, 2]}", "a={\"x\":[1, 2]}@10 ");
}

Test(state_fold, an_append_goes_to_the_value_that_is_known)
{
    expect(CLOSED, "set a \"x\";append a \"y\\n\";append a \"\";append a \"z\"",
           "a=\"xy\\nz\"@13 ");
    expect(CLOSED, "set a [1];append a [ 2 , 3 ];append a [ ];append a [[4]]",
           "a=[1,2 , 3,[4]]@13 ");
    expect(CLOSED, "set a [];append a [];append a [1]", "a=[1]@12 ");
    expect(CLOSED, "set a [];append a []", "a=[]@11 ");
    expect(CLOSED, "set a 1;remove a;append a [1];append a [2]", "a=[1,2]@13 ");
}

Test(state_fold, an_append_to_what_postgres_has_stays_an_append)
{
    expect(CLOSED, "append a \"x\";append a \"y\"", "a+\"\"xy\"@11 ");
    expect(CLOSED, "append a [1];append a []", "a+[[1]@11 ");
    expect(CLOSED, "append a [1];set a 5", "a=5@11 ");
    expect(CLOSED, "append a [1];remove a", "a-@11 ");
    expect(OPEN, "append a [1]", "staged:a+[[1]@10 ");
}

Test(state_fold, an_append_to_another_kind_of_value_is_left_to_postgres)
{
    expect_cut(CLOSED, "set a 1;append a [1]", 11, 0);
    expect_cut(CLOSED, "set a \"x\";set b 1;append a [1]", 12, 0);
    expect_cut(CLOSED, "append a \"x\";append a [1]", 11, 0);
    expect_cut(CLOSED, "set a {};append a [1]", 11, 0);
}

Test(state_fold, types_and_keys_are_compared_decoded)
{
    Fixture it;

    begin(&it, CLOSED);
    cr_assert(
        add(&it, "{\"type\":\"t\\u0031\",\"key\":\"\\u00e9\",\"operation\":\"set\",\"value\":1}"));
    cr_assert(add(&it, "{\"type\":\"t1\",\"key\":\"\xc3\xa9\",\"operation\":\"set\",\"value\":2}"));
    cr_assert(add(&it, "{\"type\":\"t2\",\"key\":\"\xc3\xa9\",\"operation\":\"set\",\"value\":3}"));
    cr_expect_str_eq(outcome(&it), "\xc3\xa9=2@11 \xc3\xa9=3@12 ");
}

Test(state_fold, a_reset_empties_the_visible_set)
{
    expect(CLOSED, "set a 1;reset;set b 2", "drop-visible b=2@12 ");
    expect(CLOSED, "set a 1;reset", "drop-visible ");
    expect(CLOSED, "reset;append a [1];append a [2]", "drop-visible a=[1,2]@12 ");
    expect(OPEN, "set a 1;reset;set b 2", "drop-staged drop-visible b=2@12 ");
}

Test(state_fold, a_snapshot_within_a_transaction_is_settled_in_memory)
{
    expect(CLOSED, "set a 1;start;set b 2;end;set c 3", "drop-visible b=2@12 c=3@14 ");
    expect(CLOSED, "start;end", "drop-visible ");
    expect(CLOSED, "start;set a 1;start;set b 2;end", "drop-visible b=2@13 ");
    expect(CLOSED, "start;set a [1];end;append a [2];remove b", "drop-visible a=[1,2]@13 b-@14 ");
    expect(CLOSED, "start;set a 1;end;start;set b 2;end", "drop-visible b=2@14 ");
}

Test(state_fold, a_snapshot_that_stays_open_is_staged)
{
    expect(CLOSED, "set a 1;start;set b 2", "staged:b=2@12 a=1@10 ");
    expect(OPEN, "set b 2;remove c", "staged:b=2@10 staged:c-@11 ");
    expect(OPEN, "start;set b 2", "drop-staged staged:b=2@11 ");
    expect(CLOSED, "start;append a [1]", "staged:a=[1]@11 ");
}

Test(state_fold, the_end_of_a_staged_snapshot_swaps_the_sets)
{
    expect(OPEN, "set b 2;end", "staged:b=2@10 swap ");
    expect(OPEN, "end;set c 3;append d [1]", "staged:c=3@11 staged:d+[[1]@12 swap ");
    expect(OPEN, "end;reset;set c 3", "drop-staged drop-visible c=3@12 ");
    expect(CLOSED, "end;set a 1", "a=1@11 ");
}

Test(state_fold, one_staged_set_is_swapped_before_the_next_begins)
{
    expect_cut(OPEN, "end;set a 1;start", 12, 0);
    expect_cut(OPEN, "end;reset;start", 12, 1);
    expect(OPEN, "end;reset;set a 1;start;set b 2",
           "drop-staged staged:b=2@14 drop-visible a=1@12 ");
}

Test(state_fold, a_reset_before_a_snapshot_leaves_the_old_set_visible)
{
    expect(CLOSED, "set a 1;reset;start;set b 2", "staged:b=2@13 a=1@10 ");
    expect(CLOSED, "set a 1;reset;start;set b 2;end", "drop-visible b=2@13 ");
    expect(OPEN, "reset;start;set b 2", "drop-staged staged:b=2@12 ");
    expect(CLOSED, "reset;reset;start;set b 2", "staged:b=2@13 drop-visible ");
}

Test(state_fold, a_new_generation_begins_with_an_empty_set)
{
    Fixture it = {.seq = 10};

    state_fold_init(&it.fold);
    state_fold_stream(&it.fold, OPEN, OPEN, true, it.seq);
    cr_expect_eq(it.fold.streams[0].opened_seq, STATE_SEQ_NONE);
    cr_assert(run(&it, "set a 1;end"));
    cr_expect_eq(it.fold.streams[0].cleared_seq, 9);
    cr_expect_eq(it.fold.streams[0].snapshot_seq, STATE_SEQ_NONE);
    cr_expect_str_eq(outcome(&it), "drop-staged drop-visible a=1@10 ");
}

Test(state_fold, it_says_what_letters_of_old_can_no_longer_change)
{
    Fixture it;

    begin(&it, CLOSED);
    cr_assert(run(&it, "set a 1;reset;set a 2;start;set a 3;end;start"));
    cr_expect_eq(it.fold.streams[0].cleared_seq, 13, "the start of the snapshot that is visible");
    cr_expect_eq(it.fold.streams[0].snapshot_seq, 16);
    (void)outcome(&it);
}

static void
expect_opened(int64_t snapshot_seq, const char *program, int64_t opened, int64_t snapshot)
{
    Fixture it;

    begin(&it, snapshot_seq);
    cr_assert(run(&it, program));
    state_fold_end(&it.fold);
    cr_expect_eq(it.fold.streams[0].opened_seq, opened, "%s: opened at %lld", program,
                 (long long)it.fold.streams[0].opened_seq);
    cr_expect_eq(it.fold.streams[0].snapshot_seq, snapshot, "%s", program);
    state_fold_done(&it.fold);
}

Test(state_fold, it_says_which_messages_were_of_snapshots_that_never_ended)
{
    expect_opened(CLOSED, "set a 1;start;set a 2", 11, 11);
    expect_opened(CLOSED, "start;set a 2;start;set a 3;reset;start", 10, 15);
    expect_opened(OPEN, "set a 2;start;set a 3", OPEN, 11);
    expect_opened(OPEN, "set a 2;reset;set a 1;start", 13, 13);
    expect_opened(OPEN, "start;set a 2;end;set b 1;start", 14, 14);
    expect_opened(OPEN, "start;end", STATE_SEQ_NONE, STATE_SEQ_NONE);
    expect_opened(OPEN, "reset", STATE_SEQ_NONE, STATE_SEQ_NONE);
}

Test(state_fold, the_same_keys_of_many_streams_and_types_lie_in_different_buckets)
{
    static char texts[4][80];
    Fixture it;
    size_t longest = 0;

    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        (void)snprintf(texts[i], sizeof(texts[i]),
                       "{\"type\":\"%s\",\"key\":\"%s\",\"operation\":\"set\",\"value\":1}",
                       i < 2 ? "" : "k", i % 2 == 0 ? "" : "k");
    }
    it = (Fixture){.seq = 10};
    state_fold_init(&it.fold);
    for (int stream = 0; stream < 1000; stream++) {
        state_fold_stream(&it.fold, CLOSED, CLOSED, false, it.seq);
        for (size_t i = 0; i < DS_COUNT(texts); i++) {
            cr_assert(add(&it, texts[i]) && add(&it, texts[i]));
        }
    }
    cr_expect_eq(it.fold.entry_count, 4001, "entries of different sets were taken for one");
    for (size_t bucket = 0; bucket < it.fold.bucket_count; bucket++) {
        size_t length = 0;

        for (uint32_t at = it.fold.buckets[bucket]; at != 0; at = it.fold.entries[at].next) {
            length++;
        }
        longest = DS_MAX(longest, length);
    }
    cr_expect_leq(longest, 24, "%zu of 4000 entries share a bucket", longest);
    state_fold_done(&it.fold);
}

Test(state_fold, streams_do_not_mix)
{
    Fixture it;
    size_t at = 0;

    begin(&it, CLOSED);
    cr_assert(run(&it, "set a 1"));
    state_fold_end(&it.fold);
    state_fold_stream(&it.fold, CLOSED, CLOSED, false, 50);
    cr_assert(run(&it, "reset;set a 2"));
    state_fold_end(&it.fold);
    const StateEntry *first = state_fold_next(&it.fold, false, &at);
    const StateEntry *second = state_fold_next(&it.fold, false, &at);
    cr_assert(first != NULL && second != NULL);
    cr_expect(first->stream == 0 && second->stream == 1);
    cr_expect(!it.fold.streams[0].drop_visible && it.fold.streams[1].drop_visible);
    state_fold_done(&it.fold);
}

Test(state_fold, it_holds_many_keys_and_forgets_them)
{
    static char texts[5000][80];
    Fixture it;

    begin(&it, CLOSED);
    for (int round = 0; round < 3; round++) {
        size_t at = 0;
        size_t count = 0;

        for (int i = 0; i < 5000; i++) {
            (void)snprintf(texts[i], sizeof(texts[i]),
                           "{\"type\":\"t\",\"key\":\"%d\",\"operation\":\"set\",\"value\":%d}",
                           i % 2500, i);
            cr_assert(add(&it, texts[i]));
        }
        while (state_fold_next(&it.fold, false, &at) != NULL) {
            count++;
        }
        cr_expect_eq(count, 2500);
        state_fold_reset(&it.fold);
        state_fold_stream(&it.fold, CLOSED, CLOSED, false, it.seq);
    }
    state_fold_done(&it.fold);
}
