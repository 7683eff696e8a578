/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the acid mode have to be: made, or found and checked. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "server/file_io.h"
#include "server/store_acid_internal.h"

static const char shard_schema[] = "CREATE TABLE IF NOT EXISTS shard ("
                                   "  number INTEGER NOT NULL,"
                                   "  count INTEGER NOT NULL);";

/* ---- tables ---- */

/* The small tables are looked through, what is in `append` shows its damage when it is read: a
 * check of everything would take as long as reading it. */
bool
acid_schema_check(sqlite3 *db, Error *err)
{
    static const char *const checks[] = {
        "SELECT quick_check != 'ok' FROM pragma_quick_check('stream')",
        "SELECT quick_check != 'ok' FROM pragma_quick_check('producer')",
        "SELECT quick_check != 'ok' FROM pragma_quick_check('garbage')",
    };

    for (size_t i = 0; i < DS_COUNT(checks); i++) {
        int64_t damaged;

        if (!sqlite_number(db, checks[i], &damaged, err)) {
            return false;
        }
        if (damaged != 0) {
            return error_set(err, ERR_CORRUPT, "the database is damaged");
        }
    }
    return true;
}

static bool
check_shard(sqlite3 *db, const BackendOptions *options, Error *err)
{
    char sql[128];
    int64_t other;

    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO shard SELECT %u, %u WHERE NOT EXISTS (SELECT 1 FROM shard)",
                   options->shard, options->shards);
    if (!sqlite_exec(db, sql, err)) {
        return false;
    }
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM shard WHERE (number, count) != (%u, %u)",
                   options->shard, options->shards);
    if (!sqlite_number(db, sql, &other, err)) {
        return false;
    }
    return other == 0 || error_set(err, ERR_CORRUPT, "this is the file of another shard");
}

bool
acid_schema_make(sqlite3 *db, const BackendOptions *options, Error *err)
{
    bool ok = sqlite_begin(db, err) && sqlite_exec(db, acid_payload_schema, err) &&
              sqlite_exec(db, acid_garbage_schema, err) && sqlite_exec(db, shard_schema, err) &&
              check_shard(db, options, err) && sqlite_commit(db, err);

    if (!ok) {
        sqlite_rollback(db);
    }
    return ok;
}

/* ---- files ---- */

char *
acid_path(const BackendOptions *options, unsigned shard)
{
    char *path = NULL;

    DS_ASSERT(asprintf(&path, "%s/acid/shard_%02x.sqlite", options->data_dir, shard) > 0);
    return path;
}

static bool
count_streams(const char *path, int64_t *out, Error *err)
{
    SqliteOptions options = {.path = path, .cache_kib = 64};
    sqlite3 *db = NULL;
    bool ok;

    if (!sqlite_open(&options, &db, err)) {
        return false;
    }
    /* A first start that was cut off may have left it without tables. */
    ok = sqlite_number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'stream'", out, err) &&
         (*out == 0 || sqlite_number(db, "SELECT count(*) FROM stream", out, err));
    sqlite_close(db);
    return ok || error_wrap(err, "%s", path);
}

/* An empty database in place of one that was lost would be a silent loss of its streams.  But a
 * first start that was cut off leaves some files that hold nothing. */
static bool
check_missing(const BackendOptions *options, Error *err)
{
    char *missing = NULL;
    int64_t streams = 0;
    bool ok = true;

    for (unsigned shard = 0; shard < options->shards && ok; shard++) {
        char *path = acid_path(options, shard);
        int64_t count = 0;

        if (access(path, F_OK) == 0) {
            ok = streams > 0 || count_streams(path, &count, err);
            streams += count;
        } else if (missing == NULL && errno == ENOENT) {
            missing = path;
            path = NULL;
        }
        free(path);
    }
    if (ok && missing != NULL && (streams > 0 || options->left_clean)) {
        ok = error_set(err, ERR_CORRUPT, "%s is missing: bring it back from a backup", missing);
    }
    free(missing);
    return ok;
}

static bool
any_missing(const BackendOptions *options)
{
    bool any = false;

    for (unsigned shard = 0; shard < options->shards && !any; shard++) {
        char *path = acid_path(options, shard);

        any = access(path, F_OK) != 0;
        free(path);
    }
    return any;
}

bool
acid_folder_check(const BackendOptions *options, Error *err)
{
    char *folder = NULL;
    bool ok;

    DS_ASSERT(asprintf(&folder, "%s/acid", options->data_dir) > 0);
    ok = file_make_dir(folder, err);
    free(folder);
    return ok && (!any_missing(options) || check_missing(options, err));
}
