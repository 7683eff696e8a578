/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/mutant.h"

#include "common/fault.h"

#ifdef DS_FAULTS

static const char *
statement_without(const char *sql, const char *rule, Buf *scratch)
{
    Error err;
    const char *at = strstr(sql, rule);

    DS_ASSERT(at != NULL);
    buf_reset(scratch);
    if (!buf_append(scratch, str_n(sql, (size_t)(at - sql)), &err) ||
        !buf_append(scratch, str_c(at + strlen(rule)), &err)) {
        abort();
    }
    return buf_cstr(scratch);
}

const char *
mutant_statement(const char *sql, Buf *scratch)
{
    if (MUTANT("no_epoch_check")) {
        return statement_without(sql, "AND o.epoch = w.epoch", scratch);
    }
    if (MUTANT("no_old_offset_check")) {
        return statement_without(
            sql,
            "AND o.ds_offset = w.old_offset AND o.skip = w.old_skip AND o.next_seq = w.first_seq",
            scratch);
    }
    return sql;
}

#else

const char *
mutant_statement(const char *sql, Buf *scratch)
{
    (void)scratch; /* only a mutant needs room */
    return sql;
}

#endif
