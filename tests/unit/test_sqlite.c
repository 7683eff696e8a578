/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sqlite.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/temp_dir.h"

static char dir[TEMP_DIR_BYTES];
static char path[TEMP_PATH_BYTES];

static void
make_dir(void)
{
    temp_dir_make(dir);
    temp_dir_path(dir, "a.sqlite", path);
}

static void
remove_dir(void)
{
    temp_dir_remove(dir);
}

TestSuite(sqlite, .init = make_dir, .fini = remove_dir);

static const SqliteOptions writer = {
    .path = path, .create = true, .sync = true, .can_shrink = true, .cache_kib = 256};

static sqlite3 *
open_as(SqliteOptions options)
{
    sqlite3 *db = NULL;
    Error err = {0};

    cr_assert(sqlite_open(&options, &db, &err), "%s", err.text);
    return db;
}

static int64_t
number(sqlite3 *db, const char *sql)
{
    int64_t out = -1;
    Error err = {0};

    cr_assert(sqlite_number(db, sql, &out, &err), "%s", err.text);
    return out;
}

static void
exec(sqlite3 *db, const char *sql)
{
    Error err = {0};

    cr_assert(sqlite_exec(db, sql, &err), "%s", err.text);
}

Test(sqlite, settings_are_those_that_were_asked_for)
{
    sqlite3 *db = open_as(writer);
    SqliteOptions careless = writer;
    sqlite3 *other;

    cr_expect_eq(number(db, "PRAGMA synchronous"), 2);
    cr_expect_eq(number(db, "PRAGMA auto_vacuum"), 2);
    cr_expect_eq(number(db, "PRAGMA wal_autocheckpoint"), 0);
    cr_expect_eq(number(db, "PRAGMA secure_delete"), 0);
    cr_expect_eq(number(db, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"),
                 1);
    careless.sync = false;
    careless.query_only = true;
    other = open_as(careless);
    cr_expect_eq(number(other, "PRAGMA synchronous"), 0);
    cr_expect_eq(number(other, "PRAGMA query_only"), 1);
    sqlite_close(other);
    sqlite_close(db);
}

Test(sqlite, what_is_bound_comes_back)
{
    sqlite3 *db = open_as(writer);
    sqlite3_stmt *put = NULL;
    sqlite3_stmt *get = NULL;
    Error err = {0};
    bool row;

    exec(db, "CREATE TABLE t (a INTEGER, b TEXT, c BLOB, d TEXT, e BLOB)");
    cr_assert(sqlite_prepare(db, "INSERT INTO t VALUES (?, ?, ?, ?, ?)", &put, &err));
    cr_assert(sqlite_prepare(db, "SELECT * FROM t", &get, &err));
    sqlite_bind_u64(put, 1, UINT64_MAX);
    sqlite_bind_text(put, 2, STR("caf\xc3\xa9"));
    sqlite_bind_blob(put, 3, STR("\0\1\2"));
    sqlite_bind_text(put, 4, (Str){0});
    sqlite_bind_blob(put, 5, STR_EMPTY);
    cr_assert(sqlite_run(put, &err), "%s", err.text);

    cr_assert(sqlite_step(get, &row, &err));
    cr_assert(row);
    cr_expect_eq(sqlite_column_u64(get, 0), UINT64_MAX);
    cr_expect(str_eq(sqlite_column_text(get, 1), STR("caf\xc3\xa9")));
    cr_expect(str_eq(sqlite_column_blob(get, 2), STR("\0\1\2")));
    cr_expect_null(sqlite_column_text(get, 3).ptr);
    cr_expect_not_null(sqlite_column_blob(get, 4).ptr, "empty is not NULL");
    cr_expect_eq(sqlite_column_blob(get, 4).len, 0);
    cr_assert(sqlite_step(get, &row, &err));
    cr_expect(!row);
    sqlite3_finalize(put);
    sqlite3_finalize(get);
    sqlite_close(db);
}

Test(sqlite, a_transaction_that_is_rolled_back_leaves_nothing)
{
    sqlite3 *db = open_as(writer);
    Error err = {0};

    exec(db, "CREATE TABLE t (a)");
    cr_assert(sqlite_begin(db, &err));
    exec(db, "INSERT INTO t VALUES (1)");
    sqlite_rollback(db);
    sqlite_rollback(db);
    cr_expect_eq(number(db, "SELECT count(*) FROM t"), 0);
    cr_assert(sqlite_begin(db, &err));
    exec(db, "INSERT INTO t VALUES (1)");
    cr_assert(sqlite_commit(db, &err));
    cr_expect_eq(number(db, "SELECT count(*) FROM t"), 1);
    sqlite_close(db);
}

Test(sqlite, no_room_is_said_and_a_rollback_makes_good)
{
    sqlite3 *db = open_as(writer);
    Error err = {0};
    bool ok = true;

    exec(db, "CREATE TABLE t (a)");
    exec(db, "PRAGMA max_page_count = 10");
    cr_assert(sqlite_begin(db, &err));
    for (size_t i = 0; i < 100 && ok; i++) {
        ok = sqlite_exec(db, "INSERT INTO t VALUES (randomblob(4000))", &err);
    }
    cr_expect(!ok);
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    sqlite_rollback(db);
    cr_expect_eq(number(db, "SELECT count(*) FROM t"), 0);
    exec(db, "INSERT INTO t VALUES (1)");
    sqlite_close(db);
}

Test(sqlite, what_is_no_database_is_refused_as_damaged)
{
    SqliteOptions options = writer;
    sqlite3 *db = NULL;
    Error err = {0};
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    cr_assert_eq(write(fd, "certainly not what SQLite writes at the start of its files", 58), 58);
    close(fd);
    cr_expect(!sqlite_open(&options, &db, &err));
    cr_expect_eq(err.code, ERR_CORRUPT, "%s", err.text);
}

Test(sqlite, one_that_must_be_there_is_not_made)
{
    SqliteOptions options = writer;
    sqlite3 *db = NULL;
    Error err = {0};

    options.create = false;
    cr_expect(!sqlite_open(&options, &db, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
    cr_expect_eq(access(path, F_OK), -1);
}

Test(sqlite, a_folder_that_is_not_there_is_not_found)
{
    SqliteOptions options = writer;
    sqlite3 *db = NULL;
    Error err = {0};

    options.path = "/nowhere/at/all.sqlite";
    cr_expect(!sqlite_open(&options, &db, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
}

Test(sqlite, a_checkpoint_moves_what_no_reader_holds_up)
{
    sqlite3 *db = open_as(writer);
    SqliteOptions options = writer;
    sqlite3 *reader;
    sqlite3_stmt *get = NULL;
    Error err = {0};
    uint64_t left = 99;
    bool row;

    options.query_only = true;
    exec(db, "CREATE TABLE t (a)");
    exec(db, "INSERT INTO t VALUES (1)");
    reader = open_as(options);
    cr_assert(sqlite_prepare(reader, "SELECT a FROM t", &get, &err), "%s", err.text);
    cr_assert(sqlite_step(get, &row, &err));
    exec(db, "INSERT INTO t VALUES (2)");
    cr_assert(sqlite_checkpoint(db, &left, &err), "%s", err.text);
    cr_expect_gt(left, 0, "the reader still needs the old pages");
    (void)sqlite3_reset(get);
    cr_assert(sqlite_checkpoint(db, &left, &err), "%s", err.text);
    cr_expect_eq(left, 0);
    sqlite3_finalize(get);
    sqlite_close(reader);
    sqlite_close(db);
}

Test(sqlite, a_shrink_gives_pages_back)
{
    sqlite3 *db = open_as(writer);
    Error err = {0};
    int64_t before;

    exec(db, "CREATE TABLE t (a)");
    for (size_t i = 0; i < 50; i++) {
        exec(db, "INSERT INTO t VALUES (randomblob(4000))");
    }
    exec(db, "DELETE FROM t");
    before = number(db, "PRAGMA page_count");
    cr_assert(sqlite_shrink(db, 10, &err), "%s", err.text);
    cr_expect_eq(number(db, "PRAGMA page_count"), before - 10);
    cr_assert(sqlite_shrink(db, 1000, &err), "%s", err.text);
    cr_expect_lt(number(db, "PRAGMA page_count"), 10);
    sqlite_close(db);
}
