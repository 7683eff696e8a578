/* SPDX-License-Identifier: Apache-2.0 */
#include "sql/migrate.h"

#include "common/mem.h"
#include "common/parse.h"
#include "sql/migrations.h"
#include "sql/queries.h"

#define VERSION_MAX 9999

/*
 * One round of migrating: BEGIN .. COMMIT with at most one migration in it; rounds follow each
 * other until one finds nothing to do.  A check is TABLE and VERSION alone, in no transaction.
 */
typedef enum MigrateState {
    MIGRATE_IDLE,
    MIGRATE_BEGIN,
    MIGRATE_TIMEOUT, /* for the locks of this transaction */
    MIGRATE_LOCK,    /* against other migrations */
    MIGRATE_TABLE,   /* is there a schema? */
    MIGRATE_VERSION, /* which one? */
    MIGRATE_APPLY,
    MIGRATE_COMMIT,
    MIGRATE_ROLLBACK, /* something failed: err says what */
    MIGRATE_DONE,
    MIGRATE_STATE_COUNT
} MigrateState;

static const uint16_t migrate_edges[MIGRATE_STATE_COUNT] = {
    [MIGRATE_IDLE] = DS_BIT(MIGRATE_BEGIN) | DS_BIT(MIGRATE_TABLE),
    [MIGRATE_BEGIN] = DS_BIT(MIGRATE_TIMEOUT) | DS_BIT(MIGRATE_DONE),
    [MIGRATE_TIMEOUT] = DS_BIT(MIGRATE_LOCK) | DS_BIT(MIGRATE_ROLLBACK) | DS_BIT(MIGRATE_DONE),
    [MIGRATE_LOCK] = DS_BIT(MIGRATE_TABLE) | DS_BIT(MIGRATE_ROLLBACK) | DS_BIT(MIGRATE_DONE),
    [MIGRATE_TABLE] = DS_BIT(MIGRATE_VERSION) | DS_BIT(MIGRATE_APPLY) | DS_BIT(MIGRATE_ROLLBACK) |
                      DS_BIT(MIGRATE_DONE),
    [MIGRATE_VERSION] = DS_BIT(MIGRATE_APPLY) | DS_BIT(MIGRATE_COMMIT) | DS_BIT(MIGRATE_ROLLBACK) |
                        DS_BIT(MIGRATE_DONE),
    [MIGRATE_APPLY] = DS_BIT(MIGRATE_COMMIT) | DS_BIT(MIGRATE_ROLLBACK) | DS_BIT(MIGRATE_DONE),
    [MIGRATE_COMMIT] = DS_BIT(MIGRATE_BEGIN) | DS_BIT(MIGRATE_DONE),
    [MIGRATE_ROLLBACK] = DS_BIT(MIGRATE_DONE),
};

struct Migrate {
    Pg *pg;
    MigrateState state;
    bool check_only;
    MigrateOptions options;
    SchemaReportFn fn;
    void *arg;
    size_t applying; /* index of the migration in this round, or sql_migrations_count */
    SchemaReport report;
};

static void migrate_step(Migrate *migrate);

/* "001_schema" is 1. */
static int
version_of(const SqlFile *file)
{
    uint64_t version = 0;
    Str number = STR_EMPTY;
    Str name = STR_EMPTY;
    bool ok = str_cut(str_c(file->name), '_', &number, &name) &&
              parse_u64_loose(number, VERSION_MAX, &version);

    DS_ASSERT(ok);
    return (int)version;
}

int
migrate_program_version(void)
{
    DS_ASSERT(sql_migrations_count > 0);
    return version_of(&sql_migrations_files[sql_migrations_count - 1]);
}

static void
migrate_enter(Migrate *migrate, MigrateState state)
{
    DS_ASSERT((migrate_edges[migrate->state] & DS_BIT(state)) != 0);
    migrate->state = state;
    migrate_step(migrate);
}

static void
migrate_finish(Migrate *migrate)
{
    SchemaReport report = migrate->report;
    SchemaReportFn fn = migrate->fn;
    void *arg = migrate->arg;

    free(migrate);
    fn(arg, &report);
}

/* The report's err is set; leave the transaction, if there still is one. */
static void
migrate_fail(Migrate *migrate)
{
    char transaction = pg_transaction_state(migrate->pg);

    migrate->report.ok = false;
    migrate_enter(migrate,
                  transaction == 'T' || transaction == 'E' ? MIGRATE_ROLLBACK : MIGRATE_DONE);
}

/* ---- what the answers mean ---- */

static size_t
find_next(int version)
{
    size_t i = 0;

    while (i < sql_migrations_count && version_of(&sql_migrations_files[i]) <= version) {
        i++;
    }
    return i;
}

/* The schema is read: may this program work with it, and is a migration due? */
static void
judge_schema(Migrate *migrate)
{
    SchemaReport *report = &migrate->report;

    if (report->program_version < report->min_compatible) {
        error_set(
            &report->err, ERR_CONFIG,
            "the schema ds_sync is version %d and works with programs of schema version %d or "
            "newer; this program has %d: upgrade it",
            report->version, report->min_compatible, report->program_version);
        migrate_fail(migrate);
    } else if (!migrate->check_only) {
        migrate->applying = find_next(report->version);
        migrate_enter(migrate,
                      migrate->applying < sql_migrations_count ? MIGRATE_APPLY : MIGRATE_COMMIT);
    } else if (report->version == 0) {
        error_set(&report->err, ERR_CONFIG,
                  "the database has no schema ds_sync: run `dsctl db migrate`");
        migrate_fail(migrate);
    } else if (report->program_version > report->version) {
        error_set(&report->err, ERR_CONFIG,
                  "the schema ds_sync is version %d and this program needs %d: run `dsctl db "
                  "migrate`",
                  report->version, report->program_version);
        migrate_fail(migrate);
    } else {
        report->ok = true;
        migrate_enter(migrate, MIGRATE_DONE);
    }
}

static void
take_table(Migrate *migrate, const PgReply *reply)
{
    if (reply->rows == 1 && str_eq(pg_get(reply, 0, 0), STR("t"))) {
        migrate_enter(migrate, MIGRATE_VERSION);
        return;
    }
    migrate->report.version = 0;
    migrate->report.min_compatible = 0;
    judge_schema(migrate);
}

static void
take_version(Migrate *migrate, const PgReply *reply)
{
    uint64_t version = 0;
    uint64_t min_compatible = 0;

    if (reply->rows != 1 || !parse_u64(pg_get(reply, 0, 0), VERSION_MAX, &version) ||
        !parse_u64(pg_get(reply, 0, 1), VERSION_MAX, &min_compatible)) {
        error_set(&migrate->report.err, ERR_CONFIG,
                  "ds_sync.schema_version names no version: the schema is broken, restore it");
        migrate_fail(migrate);
        return;
    }
    migrate->report.version = (int)version;
    migrate->report.min_compatible = (int)min_compatible;
    judge_schema(migrate);
}

static void
take_commit(Migrate *migrate, const PgReply *reply)
{
    const SqlFile *file = &sql_migrations_files[migrate->applying];

    if (strcmp(reply->tag, "COMMIT") != 0) {
        error_set(&migrate->report.err, ERR_RETRY, "COMMIT was answered with %s", reply->tag);
        migrate_fail(migrate);
        return;
    }
    if (migrate->applying == sql_migrations_count) {
        migrate->report.ok = true;
        migrate_enter(migrate, MIGRATE_DONE);
        return;
    }
    migrate->report.applied++;
    if (migrate->options.on_applied != NULL) {
        migrate->options.on_applied(migrate->arg, version_of(file), file->name);
    }
    migrate_enter(migrate, MIGRATE_BEGIN);
}

static void
wrap_failure(Migrate *migrate, const PgReply *reply)
{
    Error *err = &migrate->report.err;

    *err = reply->err;
    switch (migrate->state) {
    case MIGRATE_LOCK:
        error_wrap(err, "waiting for another migration");
        break;
    case MIGRATE_APPLY:
    case MIGRATE_COMMIT:
        if (migrate->applying < sql_migrations_count) {
            error_wrap(err, "migration %s", sql_migrations_files[migrate->applying].name);
        }
        break;
    default:
        error_wrap(err, "reading the schema's version");
        break;
    }
}

static void
on_reply(void *arg, const PgReply *reply)
{
    Migrate *migrate = arg;

    if (migrate->state == MIGRATE_ROLLBACK) {
        migrate_enter(migrate, MIGRATE_DONE); /* it failed already, and err says why */
        return;
    }
    if (!reply->ok) {
        wrap_failure(migrate, reply);
        migrate_fail(migrate);
        return;
    }
    switch (migrate->state) {
    case MIGRATE_BEGIN:
        migrate_enter(migrate, MIGRATE_TIMEOUT);
        break;
    case MIGRATE_TIMEOUT:
        migrate_enter(migrate, MIGRATE_LOCK);
        break;
    case MIGRATE_LOCK:
        migrate_enter(migrate, MIGRATE_TABLE);
        break;
    case MIGRATE_TABLE:
        take_table(migrate, reply);
        break;
    case MIGRATE_VERSION:
        take_version(migrate, reply);
        break;
    case MIGRATE_APPLY:
        migrate_enter(migrate, MIGRATE_COMMIT);
        break;
    case MIGRATE_COMMIT:
        take_commit(migrate, reply);
        break;
    case MIGRATE_IDLE:
    case MIGRATE_ROLLBACK:
    case MIGRATE_DONE:
    case MIGRATE_STATE_COUNT:
        break;
    }
}

/* ---- what each state asks ---- */

static void
ask_timeout(Migrate *migrate)
{
    char milliseconds[24];
    PgParam param = {.value = milliseconds};

    (void)snprintf(milliseconds, sizeof(milliseconds), "%lld",
                   (long long)migrate->options.lock_ms_max);
    pg_query(migrate->pg, sql_migrate_lock_timeout, &param, 1, on_reply, migrate);
}

static void
migrate_step(Migrate *migrate)
{
    switch (migrate->state) {
    case MIGRATE_BEGIN:
        migrate->applying = sql_migrations_count;
        pg_exec(migrate->pg, "BEGIN", on_reply, migrate);
        break;
    case MIGRATE_TIMEOUT:
        ask_timeout(migrate);
        break;
    case MIGRATE_LOCK:
        pg_exec(migrate->pg, sql_migrate_lock, on_reply, migrate);
        break;
    case MIGRATE_TABLE:
        pg_exec(migrate->pg, sql_schema_exists, on_reply, migrate);
        break;
    case MIGRATE_VERSION:
        pg_exec(migrate->pg, sql_schema_version, on_reply, migrate);
        break;
    case MIGRATE_APPLY:
        pg_exec(migrate->pg, sql_migrations_files[migrate->applying].text, on_reply, migrate);
        break;
    case MIGRATE_COMMIT:
        pg_exec(migrate->pg, "COMMIT", on_reply, migrate);
        break;
    case MIGRATE_ROLLBACK:
        pg_exec(migrate->pg, "ROLLBACK", on_reply, migrate);
        break;
    case MIGRATE_DONE:
        migrate_finish(migrate);
        break;
    case MIGRATE_IDLE:
    case MIGRATE_STATE_COUNT:
        break;
    }
}

static Migrate *
migrate_new(Pg *pg, SchemaReportFn fn, void *arg)
{
    Migrate *migrate = mem_zalloc(sizeof(*migrate));

    migrate->pg = pg;
    migrate->fn = fn;
    migrate->arg = arg;
    migrate->options.lock_ms_max = MIGRATE_LOCK_MS_DEFAULT;
    migrate->report.program_version = migrate_program_version();
    return migrate;
}

Migrate *
migrate_start(Pg *pg, const MigrateOptions *options, SchemaReportFn fn, void *arg)
{
    Migrate *migrate = migrate_new(pg, fn, arg);

    if (options != NULL) {
        migrate->options = *options;
        if (options->lock_ms_max == 0) {
            migrate->options.lock_ms_max = MIGRATE_LOCK_MS_DEFAULT;
        }
    }
    migrate_enter(migrate, MIGRATE_BEGIN);
    return migrate;
}

Migrate *
schema_check_start(Pg *pg, SchemaReportFn fn, void *arg)
{
    Migrate *migrate = migrate_new(pg, fn, arg);

    migrate->check_only = true;
    migrate_enter(migrate, MIGRATE_TABLE);
    return migrate;
}

void
migrate_cancel(Migrate *migrate)
{
    if (migrate != NULL) {
        pg_disconnect(migrate->pg);
        free(migrate);
    }
}
