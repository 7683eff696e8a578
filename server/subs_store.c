/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "server/sqlite.h"

#define FORMAT_VERSION   1
#define CHECKPOINT_EVERY 256 /* commits */

typedef enum StatementId {
    PUT_SUBSCRIPTION,
    PUT_STATE,
    DROP_SUBSCRIPTION,
    DROP_LINKS,
    PUT_LINK,
    DROP_LINK,
    PUT_SECRET,
    DROP_KEYS,
    PUT_KEY,
    STATEMENT_COUNT
} StatementId;

struct SubsStore {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    unsigned commits;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS subscription ("
    " serial INTEGER PRIMARY KEY, id TEXT NOT NULL, type INTEGER NOT NULL, pattern TEXT, url TEXT,"
    " wake_stream TEXT, description TEXT, origin TEXT NOT NULL, hash TEXT NOT NULL,"
    " lease_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, phase INTEGER NOT NULL DEFAULT 0,"
    " generation INTEGER NOT NULL DEFAULT 0, wake_id TEXT NOT NULL DEFAULT '',"
    " holder TEXT NOT NULL DEFAULT '', lease_until_ms INTEGER NOT NULL DEFAULT 0,"
    " next_attempt_ms INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,"
    " progressed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS link ("
    " serial INTEGER NOT NULL, path TEXT NOT NULL, is_explicit INTEGER NOT NULL,"
    " is_glob INTEGER NOT NULL, placed INTEGER NOT NULL, stream_id INTEGER NOT NULL,"
    " era INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (serial, path)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS webhook_key ("
    " number INTEGER PRIMARY KEY, seed BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " retired_ms INTEGER NOT NULL);";

static const char *const statement_texts[STATEMENT_COUNT] = {
    [PUT_SUBSCRIPTION] =
        "INSERT INTO subscription (serial, id, type, pattern, url, wake_stream, description,"
        " origin, hash, lease_ms, created_ms) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
    [PUT_STATE] = "UPDATE subscription SET phase=?2, generation=?3, wake_id=?4, holder=?5,"
                  " lease_until_ms=?6, next_attempt_ms=?7, attempts=?8, progressed=?9, failed=?10"
                  " WHERE serial=?1",
    [DROP_SUBSCRIPTION] = "DELETE FROM subscription WHERE serial=?1",
    [DROP_LINKS] = "DELETE FROM link WHERE serial=?1",
    [PUT_LINK] = "INSERT INTO link (serial, path, is_explicit, is_glob, placed, stream_id, era,"
                 " position) VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT (serial, path) DO UPDATE"
                 " SET is_explicit=?3, is_glob=?4, placed=?5, stream_id=?6, era=?7, position=?8",
    [DROP_LINK] = "DELETE FROM link WHERE serial=?1 AND path=?2",
    [PUT_SECRET] = "INSERT OR REPLACE INTO secret (one, bytes) VALUES (1, ?1)",
    [DROP_KEYS] = "DELETE FROM webhook_key",
    [PUT_KEY] = "INSERT INTO webhook_key (number, seed, created_ms, retired_ms)"
                " VALUES (?1,?2,?3,?4)",
};

/* ---- opening ---- */

/* SQLite gives its other files the mode of the first. */
static bool
make_private(const char *path, Error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0;

    if (!ok) {
        error_set(err, ERR_CONFIG, "%s cannot be opened: %m", path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

static bool
check_version(SubsStore *store, Error *err)
{
    int64_t version = 0;

    if (!sqlite_number(store->db, "PRAGMA user_version", &version, err)) {
        return false;
    }
    if (version > FORMAT_VERSION) {
        return error_set(err, ERR_CONFIG,
                         "%s is of format %lld, this program knows %d: it needs a newer one",
                         SUBS_STORE_FILE, (long long)version, FORMAT_VERSION);
    }
    return sqlite_exec(store->db, schema, err) &&
           sqlite_exec(store->db, "PRAGMA user_version = 1", err);
}

static bool
prepare(SubsStore *store, Error *err)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        if (!sqlite_prepare(store->db, statement_texts[i], &store->statements[i], err)) {
            return false;
        }
    }
    return true;
}

bool
subs_store_open(const char *folder, bool sync, SubsStore **out, Error *err)
{
    SubsStore *store = mem_zalloc(sizeof(*store));
    SqliteOptions options = {.create = true, .sync = sync, .cache_kib = SUBS_STORE_CACHE_KIB};
    Buf path;
    bool ok = false;

    buf_init(&path, 65536);
    if (buf_printf(&path, err, "%s/" SUBS_STORE_FILE, folder)) {
        options.path = buf_cstr(&path);
        ok = make_private(options.path, err) && sqlite_open(&options, &store->db, err) &&
             check_version(store, err) && prepare(store, err);
    }
    buf_done(&path);
    if (!ok) {
        subs_store_close(store);
        return error_wrap(err, SUBS_STORE_FILE);
    }
    *out = store;
    return true;
}

void
subs_store_close(SubsStore *store)
{
    if (store != NULL) {
        for (size_t i = 0; i < STATEMENT_COUNT; i++) {
            (void)sqlite3_finalize(store->statements[i]);
        }
        sqlite_close(store->db);
        free(store);
    }
}

/* ---- loading ---- */

static char *
column_dup(sqlite3_stmt *statement, int at)
{
    Str text = sqlite_column_text(statement, at);

    return text.ptr == NULL ? NULL : str_dup(text);
}

static bool
column_fits(sqlite3_stmt *statement, int at, char *out, size_t size)
{
    Str text = sqlite_column_text(statement, at);

    if (text.ptr == NULL || text.len >= size) {
        return false;
    }
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool
load_subscription(sqlite3_stmt *row, SubsModel *model, Error *err)
{
    SubsDefinition *definition = subs_definition_new();
    SubsState state = {0};
    uint64_t type = sqlite_column_u64(row, 2);
    uint64_t phase = sqlite_column_u64(row, 11);

    definition->serial = sqlite_column_u64(row, 0);
    definition->id = column_dup(row, 1);
    definition->type = type == 0 ? SUBS_WEBHOOK : SUBS_PULL_WAKE;
    definition->pattern = column_dup(row, 3);
    definition->url = column_dup(row, 4);
    definition->wake_stream = column_dup(row, 5);
    definition->description = column_dup(row, 6);
    definition->origin = column_dup(row, 7);
    definition->lease_ms = (int64_t)sqlite_column_u64(row, 9);
    definition->created_ms = (int64_t)sqlite_column_u64(row, 10);
    state.phase = (SubsPhase)phase;
    state.generation = sqlite_column_u64(row, 12);
    state.lease_until_ms = (int64_t)sqlite_column_u64(row, 15);
    state.next_attempt_ms = (int64_t)sqlite_column_u64(row, 16);
    state.attempts = sqlite_column_u64(row, 17);
    state.progressed = sqlite_column_u64(row, 18) != 0;
    state.failed = sqlite_column_u64(row, 19) != 0;
    if (type > 1 || phase >= SUBS_PHASE_COUNT || definition->id == NULL ||
        definition->origin == NULL ||
        (type == 0 ? definition->url : definition->wake_stream) == NULL ||
        !column_fits(row, 8, definition->hash, sizeof(definition->hash)) ||
        !column_fits(row, 13, state.wake_id, sizeof(state.wake_id)) ||
        !column_fits(row, 14, state.holder, sizeof(state.holder)) ||
        subs_model_find(model, str_c(definition->id)) != NULL) {
        subs_definition_drop(definition);
        return error_set(err, ERR_CORRUPT, "a stored subscription is not legal");
    }
    (void)subs_model_restore(model, definition, &state);
    return true;
}

static bool
load_link(sqlite3_stmt *row, SubsModel *model, Error *err)
{
    Str id = sqlite_column_text(row, 0);
    Str path = sqlite_column_text(row, 1);
    Subscription *subscription = id.ptr == NULL ? NULL : subs_model_find(model, id);
    SubsCursor cursor = {
        .is_explicit = sqlite_column_u64(row, 2) != 0,
        .is_glob = sqlite_column_u64(row, 3) != 0,
        .placed = sqlite_column_u64(row, 4) != 0,
        .id = sqlite_column_u64(row, 5),
        .era = sqlite_column_u64(row, 6),
        .position = sqlite_column_u64(row, 7),
    };

    if (subscription == NULL || path.ptr == NULL) {
        return error_set(err, ERR_CORRUPT, "a stored cursor is not legal");
    }
    subs_model_link_restore(model, subscription, path, &cursor);
    return true;
}

static bool
load_rows(SubsStore *store, const char *sql, SubsModel *model,
          bool (*load)(sqlite3_stmt *row, SubsModel *model, Error *err), Error *err)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    bool ok = sqlite_prepare(store->db, sql, &statement, err);

    while (ok && (ok = sqlite_step(statement, &row, err)) && row) {
        ok = load(statement, model, err);
    }
    (void)sqlite3_finalize(statement);
    return ok;
}

static bool
load_keys(SubsStore *store, SubsKeyDump *out, Error *err)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    Str bytes;
    bool ok = sqlite_prepare(store->db,
                             "SELECT seed, created_ms, retired_ms, (SELECT bytes FROM secret)"
                             " FROM webhook_key ORDER BY number",
                             &statement, err);

    while (ok && (ok = sqlite_step(statement, &row, err)) && row) {
        SubsKeySeed *seed = &out->seeds[out->count];

        bytes = sqlite_column_blob(statement, 0);
        if (out->count == SUBS_KEYS_MAX || bytes.len != sizeof(seed->seed)) {
            ok = error_set(err, ERR_CORRUPT, "the stored webhook keys are not legal");
            break;
        }
        memcpy(seed->seed, bytes.ptr, bytes.len);
        seed->created_ms = (int64_t)sqlite_column_u64(statement, 1);
        seed->retired_ms = (int64_t)sqlite_column_u64(statement, 2);
        out->count++;
        bytes = sqlite_column_blob(statement, 3);
        if (bytes.len != sizeof(out->secret)) {
            ok = error_set(err, ERR_CORRUPT, "the stored secret is not legal");
            break;
        }
        memcpy(out->secret, bytes.ptr, bytes.len);
    }
    (void)sqlite3_finalize(statement);
    return ok;
}

bool
subs_store_load(SubsStore *store, SubsModel *model, SubsKeys **out_keys, bool *out_new, Error *err)
{
    SubsKeyDump dump = {0};
    SubsKeys *keys = NULL;
    bool ok = false;

    if (!load_keys(store, &dump, err) ||
        !load_rows(store,
                   "SELECT serial, id, type, pattern, url, wake_stream, description, origin, hash,"
                   " lease_ms, created_ms, phase, generation, wake_id, holder, lease_until_ms,"
                   " next_attempt_ms, attempts, progressed, failed FROM subscription",
                   model, load_subscription, err) ||
        !load_rows(store,
                   "SELECT s.id, l.path, l.is_explicit, l.is_glob, l.placed, l.stream_id, l.era,"
                   " l.position FROM link l LEFT JOIN subscription s ON s.serial = l.serial",
                   model, load_link, err)) {
        goto done;
    }
    if (dump.count == 0) {
        keys = subs_keys_new();
    } else if (!subs_keys_restore(&dump, &keys, err)) {
        goto done;
    }
    *out_keys = keys;
    *out_new = dump.count == 0;
    ok = true;

done:
    explicit_bzero(&dump, sizeof(dump));
    return ok;
}

/* ---- storing ---- */

static void
bind_optional(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite_bind_text(statement, at, text == NULL ? (Str){NULL, 0} : str_c(text));
}

static bool
put_subscription(SubsStore *store, const SubsDefinition *definition, Error *err)
{
    sqlite3_stmt *statement = store->statements[PUT_SUBSCRIPTION];

    sqlite_bind_u64(statement, 1, definition->serial);
    bind_optional(statement, 2, definition->id);
    sqlite_bind_u64(statement, 3, definition->type);
    bind_optional(statement, 4, definition->pattern);
    bind_optional(statement, 5, definition->url);
    bind_optional(statement, 6, definition->wake_stream);
    bind_optional(statement, 7, definition->description);
    bind_optional(statement, 8, definition->origin);
    bind_optional(statement, 9, definition->hash);
    sqlite_bind_u64(statement, 10, (uint64_t)definition->lease_ms);
    sqlite_bind_u64(statement, 11, (uint64_t)definition->created_ms);
    return sqlite_run(statement, err);
}

static bool
put_state(SubsStore *store, const SubsChange *change, Error *err)
{
    sqlite3_stmt *statement = store->statements[PUT_STATE];
    const SubsState *state = &change->state;

    sqlite_bind_u64(statement, 1, change->definition->serial);
    sqlite_bind_u64(statement, 2, state->phase);
    sqlite_bind_u64(statement, 3, state->generation);
    bind_optional(statement, 4, state->wake_id);
    bind_optional(statement, 5, state->holder);
    sqlite_bind_u64(statement, 6, (uint64_t)state->lease_until_ms);
    sqlite_bind_u64(statement, 7, (uint64_t)state->next_attempt_ms);
    sqlite_bind_u64(statement, 8, state->attempts);
    sqlite_bind_u64(statement, 9, state->progressed);
    sqlite_bind_u64(statement, 10, state->failed);
    return sqlite_run(statement, err);
}

static bool
put_link(SubsStore *store, const SubsChange *change, Error *err)
{
    sqlite3_stmt *statement = store->statements[PUT_LINK];
    const SubsCursor *cursor = &change->cursor;

    sqlite_bind_u64(statement, 1, change->definition->serial);
    bind_optional(statement, 2, change->path);
    sqlite_bind_u64(statement, 3, cursor->is_explicit);
    sqlite_bind_u64(statement, 4, cursor->is_glob);
    sqlite_bind_u64(statement, 5, cursor->placed);
    sqlite_bind_u64(statement, 6, cursor->id);
    sqlite_bind_u64(statement, 7, cursor->era);
    sqlite_bind_u64(statement, 8, cursor->position);
    return sqlite_run(statement, err);
}

static bool
drop(SubsStore *store, StatementId id, const SubsChange *change, Error *err)
{
    sqlite3_stmt *statement = store->statements[id];

    sqlite_bind_u64(statement, 1, change->definition->serial);
    if (id == DROP_LINK) {
        bind_optional(statement, 2, change->path);
    }
    return sqlite_run(statement, err);
}

static bool
put_change(SubsStore *store, const SubsChange *change, Error *err)
{
    switch (change->kind) {
    case SUBS_CHANGE_CREATE:
        return put_subscription(store, change->definition, err);
    case SUBS_CHANGE_STATE:
        return put_state(store, change, err);
    case SUBS_CHANGE_DELETE:
        return drop(store, DROP_LINKS, change, err) && drop(store, DROP_SUBSCRIPTION, change, err);
    case SUBS_CHANGE_LINK:
        return put_link(store, change, err);
    case SUBS_CHANGE_UNLINK:
        return drop(store, DROP_LINK, change, err);
    }
    return true;
}

static bool
put_keys(SubsStore *store, const SubsKeyDump *keys, Error *err)
{
    sqlite3_stmt *statement = store->statements[PUT_SECRET];

    sqlite_bind_blob(statement, 1, str_n(keys->secret, sizeof(keys->secret)));
    if (!sqlite_run(statement, err) || !sqlite_run(store->statements[DROP_KEYS], err)) {
        return false;
    }
    statement = store->statements[PUT_KEY];
    for (size_t i = 0; i < keys->count; i++) {
        const SubsKeySeed *seed = &keys->seeds[i];

        sqlite_bind_u64(statement, 1, i);
        sqlite_bind_blob(statement, 2, str_n(seed->seed, sizeof(seed->seed)));
        sqlite_bind_u64(statement, 3, (uint64_t)seed->created_ms);
        sqlite_bind_u64(statement, 4, (uint64_t)seed->retired_ms);
        if (!sqlite_run(statement, err)) {
            return false;
        }
    }
    return true;
}

static bool
put_all(SubsStore *store, const SubsChanges *changes, const SubsKeyDump *keys, Error *err)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (!put_change(store, &changes->items[i], err)) {
            return false;
        }
    }
    return keys == NULL || put_keys(store, keys, err);
}

/* A full disk is told by the commit that needs the room. */
static bool
checkpoint(SubsStore *store, Error *err)
{
    uint64_t pages_left;

    if (++store->commits % CHECKPOINT_EVERY != 0) {
        return true;
    }
    return sqlite_checkpoint(store->db, &pages_left, err) || err->code == ERR_FULL ||
           err->code == ERR_RETRY;
}

bool
subs_store_commit(SubsStore *store, const SubsChanges *changes, const SubsKeyDump *keys, Error *err)
{
    if (!sqlite_begin(store->db, err)) {
        return false;
    }
    if (!put_all(store, changes, keys, err) || !sqlite_commit(store->db, err)) {
        sqlite_rollback(store->db);
        return false;
    }
    return checkpoint(store, err);
}
