/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql/migrate.h -- bring the schema of ds-sync up to this program's, or only look whether it is.
 *
 * Asynchronous, over a connected Pg that must be idle and stays the caller's; it runs nothing else
 * until the callback.  Each migration is one transaction under an advisory lock, so that two who
 * migrate at once do it once, and a migration that fails leaves nothing.  Works through PgBouncer
 * in transaction mode.
 *
 * A program may work with the schema when min_compatible <= its own version <= the schema's version
 * (expand first, contract a release later).  ERR_CONFIG says what the operator must do;
 * ERR_RETRY means that the connection or the lock failed and the same call may succeed later.
 */
#pragma once

#include "common/pg.h"

#define MIGRATE_LOCK_MS_DEFAULT 10000

typedef struct Migrate Migrate;

typedef struct SchemaReport {
    bool ok;
    Error err;           /* when !ok */
    int version;         /* of the schema, 0 when there is none */
    int min_compatible;  /* 0 when there is no schema */
    int program_version; /* the newest migration that this program carries */
    unsigned applied;    /* migrations done by this call */
} SchemaReport;

/* The report is borrowed.  The Migrate is gone when this is called. */
typedef void (*SchemaReportFn)(void *arg, const SchemaReport *report);
/* A migration was committed. */
typedef void (*MigrateAppliedFn)(void *arg, int version, const char *name);

typedef struct MigrateOptions {
    int64_t lock_ms_max;         /* wait for another migration or for readers; 0 = the default */
    MigrateAppliedFn on_applied; /* may be NULL */
} MigrateOptions;

/* Applies what is missing; nothing missing is a success.  options may be NULL. */
Migrate *migrate_start(Pg *pg, const MigrateOptions *options, SchemaReportFn fn, void *arg);

/* Only looks: ok when this program may work with the schema. */
Migrate *schema_check_start(Pg *pg, SchemaReportFn fn, void *arg);

/* Stops: disconnects the Pg, and no callback comes any more.  Accepts NULL; before pg_free. */
void migrate_cancel(Migrate *migrate);

/* The newest migration that this program carries. */
int migrate_program_version(void);
