/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/poison.h"

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

static void
window_clear(PoisonWindow *window, int64_t number)
{
    uint64_t at = (uint64_t)number % POISON_WINDOW_MESSAGES;

    window->bits[at / 64] &= ~(UINT64_C(1) << (at % 64));
}

bool
poison_window_add(PoisonWindow *window, int64_t number)
{
    uint64_t at = (uint64_t)number % POISON_WINDOW_MESSAGES;
    int count = 0;

    DS_ASSERT(number >= window->newest);
    if (number - window->newest >= POISON_WINDOW_MESSAGES) {
        *window = (PoisonWindow){.newest = number};
    }
    while (window->newest < number) {
        window_clear(window, ++window->newest);
    }
    window->bits[at / 64] |= UINT64_C(1) << (at % 64);
    for (size_t i = 0; i < DS_COUNT(window->bits); i++) {
        count += __builtin_popcountll(window->bits[i]);
    }
    if (count > POISON_LETTERS_MAX) {
        window_clear(window, number);
        return false;
    }
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
