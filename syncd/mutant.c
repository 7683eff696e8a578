/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/mutant.h"

#include "common/fault.h"

#ifdef DS_FAULTS

static const char *
statement_with(const char *sql, const char *rule, const char *instead, Buf *scratch)
{
    Error err;
    const char *at = strstr(sql, rule);

    DS_ASSERT(at != NULL);
    buf_reset(scratch);
    if (!buf_append(scratch, str_n(sql, (size_t)(at - sql)), &err) ||
        !buf_append(scratch, str_c(instead), &err) ||
        !buf_append(scratch, str_c(at + strlen(rule)), &err)) {
        abort();
    }
    return buf_cstr(scratch);
}

static const char *
statement_without(const char *sql, const char *rule, Buf *scratch)
{
    return statement_with(sql, rule, "", scratch);
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

const char *
mutant_state_statement(const char *sql, Buf *scratch)
{
    if (MUTANT("state_older_overwrites")) {
        return statement_without(sql, "WHERE t.seq < excluded.seq", scratch);
    }
    if (MUTANT("state_append_again")) {
        return statement_with(sql, "AND t.key = r.key AND t.seq < r.seq\n    RETURNING",
                              "AND t.key = r.key\n    RETURNING", scratch);
    }
    return sql;
}

const char *
mutant_state_put(const char *sql, Buf *scratch)
{
    return MUTANT("state_older_overwrites")
               ? statement_without(sql, "WHERE t.seq < excluded.seq", scratch)
               : sql;
}

const char *
mutant_state_sieve(const char *sql, Buf *scratch)
{
    if (MUTANT("state_sieve_overwrites")) {
        return statement_with(sql, "= r.key AND t.seq < r.seq;\n            ELSIF",
                              "= r.key;\n            ELSIF", scratch);
    }
    return sql;
}

#else

const char *
mutant_state_put(const char *sql, Buf *scratch)
{
    (void)scratch;
    return sql;
}

const char *
mutant_state_sieve(const char *sql, Buf *scratch)
{
    (void)scratch;
    return sql;
}

const char *
mutant_state_statement(const char *sql, Buf *scratch)
{
    (void)scratch;
    return sql;
}

const char *
mutant_statement(const char *sql, Buf *scratch)
{
    (void)scratch; /* only a mutant needs room */
    return sql;
}

#endif
