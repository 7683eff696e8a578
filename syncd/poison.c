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

bool
poison_tally_letter(PoisonTally *tally, int64_t letters_max)
{
    if (tally->weight >= letters_max) {
        return false;
    }
    tally->weight++;
    return true;
}

void
poison_tally_rows(PoisonTally *tally, int64_t rows)
{
    tally->weight -= DS_MIN(rows * POISON_ROW_REDEEMS, tally->weight);
}

void
poison_tally_staged(PoisonTally *tally, int64_t messages)
{
    int64_t before = tally->weight;

    poison_tally_rows(tally, messages);
    tally->lent += before - tally->weight;
}

int64_t
poison_tally_unstage(PoisonTally *tally)
{
    int64_t lent = tally->lent;

    tally->weight += lent;
    tally->lent = 0;
    return lent;
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
