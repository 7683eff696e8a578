/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/check_postgres.h"

#include "common/mem.h"
#include "sql/migrate.h"
#include "sql/queries.h"
#include "syncd/error_class.h"

#define CONNECT_MS_MAX 10000

struct CheckPostgres {
    Loop *loop;
    const SyncdConfig *config;
    CheckPostgresFn fn;
    void *arg;
    Pg *pg;
    Migrate *migrate;
    bool ok;
    int schema_version;
    char server[128]; /* version, database and role, for the good end */
    char user[64];
};

static void
check_say(CheckPostgres *check, const Error *err, const char *mend)
{
    check->ok = false;
    printf("postgres: %s%s%s%s%s\n", err->text, err->sqlstate[0] != '\0' ? ", SQLSTATE " : "",
           err->sqlstate, mend[0] != '\0' ? ": " : "", mend);
}

static void
check_finish(CheckPostgres *check)
{
    if (check->ok) {
        printf("postgres: ok, %s, schema version %d\n", check->server, check->schema_version);
    }
    pg_disconnect(check->pg);
    check->fn(check->arg, check->ok);
}

/* What an operator does about a command or a login that failed. */
static const char *
mend_of(const PgReply *reply)
{
    Str state = str_c(reply->err.sqlstate);

    if (str_eq(state, STR("42501"))) {
        return "GRANT ds_sync_writer TO this role";
    }
    if (str_eq(state, STR("08P01"))) {
        return "through a pooler: pool_mode transaction or session, and no options in POSTGRES_URL";
    }
    if (str_starts(state, STR("28"))) {
        return "correct role and password in POSTGRES_URL, or pg_hba.conf";
    }
    if (str_starts(state, STR("3D"))) {
        return "correct the database in POSTGRES_URL";
    }
    switch (error_class_of_postgres(reply->error_class, reply->err.sqlstate)) {
    case ERROR_CLASS_POSTGRES_DOWN:
        return state.len == 0 ? "correct host, port and sslmode in POSTGRES_URL, or start Postgres"
                              : "try again later";
    case ERROR_CLASS_POSTGRES_REFUSED:
        return "correct POSTGRES_URL";
    default:
        return "";
    }
}

static void
check_failed(CheckPostgres *check, const PgReply *reply)
{
    check_say(check, &reply->err, mend_of(reply));
    check_finish(check);
}

static void
check_on_grants(void *arg, const PgReply *reply)
{
    CheckPostgres *check = arg;
    Error err;

    if (!reply->ok) {
        check_failed(check, reply);
        return;
    }
    if (reply->rows == 1 && !pg_is_null(reply, 0, 0)) {
        (void)error_set(&err, ERR_CONFIG, "the role \"%s\" lacks %.*s", check->user,
                        STR_ARG(pg_get(reply, 0, 0)));
        check_say(check, &err,
                  "GRANT ds_sync_writer TO it; for the table of a route, dsctl route apply says "
                  "what to grant");
    }
    if (reply->rows == 1 && !pg_is_null(reply, 0, 1)) {
        (void)error_set(&err, ERR_CONFIG, "there is no table %.*s", STR_ARG(pg_get(reply, 0, 1)));
        check_say(check, &err, "apply the routes again with dsctl route apply");
    }
    check_finish(check);
}

static void
check_on_schema(void *arg, const SchemaReport *report)
{
    CheckPostgres *check = arg;

    check->migrate = NULL;
    if (!report->ok) {
        bool rights = strcmp(report->err.sqlstate, "42501") == 0;

        check_say(check, &report->err, rights ? "GRANT ds_sync_writer TO this role" : "");
        check_finish(check);
        return;
    }
    check->schema_version = report->version;
    pg_query(check->pg, sql_check_grants, NULL, 0, check_on_grants, check);
}

/* The answer's one row: version, database, role, encoding, wal_level, read-only. */
static void
check_server(CheckPostgres *check, const PgReply *reply)
{
    Str encoding = pg_get(reply, 0, 3);
    Str wal_level = pg_get(reply, 0, 4);
    Error err;

    (void)snprintf(check->server, sizeof(check->server), "version %.*s, database %.*s, role %.*s",
                   STR_ARG(pg_get(reply, 0, 0)), STR_ARG(pg_get(reply, 0, 1)),
                   STR_ARG(pg_get(reply, 0, 2)));
    (void)snprintf(check->user, sizeof(check->user), "%.*s", STR_ARG(pg_get(reply, 0, 2)));
    if (!str_eq(encoding, STR("UTF8"))) {
        (void)error_set(&err, ERR_CONFIG, "the database \"%.*s\" has the encoding %.*s",
                        STR_ARG(pg_get(reply, 0, 1)), STR_ARG(encoding));
        check_say(check, &err, "syncd needs one with UTF8: CREATE DATABASE ... ENCODING 'UTF8'");
    }
    if (str_eq(pg_get(reply, 0, 5), STR("t"))) {
        (void)error_set(&err, ERR_CONFIG, "it takes no writes");
        check_say(check, &err, "point POSTGRES_URL at the primary, or end the read-only mode");
    }
    if (!str_eq(wal_level, STR("logical")) && check->config->electric_version != NULL) {
        (void)error_set(&err, ERR_CONFIG, "wal_level is %.*s", STR_ARG(wal_level));
        check_say(check, &err,
                  "Electric (ELECTRIC_VERSION) needs logical: set it, and restart Postgres");
    } else if (!str_eq(wal_level, STR("logical"))) {
        printf("postgres: note: wal_level is %.*s, which does for syncd; Electric needs logical\n",
               STR_ARG(wal_level));
    }
}

static void
check_on_server(void *arg, const PgReply *reply)
{
    CheckPostgres *check = arg;

    if (!reply->ok) {
        check_failed(check, reply);
        return;
    }
    if (reply->rows == 1) {
        check_server(check, reply);
    }
    check->migrate = schema_check_start(check->pg, check_on_schema, check);
}

static void
check_on_block_end(void *arg, const PgReply *reply)
{
    CheckPostgres *check = arg;

    if (!reply->ok) {
        check_failed(check, reply);
        return;
    }
    pg_query(check->pg, sql_check_server, NULL, 0, check_on_server, check);
}

static void
check_on_block(void *arg, const PgReply *reply)
{
    CheckPostgres *check = arg;

    if (!reply->ok) {
        check_failed(check, reply);
        return;
    }
    pg_query(check->pg, "ROLLBACK", NULL, 0, check_on_block_end, check);
}

/* A pooler in statement mode refuses what takes more than one statement, and nothing before that.
 */
static void
check_on_connected(void *arg, const PgReply *reply)
{
    CheckPostgres *check = arg;

    if (!reply->ok) {
        check_failed(check, reply);
        return;
    }
    pg_query(check->pg, "BEGIN READ ONLY", NULL, 0, check_on_block, check);
}

CheckPostgres *
check_postgres_new(Loop *loop, const SyncdConfig *config, CheckPostgresFn fn, void *arg)
{
    CheckPostgres *check = mem_zalloc(sizeof(*check));

    check->loop = loop;
    check->config = config;
    check->fn = fn;
    check->arg = arg;
    check->ok = true;
    check->pg = pg_new(loop, &(PgConfig){
                                 .url = &config->postgres_url,
                                 .application_name = "syncd/check",
                                 .connect_ms_max = CONNECT_MS_MAX,
                             });
    pg_connect(check->pg, check_on_connected, check);
    return check;
}

void
check_postgres_free(CheckPostgres *check)
{
    if (check == NULL) {
        return;
    }
    migrate_cancel(check->migrate);
    pg_free(check->pg);
    loop_defer_free(check->loop, check);
}
