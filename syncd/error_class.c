/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/error_class.h"

static const ErrorClassInfo classes[ERROR_CLASS_COUNT] = {
    [ERROR_CLASS_NONE] = {.name = "none", .meaning = "", .happens = ""},
    [ERROR_CLASS_POSTGRES_DOWN] =
        {
            .name = "postgres_down",
            .action = ERROR_ACTION_RECONNECT,
            .event = EVENT_POSTGRES_DOWN,
            .next = "connects again, and reads the positions before it writes; nothing is lost",
            .meaning = "No connection, or it was lost; what was under way may be committed or not.",
            .happens = "Connects again without end, reads the positions, and goes on behind what "
                       "is committed.",
        },
    [ERROR_CLASS_POSTGRES_RETRY] =
        {
            .name = "postgres_retry",
            .action = ERROR_ACTION_RETRY,
            .event = EVENT_POSTGRES_RETRY,
            .next = "tries again; nothing is lost",
            .meaning = "It passes: a deadlock, too many connections, memory, a pooler that changed "
                       "sessions.",
            .happens = "The transaction is made again, without end.",
        },
    [ERROR_CLASS_POSTGRES_STALLED] =
        {
            .name = "postgres_stalled",
            .action = ERROR_ACTION_RETRY_ALONE,
            .event = EVENT_POSTGRES_RETRY,
            .next = "tries again; nothing is lost",
            .meaning =
                "A statement took longer than SYNCD_STATEMENT_TIMEOUT, waited too long for a "
                "lock, or was cancelled.",
            .happens = "The streams of the transaction are tried alone, then in smaller "
                       "transactions. One that takes too long with a single message waits, in "
                       "state `backoff`, and holds up no other; it is tried again without end.",
        },
    [ERROR_CLASS_POSTGRES_READ_ONLY] =
        {
            .name = "postgres_read_only",
            .action = ERROR_ACTION_RECONNECT,
            .event = EVENT_POSTGRES_READ_ONLY,
            .next = "connects again until it finds a server that takes writes; nothing is lost",
            .meaning = "A standby, or default_transaction_read_only.",
            .happens = "Connects again without end, so that a name may move to the new primary.",
        },
    [ERROR_CLASS_POSTGRES_FULL] =
        {
            .name = "postgres_full",
            .action = ERROR_ACTION_RETRY,
            .event = EVENT_POSTGRES_FULL,
            .next = "tries again until there is room; nothing is lost",
            .meaning = "No room on Postgres's disk.",
            .happens = "The transaction is made again, without end.",
        },
    [ERROR_CLASS_POSTGRES_ROW] =
        {
            .name = "postgres_row",
            .action = ERROR_ACTION_DEAD_LETTER,
            .event = EVENT_POSTGRES_RETRY,
            .next = "tries again",
            .meaning = "One row is at fault: its value, a constraint, a trigger's RAISE, a limit. "
                       "Any SQLSTATE that is not Postgres's own is a trigger's, too.",
            .happens = "The row is found and goes to `ds_sync.dead_letter`, and the others are "
                       "loaded; or the stream is `failed`, where on_error says stop or no row was "
                       "being written.",
        },
    [ERROR_CLASS_POSTGRES_SCHEMA] =
        {
            .name = "postgres_schema",
            .action = ERROR_ACTION_FAIL,
            .event = EVENT_POSTGRES_SCHEMA,
            .next = "tries again until the schema is there: run dsctl db migrate, and grant "
                    "ds_sync_writer to this role",
            .meaning = "A table, a column or a right is missing, or something is not supported.",
            .happens = "The route is held (`route.failed`) and tried again every 10 s. If it is a "
                       "table of ds_sync itself, syncd tries again without end.",
        },
    [ERROR_CLASS_POSTGRES_REFUSED] =
        {
            .name = "postgres_refused",
            .action = ERROR_ACTION_FAIL,
            .event = EVENT_POSTGRES_REFUSED,
            .next = "tries again until somebody has mended it",
            .meaning = "The login or the database is refused, or its configuration is not good.",
            .happens = "At the login syncd tries again without end; for rows, the stream is "
                       "`failed`.",
        },
    [ERROR_CLASS_POSTGRES_DAMAGED] =
        {
            .name = "postgres_damaged",
            .action = ERROR_ACTION_FAIL,
            .event = EVENT_POSTGRES_DAMAGED,
            .next = "tries again until somebody has mended it",
            .meaning = "Postgres found a table or an index damaged.",
            .happens = "The stream is `failed` at once: nothing more is written into it.",
        },
    [ERROR_CLASS_POSTGRES_UNKNOWN] =
        {
            .name = "postgres_unknown",
            .action = ERROR_ACTION_RETRY_SOME,
            .event = EVENT_POSTGRES_RETRY,
            .next = "tries again; nothing is lost",
            .meaning = "Any other SQLSTATE of Postgres: an internal error, a foreign table.",
            .happens = "Each stream is tried alone; after ten tries in a row it is `failed`.",
        },
    [ERROR_CLASS_SOURCE_RETRY] =
        {
            .name = "source_retry",
            .action = ERROR_ACTION_RETRY,
            .event = EVENT_SOURCE_RETRY,
            .meaning = "It passes: no connection, silence for SYNCD_IDLE_TIMEOUT, an overload.",
            .happens = "Reads again from the same offset, without end, and not before "
                       "`Retry-After`.",
        },
    [ERROR_CLASS_SOURCE_REFUSED] =
        {
            .name = "source_refused",
            .action = ERROR_ACTION_RETRY,
            .event = EVENT_SOURCE_REFUSED,
            .meaning = "Our credentials, or the server's certificate, are not accepted.",
            .happens = "Reads the token again and tries again, every SYNCD_BACKOFF_MAX, without "
                       "end; soon where it is another one.",
        },
    [ERROR_CLASS_SOURCE_MISSING] =
        {
            .name = "source_missing",
            .action = ERROR_ACTION_RECREATED,
            .meaning = "The stream does not exist.",
            .happens = "`waiting` if nothing of it was ever loaded; else as on_recreate says: "
                       "`stopped`, or `waiting` for the next generation.",
        },
    [ERROR_CLASS_SOURCE_GONE] =
        {
            .name = "source_gone",
            .action = ERROR_ACTION_RECREATED,
            .meaning = "The server no longer has what follows the offset.",
            .happens = "As on_recreate says: `stopped`, or read from its start as the next "
                       "generation.",
        },
    [ERROR_CLASS_SOURCE_PROTOCOL] =
        {
            .name = "source_protocol",
            .action = ERROR_ACTION_RETRY_SOME,
            .event = EVENT_SOURCE_PROTOCOL,
            .meaning = "An answer that does not follow the protocol.",
            .happens = "Reads again from the last good offset; after ten in a row the stream is "
                       "`failed`.",
        },
    [ERROR_CLASS_SOURCE_FATAL] =
        {
            .name = "source_fatal",
            .action = ERROR_ACTION_FAIL,
            .meaning = "Any other status, redirects among them.",
            .happens = "The stream is `failed`.",
        },
};

/* SQLSTATEs that their kind alone does not tell apart. */
static const struct {
    const char *sqlstate;
    ErrorClass class;
} special[] = {
    {"25006", ERROR_CLASS_POSTGRES_READ_ONLY}, {"53100", ERROR_CLASS_POSTGRES_FULL},
    {"55P03", ERROR_CLASS_POSTGRES_STALLED},   {"57014", ERROR_CLASS_POSTGRES_STALLED},
    {"XX001", ERROR_CLASS_POSTGRES_DAMAGED},   {"XX002", ERROR_CLASS_POSTGRES_DAMAGED},
};

static const ErrorClass class_of_kind[] = {
    [PG_ERROR_NONE] = ERROR_CLASS_POSTGRES_RETRY, /* a failure with a SQLSTATE of success */
    [PG_ERROR_CONNECTION] = ERROR_CLASS_POSTGRES_DOWN,
    [PG_ERROR_TRANSIENT] = ERROR_CLASS_POSTGRES_RETRY,
    [PG_ERROR_ROW] = ERROR_CLASS_POSTGRES_ROW,
    [PG_ERROR_SCHEMA] = ERROR_CLASS_POSTGRES_SCHEMA,
    [PG_ERROR_PERMANENT] = ERROR_CLASS_POSTGRES_REFUSED,
    [PG_ERROR_UNKNOWN] = ERROR_CLASS_POSTGRES_UNKNOWN,
};

/* The first row that holds the status decides; the last one holds all. */
static const struct {
    int first, last;
    ErrorClass class;
} statuses[] = {
    {200, 200, ERROR_CLASS_NONE},           {204, 204, ERROR_CLASS_NONE},
    {401, 401, ERROR_CLASS_SOURCE_REFUSED}, {403, 403, ERROR_CLASS_SOURCE_REFUSED},
    {404, 404, ERROR_CLASS_SOURCE_MISSING}, {408, 408, ERROR_CLASS_SOURCE_RETRY},
    {410, 410, ERROR_CLASS_SOURCE_GONE},    {425, 425, ERROR_CLASS_SOURCE_RETRY},
    {429, 429, ERROR_CLASS_SOURCE_RETRY},   {500, 599, ERROR_CLASS_SOURCE_RETRY},
};

const ErrorClassInfo *
error_class_info(ErrorClass class)
{
    DS_ASSERT(class < ERROR_CLASS_COUNT);
    return &classes[class];
}

ErrorClass
error_class_of_postgres(PgErrorClass kind, const char *sqlstate)
{
    for (size_t i = 0; i < DS_COUNT(special); i++) {
        if (kind != PG_ERROR_CONNECTION && strcmp(special[i].sqlstate, sqlstate) == 0) {
            return special[i].class;
        }
    }
    DS_ASSERT((size_t)kind < DS_COUNT(class_of_kind));
    return class_of_kind[kind];
}

ErrorClass
error_class_of_status(int status)
{
    for (size_t i = 0; i < DS_COUNT(statuses); i++) {
        if (status >= statuses[i].first && status <= statuses[i].last) {
            return statuses[i].class;
        }
    }
    return ERROR_CLASS_SOURCE_FATAL;
}

/* ---- for people ---- */

static bool
append_code(Buf *out, bool *first, const char *code, Error *err)
{
    bool ok = buf_printf(out, err, "%s`%s`", *first ? "" : " ", code);

    *first = false;
    return ok;
}

static bool
is_special(const char *prefix)
{
    for (size_t i = 0; i < DS_COUNT(special); i++) {
        if (strcmp(special[i].sqlstate, prefix) == 0) {
            return true;
        }
    }
    return false;
}

/* "08" is every SQLSTATE that begins so, unless a longer one stands elsewhere. */
static bool
append_sqlstates(Buf *out, ErrorClass class, bool *first, Error *err)
{
    const char *prefix;
    PgErrorClass kind;
    char full[6];

    for (size_t i = 0; i < DS_COUNT(special); i++) {
        if (special[i].class == class && !append_code(out, first, special[i].sqlstate, err)) {
            return false;
        }
    }
    for (size_t i = 0; pg_sqlstate_rule(i, &prefix, &kind); i++) {
        bool elsewhere = is_special(prefix) || error_class_of_postgres(kind, prefix) != class;

        (void)snprintf(full, sizeof(full), "%s%.*s", prefix, (int)(5 - strlen(prefix)), "***");
        if (kind != PG_ERROR_NONE && !elsewhere && !append_code(out, first, full, err)) {
            return false;
        }
    }
    return true;
}

static bool
append_statuses(Buf *out, ErrorClass class, bool *first, Error *err)
{
    char text[16];

    for (size_t i = 0; i < DS_COUNT(statuses); i++) {
        bool single = statuses[i].first == statuses[i].last;

        (void)snprintf(text, sizeof(text), single ? "%d" : "%dxx",
                       single ? statuses[i].first : statuses[i].first / 100);
        if (statuses[i].class == class && !append_code(out, first, text, err)) {
            return false;
        }
    }
    return true;
}

bool
error_class_markdown(Buf *out, Error *err)
{
    if (!buf_append(out,
                    STR("| class | SQLSTATE or status | what it is | what syncd does | event |\n"
                        "|---|---|---|---|---|\n"),
                    err)) {
        return false;
    }
    for (size_t i = ERROR_CLASS_NONE + 1; i < ERROR_CLASS_COUNT; i++) {
        const ErrorClassInfo *info = &classes[i];
        bool first = true;

        if (!buf_printf(out, err, "| `%s` | ", info->name) ||
            !append_sqlstates(out, (ErrorClass)i, &first, err) ||
            !append_statuses(out, (ErrorClass)i, &first, err) ||
            !buf_printf(out, err, "%s| %s | %s | ", first ? "" : " ", info->meaning,
                        info->happens)) {
            return false;
        }
        if (!(info->event == EVENT_NONE
                  ? buf_append(out, STR("|\n"), err)
                  : buf_printf(out, err, "`%s` |\n", event_name(info->event)))) {
            return false;
        }
    }
    return true;
}
