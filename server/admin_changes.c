/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/admin_changes.c -- GET /admin/streams?since=: the changes since a token, waiting for the
 * next one.
 */
#include "server/admin_internal.h"

#include <inttypes.h>

#include "common/mem.h"
#include "server/live_loop.h"
#include "server/op.h"

/* Waits for the next change, as a long-poll of the journal. */
typedef struct Follower {
    Waiter waiter;
    LiveEntry live;
    App *app;
    NetLoop *net;
    HttpExchange *exchange;
    LoopTimer *timer;
    Offset token;
    size_t limit;
} Follower;

static void
put_change(Buf *out, const JournalEntry *entry)
{
    static const Str kinds[] = {
        [JOURNAL_CREATED] = STR("{\"change\":\"created\",\"name\":"),
        [JOURNAL_CLOSED] = STR("{\"change\":\"closed\",\"name\":"),
        [JOURNAL_DELETED] = STR("{\"change\":\"deleted\",\"name\":"),
    };
    char era[40];

    admin_put(out, kinds[entry->kind]);
    admin_put_string(out, str_n(entry->name, entry->name_len));
    snprintf(era, sizeof(era), ",\"era\":\"%016" PRIx64 "\"}", entry->era);
    admin_put(out, str_c(era));
}

static void
answer(HttpExchange *exchange, const JournalEntry *entries, size_t count, Offset token)
{
    char text[OFFSET_OWN_BYTES + 1];
    Buf out;

    buf_init(&out, ADMIN_REPLY_BYTES_MAX);
    admin_put(&out, STR("{\"changes\":["));
    for (size_t i = 0; i < count; i++) {
        admin_put(&out, i == 0 ? STR("") : STR(","));
        put_change(&out, &entries[i]);
    }
    offset_format(token, text);
    admin_put(&out, STR("],\"token\":\""));
    admin_put(&out, str_c(text));
    admin_put(&out, STR("\"}"));
    admin_reply(exchange, &out);
}

/* False: there is nothing new, and the exchange is not answered. */
static bool
answer_if_new(App *app, HttpExchange *exchange, Offset token, size_t limit)
{
    JournalEntry *entries = mem_array(limit, sizeof(*entries));
    size_t count = 0;
    Error err;
    bool answered = true;

    if (!journal_read(app->store->journal, token, entries, limit, &count, &token, &err)) {
        op_problem(exchange, 410, "GONE", err.text);
    } else if (count > 0) {
        answer(exchange, entries, count, token);
    } else {
        answered = false;
    }
    for (size_t i = 0; i < count; i++) {
        free(entries[i].name);
    }
    free(entries);
    return answered;
}

static void
follower_end(void *arg)
{
    Follower *follower = arg;

    wake_leave(&follower->waiter);
    live_leave(&follower->live);
    timer_free(follower->timer);
    loop_defer_free(net_loop_loop(follower->net), follower);
}

static void
follower_step(Waiter *waiter)
{
    Follower *follower = DS_CONTAINER_OF(waiter, Follower, waiter);

    if (answer_if_new(follower->app, follower->exchange, follower->token, follower->limit)) {
        follower_end(follower);
    }
}

static void
follower_timed_out(void *arg)
{
    Follower *follower = arg;

    answer(follower->exchange, NULL, 0, follower->token);
    follower_end(follower);
}

static void
follower_drain(LiveEntry *entry)
{
    follower_timed_out(DS_CONTAINER_OF(entry, Follower, live));
}

static void
follow(App *app, HttpExchange *exchange, Offset token, size_t limit)
{
    Follower *follower = mem_zalloc(sizeof(*follower));
    NetLoop *net = exchange_loop(exchange);

    follower->waiter.on_wake = follower_step;
    follower->live.on_drain = follower_drain;
    follower->app = app;
    follower->net = net;
    follower->exchange = exchange;
    follower->token = token;
    follower->limit = limit;
    follower->timer = timer_new(net_loop_loop(net), follower_timed_out, follower);
    timer_start(follower->timer, app->config->long_poll_ms);
    live_join(net, &follower->live);
    exchange_wait(exchange, follower_end, follower);
    journal_wait(app->store->journal, net, &follower->waiter);
    follower_step(&follower->waiter);
}

void
admin_changes(App *app, HttpExchange *exchange, Str raw, size_t limit)
{
    Offset token;

    if (!offset_parse(raw, &token)) {
        op_problem(exchange, 400, "BAD_REQUEST", "since must be the token of an earlier answer");
    } else if (answer_if_new(app, exchange, token, limit)) {
        return;
    } else if (live_is_draining(exchange_loop(exchange))) {
        answer(exchange, NULL, 0, token);
    } else {
        follow(app, exchange, token, limit);
    }
}
