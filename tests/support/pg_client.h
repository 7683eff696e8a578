/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/pg_client.h -- one connection that a test drives step by step, and what it replied.
 *
 * Needs a real server: run by tests/support/with-postgres, which sets POSTGRES_URL, POSTGRES_PORT
 * and POSTGRES_SOCKET_DIR.
 */
#pragma once

#include "common/pg.h"

#define CLIENT_CONNECT_MS 10000

/* What is kept of the last reply. */
typedef struct Seen {
    int count;
    bool ok;
    PgErrorClass error_class;
    Error err;
    char tag[64];
    char context[256];
    char constraint[64];
    char table[64];
    char value[128]; /* row 0, column 0 */
    uint64_t rows_affected;
    int rows;
} Seen;

typedef struct Client {
    Loop *loop;
    Secret url;
    Pg *pg;
    Seen seen;
    int lost;
    Error lost_err;
    LoopTimer *timer;
    const char *next_sql; /* started inside the callback */
} Client;

const char *server_url(void);
void client_init(Client *client, const char *url, int64_t connect_ms);
void client_done(Client *client);
void client_connect(Client *client); /* init and connect to server_url; must succeed */
void client_run_ms(Client *client, int64_t ms);

/* Start it and wait for the reply; the result is borrowed until the next one. */
const Seen *client_wait(Client *client);
const Seen *try_connect(Client *client);
const Seen *try_exec(Client *client, const char *sql);
const Seen *exec_ok(Client *client, const char *sql);

void client_on_reply(void *arg, const PgReply *reply); /* a PgReplyFn: keeps it in client->seen */
