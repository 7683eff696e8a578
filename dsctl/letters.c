/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/letters.h"

#include "common/parse.h"
#include "sql/queries.h"

#define NUMBER_BYTES 24

bool
letters_next(Call *call, const LettersWanted *wanted, int64_t room, CallRows *page, Error *err)
{
    char limit[NUMBER_BYTES];
    int last = page->rows - 1;
    CallRows next = {0};

    (void)snprintf(limit, sizeof(limit), "%lld", (long long)DS_MIN(room, (int64_t)LETTERS_PAGE));
    PgParam params[] = {
        {.value = wanted->stream},
        {.value = wanted->route},
        {.value = wanted->generation},
        {.value = wanted->seq},
        {.value = wanted->before},
        {.value = last < 0 ? "0" : call_rows_get(page, last, LETTER_STREAM_ID)},
        {.value = last < 0 ? "0" : call_rows_get(page, last, LETTER_GENERATION)},
        {.value = last < 0 ? "-1" : call_rows_get(page, last, LETTER_SEQ)},
        {.value = limit},
        {.value = wanted->source},
    };
    bool ok = call_pg(call, sql_dlq_pick, params, DS_COUNT(params), &next, err);

    call_rows_done(page);
    *page = next;
    return ok;
}

bool
letters_check_seq(const char *seq, Error *err)
{
    int64_t number = 0;

    return parse_i64(str_c(seq), &number) ||
           error_set(err, ERR_CONFIG, "SEQ must be a whole number, not \"%s\"", seq);
}
