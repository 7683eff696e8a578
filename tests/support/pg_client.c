/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/pg_client.h"

#include <bsd/string.h>
#include <criterion/criterion.h>

void
client_on_reply(void *arg, const PgReply *reply)
{
    Client *client = arg;
    Seen *seen = &client->seen;
    int count = seen->count + 1;

    *seen = (Seen){
        .count = count,
        .ok = reply->ok,
        .error_class = reply->error_class,
        .err = reply->err,
        .rows_affected = reply->rows_affected,
        .rows = reply->rows,
    };
    (void)strlcpy(seen->tag, reply->tag, sizeof(seen->tag));
    (void)strlcpy(seen->context, reply->context, sizeof(seen->context));
    (void)strlcpy(seen->constraint, reply->constraint, sizeof(seen->constraint));
    (void)strlcpy(seen->table, reply->table, sizeof(seen->table));
    if (reply->rows > 0 && !pg_is_null(reply, 0, 0)) {
        (void)strlcpy(seen->value, pg_get(reply, 0, 0).ptr, sizeof(seen->value));
    }
    loop_stop(client->loop);
}

static void
on_lost(void *arg, const Error *err)
{
    Client *client = arg;

    client->lost++;
    client->lost_err = *err;
    loop_stop(client->loop);
}

void
client_init(Client *client, const char *url, int64_t connect_ms)
{
    *client = (Client){.loop = loop_new()};
    secret_set(&client->url, str_c(url));
    client->pg = pg_new(client->loop, &(PgConfig){
                                          .url = &client->url,
                                          .application_name = "test_pg",
                                          .connect_ms_max = connect_ms,
                                          .on_lost = on_lost,
                                          .arg = client,
                                      });
}

void
client_done(Client *client)
{
    pg_free(client->pg);
    loop_free(client->loop);
    secret_done(&client->url);
}

const Seen *
client_wait(Client *client)
{
    int count = client->seen.count;

    while (client->seen.count == count) {
        loop_run(client->loop);
    }
    return &client->seen;
}

const Seen *
try_connect(Client *client)
{
    pg_connect(client->pg, client_on_reply, client);
    return client_wait(client);
}

const Seen *
try_exec(Client *client, const char *sql)
{
    pg_exec(client->pg, sql, client_on_reply, client);
    return client_wait(client);
}

const Seen *
exec_ok(Client *client, const char *sql)
{
    const Seen *seen = try_exec(client, sql);

    cr_assert(seen->ok, "%s: %s", sql, seen->err.text);
    return seen;
}

const char *
server_url(void)
{
    const char *url = getenv("POSTGRES_URL");

    cr_assert_not_null(url, "run by tests/support/with-postgres");
    return url;
}

void
client_connect(Client *client)
{
    client_init(client, server_url(), CLIENT_CONNECT_MS);
    cr_assert(try_connect(client)->ok, "%s", client->seen.err.text);
}

static void
on_time(void *arg)
{
    loop_stop(arg);
}

void
client_run_ms(Client *client, int64_t ms)
{
    LoopTimer *timer = timer_new(client->loop, on_time, client->loop);

    timer_start(timer, ms);
    loop_run(client->loop);
    timer_free(timer);
}
