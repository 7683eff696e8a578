/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/control_link.h"

#include <criterion/criterion.h>

#include "tests/support/pg_client.h"

#define ANSWERS_MAX 256

typedef struct Asker {
    Loop *loop;
    Secret url;
    ControlLink *link;
    int expected;
    int answers;
    PgReply last; /* class and error only */
    char values[ANSWERS_MAX][64];
    bool ok[ANSWERS_MAX];
} Asker;

TestSuite(control_link, .timeout = 60);

static void
on_answer(void *arg, const PgReply *reply)
{
    Asker *asker = arg;

    cr_assert_lt(asker->answers, ANSWERS_MAX);
    asker->ok[asker->answers] = reply->ok;
    asker->last = (PgReply){.error_class = reply->error_class, .err = reply->err};
    if (reply->ok && reply->rows > 0) {
        (void)snprintf(asker->values[asker->answers], sizeof(asker->values[0]), "%.*s",
                       STR_ARG(pg_get(reply, 0, 0)));
    }
    if (++asker->answers == asker->expected) {
        loop_stop(asker->loop);
    }
}

static void
wait_answers(Asker *asker, int count)
{
    asker->expected = count;
    while (asker->answers < count) {
        loop_run(asker->loop);
    }
}

static void
asker_init(Asker *asker, Str url, int64_t command_ms)
{
    *asker = (Asker){.loop = loop_new()};
    secret_set(&asker->url, url);
    asker->link = control_link_new(asker->loop, &(ControlLinkConfig){
                                                    .postgres_url = &asker->url,
                                                    .application_name = "test_control_link",
                                                    .command_ms_max = command_ms,
                                                    .backoff_base_ms = 1,
                                                    .backoff_max_ms = 5,
                                                });
}

static void
asker_done(Asker *asker)
{
    control_link_free(asker->link);
    loop_free(asker->loop);
    secret_done(&asker->url);
}

static void
ask(Asker *asker, const char *sql)
{
    control_link_query(asker->link, sql, NULL, 0, on_answer, asker);
}

Test(control_link, statements_are_answered_one_by_one_in_order)
{
    Asker asker;
    const char *params[] = {"left", NULL};

    asker_init(&asker, str_c(server_url()), 30000);
    control_link_query(asker.link, "SELECT $1::text || coalesce($2::text, '-')", params, 2,
                       on_answer, &asker);
    ask(&asker, "SELECT nosuch");
    ask(&asker, "SELECT 'third'");
    cr_expect_eq(asker.answers, 0, "no answer comes inside the call");
    wait_answers(&asker, 3);
    cr_expect_str_eq(asker.values[0], "left-");
    cr_expect_not(asker.ok[1]);
    cr_expect_str_eq(asker.values[2], "third", "an error of one does not hold up the next");
    cr_expect(control_link_is_up(asker.link));
    asker_done(&asker);
}

Test(control_link, without_postgres_every_statement_is_answered_and_none_is_repeated)
{
    Asker asker;

    asker_init(&asker, STR("host=127.0.0.1 port=1 dbname=none"), 1000);
    for (int i = 0; i < 3; i++) {
        ask(&asker, "SELECT 1");
    }
    wait_answers(&asker, 3);
    cr_expect_eq(asker.last.error_class, PG_ERROR_CONNECTION);
    cr_expect_not(control_link_is_up(asker.link));
    ask(&asker, "SELECT 1");
    wait_answers(&asker, 4);
    cr_expect_not(asker.ok[3]);
    asker_done(&asker);
}

Test(control_link, a_lost_connection_is_made_again_by_itself)
{
    Asker asker;

    asker_init(&asker, str_c(server_url()), 30000);
    ask(&asker, "SELECT pg_terminate_backend(pg_backend_pid())");
    wait_answers(&asker, 1);
    cr_expect_not(asker.ok[0]);
    cr_expect_eq(asker.last.error_class, PG_ERROR_CONNECTION);
    ask(&asker, "SELECT 'again'");
    wait_answers(&asker, 2);
    cr_expect_str_eq(asker.values[1], "again");
    asker_done(&asker);
}

Test(control_link, a_silent_server_is_given_up)
{
    Asker asker;

    asker_init(&asker, str_c(server_url()), 1000);
    ask(&asker, "SET statement_timeout = 0");
    ask(&asker, "SELECT pg_sleep(50)");
    wait_answers(&asker, 2);
    cr_expect_not(asker.ok[1]);
    cr_expect_eq(asker.last.error_class, PG_ERROR_CONNECTION);
    asker_done(&asker);
}

Test(control_link, the_server_ends_what_takes_too_long_and_the_connection_stays)
{
    Asker asker;

    asker_init(&asker, str_c(server_url()), 20000);
    ask(&asker, "SHOW statement_timeout");
    ask(&asker, "SELECT set_config('statement_timeout', '1s', false)");
    ask(&asker, "SELECT pg_sleep(50)");
    ask(&asker, "SHOW statement_timeout");
    wait_answers(&asker, 4);
    cr_expect_str_eq(asker.values[0], "15s");
    cr_expect_not(asker.ok[2]);
    cr_expect_eq(asker.last.error_class, PG_ERROR_NONE);
    cr_expect_str_eq(asker.values[3], "1s", "the session is another one");
    asker_done(&asker);
}

Test(control_link, the_line_is_bounded_and_who_is_too_late_is_told)
{
    Asker asker;
    int refused = 0;

    asker_init(&asker, str_c(server_url()), 30000);
    for (int i = 0; i < CONTROL_LINK_WAITING_MAX + 2; i++) {
        ask(&asker, "SELECT 1");
    }
    wait_answers(&asker, CONTROL_LINK_WAITING_MAX + 2);
    for (int i = 0; i < asker.answers; i++) {
        refused += !asker.ok[i];
    }
    cr_expect_eq(refused, 2);
    asker_done(&asker);
}

Test(control_link, whoever_is_forgotten_is_not_called)
{
    Asker asker;
    Asker gone = {0};

    asker_init(&asker, str_c(server_url()), 30000);
    control_link_query(asker.link, "SELECT 1", NULL, 0, on_answer, &gone);
    ask(&asker, "SELECT 2");
    control_link_forget(asker.link, &gone);
    wait_answers(&asker, 1);
    cr_expect_eq(gone.answers, 0);
    cr_expect_str_eq(asker.values[0], "2");
    asker_done(&asker);
}
