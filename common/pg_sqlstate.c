/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_sqlstate.c -- what a SQLSTATE asks for (appendix A of the PostgreSQL manual).
 *
 * The longest matching prefix decides.  A session that the server ends (57P01 and its kin, 25P03)
 * counts as a lost connection, because a COMMIT under way may or may not have happened.
 */
#include "common/pg_internal.h"

typedef struct SqlstateRule {
    const char *prefix;
    PgErrorClass class;
} SqlstateRule;

/* Postgres's own, but for the classes whose errors a row brings about: those are what no rule
 * names, since a trigger may raise anything ("RAISE ... USING ERRCODE = 'APP01'"), and 22, 23 and
 * their like for people to see. */
static const SqlstateRule sqlstate_rules[] = {
    {"00", PG_ERROR_NONE},
    {"01", PG_ERROR_UNKNOWN},
    {"03", PG_ERROR_UNKNOWN},
    {"08", PG_ERROR_CONNECTION},
    {"0A", PG_ERROR_SCHEMA},
    {"0B", PG_ERROR_UNKNOWN},
    {"0F", PG_ERROR_UNKNOWN},
    {"0L", PG_ERROR_SCHEMA},
    {"0P", PG_ERROR_SCHEMA},
    {"0Z", PG_ERROR_UNKNOWN},
    {"10", PG_ERROR_UNKNOWN},
    {"22", PG_ERROR_ROW},
    {"23", PG_ERROR_ROW},
    {"24", PG_ERROR_UNKNOWN},
    {"25", PG_ERROR_UNKNOWN},
    {"25006", PG_ERROR_TRANSIENT},  /* read-only: a standby until it is promoted */
    {"25P03", PG_ERROR_CONNECTION}, /* idle_in_transaction_session_timeout ends the session */
    {"25P04", PG_ERROR_CONNECTION}, /* transaction_timeout, likewise */
    {"26", PG_ERROR_TRANSIENT},     /* a pooler gave the session to somebody else in between */
    {"28", PG_ERROR_PERMANENT},
    {"2B", PG_ERROR_SCHEMA},
    {"2D", PG_ERROR_SCHEMA},    /* a trigger that ends the transaction */
    {"2F", PG_ERROR_SCHEMA},    /* a function that is wrong, as in 38 and 39 */
    {"34", PG_ERROR_TRANSIENT}, /* as 26 */
    {"38", PG_ERROR_SCHEMA},
    {"39", PG_ERROR_SCHEMA},
    {"3B", PG_ERROR_UNKNOWN},
    {"3D", PG_ERROR_PERMANENT}, /* no such database */
    {"3F", PG_ERROR_SCHEMA},
    {"40", PG_ERROR_TRANSIENT},
    {"40003", PG_ERROR_CONNECTION}, /* statement completion unknown */
    {"42", PG_ERROR_SCHEMA},
    {"44", PG_ERROR_ROW},
    {"53", PG_ERROR_TRANSIENT},
    {"54", PG_ERROR_ROW}, /* too large for an index, for jsonb, too deep */
    {"55", PG_ERROR_UNKNOWN},
    {"55000", PG_ERROR_SCHEMA},    /* a view without a rule, no replica identity */
    {"55006", PG_ERROR_TRANSIENT}, /* object in use */
    {"55P03", PG_ERROR_TRANSIENT},
    {"57", PG_ERROR_UNKNOWN},
    {"57014", PG_ERROR_TRANSIENT},
    {"57P01", PG_ERROR_CONNECTION},
    {"57P02", PG_ERROR_CONNECTION},
    {"57P03", PG_ERROR_CONNECTION}, /* starting up or shutting down: nobody to talk to yet */
    {"57P04", PG_ERROR_CONNECTION}, /* database dropped; connecting again says so */
    {"57P05", PG_ERROR_CONNECTION},
    {"58", PG_ERROR_UNKNOWN},
    {"58030", PG_ERROR_TRANSIENT},
    {"72", PG_ERROR_TRANSIENT}, /* snapshot too old */
    {"F0", PG_ERROR_PERMANENT}, /* its configuration */
    {"HV", PG_ERROR_UNKNOWN},   /* a foreign table */
    {"P0", PG_ERROR_ROW},       /* RAISE, in a trigger */
    {"XX", PG_ERROR_UNKNOWN},
    {"XX001", PG_ERROR_PERMANENT}, /* its data are damaged, as in XX002 */
    {"XX002", PG_ERROR_PERMANENT},
};

static bool
is_sqlstate(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!((text.ptr[i] >= '0' && text.ptr[i] <= '9') ||
              (text.ptr[i] >= 'A' && text.ptr[i] <= 'Z'))) {
            return false;
        }
    }
    return text.len == 5;
}

PgErrorClass
pg_sqlstate_class(const char *sqlstate)
{
    Str state = str_c(sqlstate);
    PgErrorClass class = PG_ERROR_ROW;
    size_t longest = 0;

    if (!is_sqlstate(state)) {
        return PG_ERROR_UNKNOWN;
    }
    for (size_t i = 0; i < DS_COUNT(sqlstate_rules); i++) {
        Str prefix = str_c(sqlstate_rules[i].prefix);

        if (prefix.len > longest && str_starts(state, prefix)) {
            longest = prefix.len;
            class = sqlstate_rules[i].class;
        }
    }
    return class;
}

bool
pg_sqlstate_rule(size_t index, const char **out_prefix, PgErrorClass *out_class)
{
    if (index >= DS_COUNT(sqlstate_rules)) {
        return false;
    }
    *out_prefix = sqlstate_rules[index].prefix;
    *out_class = sqlstate_rules[index].class;
    return true;
}

bool
pg_no_row_fault_pattern(Buf *out, Error *err)
{
    bool first = true;
    bool ok = buf_append(out, STR("^("), err);

    for (size_t i = 0; ok && i < DS_COUNT(sqlstate_rules); i++) {
        if (sqlstate_rules[i].class != PG_ERROR_ROW) {
            ok = buf_printf(out, err, "%s%s", first ? "" : "|", sqlstate_rules[i].prefix);
            first = false;
        }
    }
    return ok && buf_append_char(out, ')', err);
}

ErrorCode
pg_error_code(PgErrorClass class, const char *sqlstate)
{
    switch (class) {
    case PG_ERROR_CONNECTION:
    case PG_ERROR_TRANSIENT:
    case PG_ERROR_UNKNOWN:
        return ERR_RETRY;
    case PG_ERROR_ROW:
        return ERR_INPUT;
    case PG_ERROR_SCHEMA:
        return ERR_CONFIG;
    case PG_ERROR_PERMANENT:
        return str_starts(str_c(sqlstate), STR("28")) ? ERR_AUTH : ERR_CONFIG;
    case PG_ERROR_NONE:
        break;
    }
    return ERR_PROTOCOL; /* an error with a SQLSTATE of success */
}
