/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/pg_client.h"

#include <arpa/inet.h>
#include <bsd/string.h>
#include <criterion/criterion.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

TestSuite(pg, .timeout = 60);

/* ---- commands ---- */

Test(pg, several_statements_reply_with_the_last_tag_or_the_first_error)
{
    Client client;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE t (a int)");
    exec_ok(&client, "INSERT INTO t VALUES (1), (2)");
    exec_ok(&client, "SELECT 5; BEGIN");
    cr_expect_str_eq(client.seen.tag, "BEGIN");
    cr_expect_eq(client.seen.rows_affected, 0);
    cr_expect_eq(pg_transaction_state(client.pg), 'T');
    exec_ok(&client, "UPDATE t SET a = a + 1");
    cr_expect_str_eq(client.seen.tag, "UPDATE 2");
    cr_expect_eq(client.seen.rows_affected, 2);
    cr_expect_not(try_exec(&client, "SELECT 1; SELECT nosuch; SELECT alsono")->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "42703");
    cr_expect_eq(client.seen.error_class, PG_ERROR_SCHEMA);
    cr_expect_not_null(strstr(client.seen.err.text, "\"nosuch\""));
    cr_expect_eq(pg_transaction_state(client.pg), 'E');
    /* Success that is none: only the tag tells. */
    exec_ok(&client, "COMMIT");
    cr_expect_str_eq(client.seen.tag, "ROLLBACK");
    exec_ok(&client, "SELECT a FROM t ORDER BY a");
    cr_expect_eq(client.seen.rows, 2);
    cr_expect_str_eq(client.seen.value, "1");
    exec_ok(&client, "");
    cr_expect_str_eq(client.seen.tag, "");
    client_done(&client);
}

Test(pg, parameters_may_be_text_binary_or_null)
{
    Client client;
    uint32_t number = htonl(40);
    const PgParam params[] = {
        {.value = "it's", .oid = 25},
        {.value = (const char *)&number, .len = sizeof(number), .binary = true, .oid = 23},
        {.value = NULL},
    };

    client_connect(&client);
    pg_query(client.pg, "SELECT $1 || ($2 + 2) || coalesce($3::text, '-')", params,
             DS_COUNT(params), client_on_reply, &client);
    cr_assert(client_wait(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(client.seen.value, "it's42-");
    pg_query(client.pg, "SELECT 7", NULL, 0, client_on_reply, &client);
    cr_expect_str_eq(client_wait(&client)->value, "7");
    client_done(&client);
}

Test(pg, a_parameter_larger_than_any_socket_buffer_arrives)
{
    Client client;
    size_t len = 32u << 20;
    char *text = mem_alloc(len + 1);
    PgParam param = {.value = text, .oid = 25};

    memset(text, 'x', len);
    text[len] = '\0';
    client_connect(&client);
    pg_query(client.pg, "SELECT length($1)", &param, 1, client_on_reply, &client);
    memset(text, 'y', len); /* parameters are taken before pg_query returns */
    cr_expect_str_eq(client_wait(&client)->value, "33554432");
    client_done(&client);
    free(text);
}

Test(pg, errors_of_rows_name_table_and_constraint)
{
    Client client;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE uniq (a int CONSTRAINT only_once UNIQUE)");
    cr_expect_not(try_exec(&client, "INSERT INTO uniq VALUES (1), (1)")->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "23505");
    cr_expect_eq(client.seen.error_class, PG_ERROR_ROW);
    cr_expect_eq(client.seen.err.code, ERR_INPUT);
    cr_expect_str_eq(client.seen.constraint, "only_once");
    cr_expect_str_eq(client.seen.table, "uniq");
    cr_expect_not(try_exec(&client, "BEGIN READ ONLY; CREATE TABLE x ()")->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_TRANSIENT);
    client_done(&client);
}

static void
on_reply_start_next(void *arg, const PgReply *reply)
{
    Client *client = arg;
    const char *sql = client->next_sql;

    cr_assert(reply->ok, "%s", reply->err.text);
    client->next_sql = NULL;
    pg_exec(client->pg, sql, client_on_reply, client);
    /* The first reply stays readable although the next command was started. */
    cr_expect_str_eq(pg_get(reply, 0, 0).ptr, "first");
}

Test(pg, the_next_command_may_start_inside_the_callback)
{
    Client client;

    client_connect(&client);
    client.next_sql = "SELECT 'second'";
    pg_exec(client.pg, "SELECT 'first'", on_reply_start_next, &client);
    cr_expect_str_eq(client_wait(&client)->value, "second");
    client_done(&client);
}

Test(pg, a_command_without_a_connection_fails_in_a_later_turn)
{
    Client client;

    client_init(&client, server_url(), CLIENT_CONNECT_MS);
    pg_exec(client.pg, "SELECT 1", client_on_reply, &client);
    cr_expect_eq(client.seen.count, 0);
    cr_expect(pg_busy(client.pg));
    cr_expect_not(client_wait(&client)->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    /* A reply that nobody waits for any more does not come. */
    pg_exec(client.pg, "SELECT 1", client_on_reply, &client);
    pg_disconnect(client.pg);
    cr_assert(try_connect(&client)->ok);
    cr_expect_eq(client.seen.count, 2);
    client_done(&client);
}

/* A test's stderr is the program's: libpq would write notices there. */
Test(pg, notices_are_not_written_to_stderr)
{
    Client client;
    FILE *file = tmpfile();
    int saved = dup(2);

    client_connect(&client);
    cr_assert_geq(dup2(fileno(file), 2), 0);
    exec_ok(&client, "DO $$ BEGIN RAISE NOTICE 'x'; RAISE WARNING 'y'; END $$");
    cr_assert_geq(dup2(saved, 2), 0);
    cr_expect_eq(lseek(fileno(file), 0, SEEK_END), 0);
    client_done(&client);
    (void)fclose(file);
    close(saved);
}

/* ---- COPY ---- */

static void
copy_rows(Buf *out, int from, int count)
{
    Error err;

    for (int i = from; i < from + count; i++) {
        cr_assert(buf_printf(out, &err, "%d\tsome text to fill the row with %d\n", i, i));
    }
}

/* Until the next one. */
static void
copy_in(Client *client, const char *sql, Str data)
{
    static Str piece;

    piece = data;
    pg_copy_in(client->pg, sql, &piece, 1, client_on_reply, client);
}

Test(pg, copy_loads_every_row_however_many_slices_it_takes)
{
    static const int counts[] = {0, 1, 2000, 200000};
    Client client;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a int, b text)");
    for (size_t i = 0; i < DS_COUNT(counts); i++) {
        Buf rows;
        char expected[32];

        buf_init(&rows, 64u << 20);
        copy_rows(&rows, 0, counts[i]);
        exec_ok(&client, "TRUNCATE c");
        copy_in(&client, "COPY c FROM STDIN", buf_str(&rows));
        cr_assert(client_wait(&client)->ok, "%s", client.seen.err.text);
        (void)snprintf(expected, sizeof(expected), "COPY %d", counts[i]);
        cr_expect_str_eq(client.seen.tag, expected);
        cr_expect_eq(client.seen.rows_affected, (uint64_t)counts[i]);
        (void)snprintf(expected, sizeof(expected), "%d", counts[i]);
        cr_expect_str_eq(exec_ok(&client, "SELECT count(DISTINCT a) FROM c")->value, expected);
        buf_done(&rows);
    }
    client_done(&client);
}

Test(pg, copy_in_pieces_of_any_size_loads_what_they_are_together)
{
    static const size_t sizes[] = {1, 4096, 65535, 65536, 65537, 1000000};
    Client client;
    Buf rows;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a int, b text)");
    buf_init(&rows, 64u << 20);
    copy_rows(&rows, 0, 20000);
    for (size_t i = 0; i < DS_COUNT(sizes); i++) {
        size_t count = 2 * (rows.len / sizes[i] + 1);
        Str *pieces = mem_array(count, sizeof(*pieces));

        exec_ok(&client, "TRUNCATE c");
        for (size_t at = 0; at < count; at += 2) { /* each second one is empty */
            pieces[at] = str_head(str_skip(buf_str(&rows), at / 2 * sizes[i]), sizes[i]);
        }
        pg_copy_in(client.pg, "COPY c FROM STDIN", pieces, count, client_on_reply, &client);
        cr_assert(client_wait(&client)->ok, "%s", client.seen.err.text);
        cr_expect_str_eq(
            exec_ok(&client,
                    "SELECT count(*) FROM c WHERE b = 'some text to fill the row with ' || a")
                ->value,
            "20000", "pieces of %zu", sizes[i]);
        free(pieces);
    }
    buf_done(&rows);
    client_done(&client);
}

Test(pg, copied_text_comes_back_byte_for_byte)
{
    Client client;
    Buf row;
    Error err;
    static const char text[] = "a\b\f\n\r\t\v\\N\\.\xc3\xa9";

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a text)");
    buf_init(&row, 1024);
    cr_assert(pg_copy_escape(&row, str_c(text), &err) && buf_append_char(&row, '\n', &err));
    copy_in(&client, "COPY c FROM STDIN", buf_str(&row));
    cr_assert(client_wait(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(exec_ok(&client, "SELECT a FROM c")->value, text);
    buf_done(&row);
    client_done(&client);
}

Test(pg, a_bad_row_in_the_middle_of_copy_is_named_and_the_connection_lives)
{
    Client client;
    Buf rows;
    Error err;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a int, b text)");
    exec_ok(&client, "BEGIN");
    buf_init(&rows, 64u << 20);
    copy_rows(&rows, 0, 2);
    cr_assert(buf_append(&rows, STR("x\tnot a number\n"), &err));
    copy_rows(&rows, 3, 200000); /* far more than any buffer holds after the server gave up */
    copy_in(&client, "COPY c FROM STDIN", buf_str(&rows));
    cr_expect_not(client_wait(&client)->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "22P02");
    cr_expect_eq(client.seen.error_class, PG_ERROR_ROW);
    cr_expect_not_null(strstr(client.seen.context, "line 3"), "%s", client.seen.context);
    cr_expect_eq(pg_transaction_state(client.pg), 'E');
    exec_ok(&client, "ROLLBACK");
    cr_expect_str_eq(exec_ok(&client, "SELECT count(*) FROM c")->value, "0");
    buf_done(&rows);
    client_done(&client);
}

Test(pg, copy_where_nobody_can_serve_it_is_an_error_and_no_hang)
{
    Client client;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a int)");
    cr_expect_not(try_exec(&client, "COPY c FROM STDIN")->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "57014");
    cr_expect_str_eq(exec_ok(&client, "SELECT 1")->value, "1");
    copy_in(&client, "SELECT 1", STR("1\n"));
    cr_expect_not(client_wait(&client)->ok);
    cr_expect_eq(client.seen.err.code, ERR_PROTOCOL);
    cr_expect_str_eq(exec_ok(&client, "SELECT 2")->value, "2");
    cr_expect_not(try_exec(&client, "COPY c TO STDOUT")->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    cr_expect_not(pg_connected(client.pg));
    cr_assert(try_connect(&client)->ok);
    client_done(&client);
}

/* ---- losing and cancelling ---- */

static void
kill_backend(int pid)
{
    Client killer;
    char sql[64];

    client_connect(&killer);
    (void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 10000)", pid);
    exec_ok(&killer, sql);
    client_done(&killer);
}

Test(pg, a_connection_lost_while_idle_is_reported_and_can_be_made_again)
{
    Client client;

    client_connect(&client);
    kill_backend(pg_backend_pid(client.pg));
    while (client.lost == 0) {
        loop_run(client.loop);
    }
    cr_expect_not(pg_connected(client.pg));
    cr_expect_eq(client.lost_err.code, ERR_RETRY);
    cr_expect_str_eq(client.lost_err.sqlstate, "57P01", "%s", client.lost_err.text);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(exec_ok(&client, "SELECT 3")->value, "3");
    cr_expect_eq(client.lost, 1);
    client_done(&client);
}

Test(pg, a_connection_lost_under_a_command_fails_the_command_and_nothing_else)
{
    Client client;

    client_connect(&client);
    pg_exec(client.pg, "SELECT pg_sleep(60)", client_on_reply, &client);
    kill_backend(pg_backend_pid(client.pg));
    cr_expect_not(client_wait(&client)->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    cr_expect_str_eq(client.seen.err.sqlstate, "57P01");
    cr_expect_not(pg_connected(client.pg));
    cr_expect_eq(client.lost, 0);
    cr_assert(try_connect(&client)->ok);
    client_done(&client);
}

Test(pg, a_connection_lost_in_the_middle_of_copy_fails_it)
{
    Client client;
    Buf rows;

    client_connect(&client);
    exec_ok(&client, "CREATE TEMP TABLE c (a int, b text)");
    buf_init(&rows, 64u << 20);
    copy_rows(&rows, 0, 500000);
    copy_in(&client, "COPY c FROM STDIN", buf_str(&rows));
    kill_backend(pg_backend_pid(client.pg));
    cr_expect_not(client_wait(&client)->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    buf_done(&rows);
    client_done(&client);
}

static void
on_timer_cancel(void *arg)
{
    Client *client = arg;

    pg_cancel(client->pg);
    pg_cancel(client->pg); /* twice is once */
}

Test(pg, a_cancelled_command_fails_and_the_next_one_is_not_hit)
{
    Client client;

    client_connect(&client);
    client.timer = timer_new(client.loop, on_timer_cancel, &client);
    pg_cancel(client.pg); /* nothing runs: nothing happens */
    /* Short sleeps end while the request is under way; then it must not hit the next command. */
    for (int i = 0; i < 20; i++) {
        char sql[64];

        (void)snprintf(sql, sizeof(sql), "SELECT pg_sleep(%s)", i == 0 ? "60" : "0.003");
        timer_start(client.timer, i == 0 ? 20 : 2);
        (void)try_exec(&client, sql);
        cr_expect(client.seen.ok || client.seen.error_class == PG_ERROR_TRANSIENT);
        cr_expect(i > 0 || strcmp(client.seen.err.sqlstate, "57014") == 0);
        timer_stop(client.timer);
        exec_ok(&client, "SELECT pg_sleep(0.005)");
    }
    timer_free(client.timer);
    client_done(&client);
}

static void
leave_a_command(Client *watcher)
{
    Client client;
    char sql[128];
    int64_t deadline = clock_mono_ms() + 30000;

    client_connect(&client);
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM pg_stat_activity WHERE pid = %d",
                   pg_backend_pid(client.pg));
    pg_exec(client.pg, "SELECT pg_sleep(600)", client_on_reply, &client);
    pg_disconnect(client.pg);
    cr_expect_not(pg_busy(client.pg));
    client_done(&client); /* runs the thread pool's work to its end */
    cr_expect_eq(client.seen.count, 1, "only the reply to the connect");
    while (strcmp(exec_ok(watcher, sql)->value, "0") != 0) {
        cr_assert_lt(clock_mono_ms(), deadline);
    }
}

/* Now and then the request to cancel overtakes the command. */
Test(pg, a_command_whose_owner_left_is_cancelled_in_the_server)
{
    Client watcher;

    client_connect(&watcher);
    for (int i = 0; i < 30; i++) {
        leave_a_command(&watcher);
    }
    client_done(&watcher);
}

/* ---- freeing at any moment (the address sanitizer judges) ---- */

Test(pg, freeing_is_safe_under_a_command_and_under_copy)
{
    Buf rows;

    buf_init(&rows, 64u << 20);
    copy_rows(&rows, 0, 200000);
    for (int turn = 0; turn < 4; turn++) {
        Client client;

        client_connect(&client);
        if (turn % 2 == 0) {
            pg_exec(client.pg, "SELECT pg_sleep(60)", client_on_reply, &client);
        } else {
            exec_ok(&client, "CREATE TEMP TABLE c (a int, b text)");
            copy_in(&client, "COPY c FROM STDIN", buf_str(&rows));
        }
        if (turn >= 2) {
            client_run_ms(&client, 5);
        }
        client_done(&client);
    }
    buf_done(&rows);
}

static void
on_reply_free(void *arg, const PgReply *reply)
{
    Client *client = arg;

    pg_free(client->pg);
    client->pg = NULL;
    client->seen.ok = reply->ok;
    client->seen.count++;
    (void)strlcpy(client->seen.tag, reply->tag, sizeof(client->seen.tag)); /* still readable */
    loop_stop(client->loop);
}

static void
on_reply_fail_free(void *arg, const PgReply *reply)
{
    cr_expect_not(reply->ok);
    on_reply_free(arg, reply);
}

Test(pg, freeing_is_safe_inside_any_callback)
{
    Client client;

    client_init(&client, server_url(), CLIENT_CONNECT_MS);
    pg_connect(client.pg, on_reply_free, &client);
    cr_expect(client_wait(&client)->ok);
    client_done(&client);

    client_connect(&client);
    pg_exec(client.pg, "SELECT 1", on_reply_free, &client);
    cr_expect_str_eq(client_wait(&client)->tag, "SELECT 1");
    client_done(&client);

    client_connect(&client);
    pg_exec(client.pg, "SELECT pg_terminate_backend(pg_backend_pid())", on_reply_fail_free,
            &client);
    cr_expect_not(client_wait(&client)->ok);
    client_done(&client);

    client_init(&client, "no connection string", CLIENT_CONNECT_MS);
    pg_connect(client.pg, on_reply_fail_free, &client);
    cr_expect_not(client_wait(&client)->ok);
    client_done(&client);

    client_init(&client, server_url(), CLIENT_CONNECT_MS);
    pg_exec(client.pg, "SELECT 1", on_reply_fail_free, &client);
    pg_free(client.pg); /* before the reply that says "not connected" */
    client.pg = NULL;
    client_done(&client);
    cr_expect_eq(client.seen.count, 0);
}
