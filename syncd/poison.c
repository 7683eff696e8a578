/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/poison.h"

#include "common/mem.h"
#include "common/parse.h"

static const struct {
    const char *name;
    const char *sqlstate;
    const char *message;
} poison_table[POISON_COUNT] = {
    [POISON_NONE] = {"none", NULL, ""},
    [POISON_NUL] = {"nul", "22P05",
                    "it holds \\u0000 or a zero byte, which jsonb and text cannot store"},
    [POISON_LONE_SURROGATE] = {"lone_surrogate", "22P02",
                               "a string holds half of a surrogate pair, which jsonb cannot store"},
    [POISON_NUMBER] = {"number", "22003", "a number is too long or too large for jsonb"},
    [POISON_UTF8] = {"utf8", "22021", "it is not valid UTF-8"},
    [POISON_DEPTH] = {"depth", "54001", "the message is nested too deeply"},
    [POISON_SIZE] = {"size", NULL, "the message is larger than SYNCD_MESSAGE_BYTES_MAX"},
    [POISON_ROW_FAULT] = {"row_fault", NULL, "Postgres refused the row"},
};

const char *
poison_name(PoisonReason reason)
{
    DS_ASSERT(reason < POISON_COUNT);
    return poison_table[reason].name;
}

const char *
poison_sqlstate(PoisonReason reason)
{
    DS_ASSERT(reason < POISON_COUNT);
    return poison_table[reason].sqlstate;
}

const char *
poison_message(PoisonReason reason)
{
    DS_ASSERT(reason < POISON_COUNT);
    return poison_table[reason].message;
}

PoisonReason
poison_judge(unsigned json_traits)
{
    if (json_traits & JSON_HAS_NUL) {
        return POISON_NUL;
    }
    if (json_traits & JSON_HAS_LONE_SURROGATE) {
        return POISON_LONE_SURROGATE;
    }
    if (json_traits & JSON_HAS_HUGE_NUMBER) {
        return POISON_NUMBER;
    }
    return POISON_NONE;
}

void
poison_window_done(PoisonWindow *window)
{
    free(window->seqs);
    *window = (PoisonWindow){0};
}

bool
poison_window_add(PoisonWindow *window, int64_t seq)
{
    size_t near = 0;
    size_t oldest = 0;

    for (size_t i = 0; i < window->count; i++) {
        int64_t distance = seq - window->seqs[i];

        if (distance == 0) {
            return true;
        }
        if (distance < POISON_WINDOW_MESSAGES && distance > -POISON_WINDOW_MESSAGES) {
            near++;
        }
        if (window->seqs[i] < window->seqs[oldest]) {
            oldest = i;
        }
    }
    if (near == POISON_LETTERS_MAX) {
        return false;
    }
    if (window->seqs == NULL) {
        window->seqs = mem_array(POISON_LETTERS_MAX, sizeof(*window->seqs));
    }
    window->seqs[window->count < POISON_LETTERS_MAX ? window->count++ : oldest] = seq;
    return true;
}

/* "COPY table, line N" with ',' or ':' or the end behind the number. */
static bool
copy_line_parse(Str line, uint64_t *out_line)
{
    static const char mark[] = ", line ";
    const char *found = memmem(line.ptr, line.len, mark, sizeof(mark) - 1);

    if (!str_starts(line, STR("COPY ")) || found == NULL) {
        return false;
    }
    Str number = str_skip(line, (size_t)(found - line.ptr) + sizeof(mark) - 1);
    size_t digits = 0;
    while (digits < number.len && number.ptr[digits] >= '0' && number.ptr[digits] <= '9') {
        digits++;
    }
    return parse_u64(str_slice(number, 0, digits), INT64_MAX, out_line) && *out_line > 0;
}

bool
poison_copy_line(Str context, uint64_t *out_line)
{
    Str rest = context;
    bool more = context.len > 0;

    while (more) {
        Str line;
        uint64_t number;

        more = str_cut(rest, '\n', &line, &rest);
        if (copy_line_parse(line, &number)) {
            *out_line = number;
            return true;
        }
    }
    return false;
}
