/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/pg_client.h"

#include <arpa/inet.h>
#include <bsd/string.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/pg_internal.h"

TestSuite(pg_connect, .timeout = 60);

Test(pg_connect, a_connection_is_idle_in_utf8_and_names_its_application)
{
    Client client;

    client_init(&client, server_url(), CLIENT_CONNECT_MS);
    cr_expect_not(pg_connected(client.pg));
    cr_expect_eq(pg_transaction_state(client.pg), ' ');
    cr_expect_eq(pg_server_version(client.pg), 0);
    pg_connect(client.pg, client_on_reply, &client);
    cr_expect(pg_busy(client.pg));
    cr_expect_eq(client.seen.count, 0, "no callback inside the call");
    cr_assert(client_wait(&client)->ok, "%s", client.seen.err.text);
    cr_expect(pg_connected(client.pg));
    cr_expect_not(pg_busy(client.pg));
    cr_expect_eq(pg_transaction_state(client.pg), 'I');
    cr_expect_geq(pg_server_version(client.pg), 150000);
    cr_expect_gt(pg_backend_pid(client.pg), 0);
    cr_expect_str_eq(exec_ok(&client, "SHOW client_encoding")->value, "UTF8");
    cr_expect_str_eq(exec_ok(&client, "SHOW application_name")->value, "test_pg");
    client_done(&client);
}

Test(pg_connect, the_string_decides_before_our_defaults)
{
    Client client;
    char url[512];

    (void)snprintf(url, sizeof(url), "%s?application_name=mine&client_encoding=UTF8", server_url());
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(exec_ok(&client, "SHOW application_name")->value, "mine");
    client_done(&client);
}

static const char *
parameter(const Client *client, const char *keyword)
{
    static char value[64];
    PQconninfoOption *options = PQconninfo(client->pg->conn);

    value[0] = '\0';
    for (PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, keyword) == 0 && option->val != NULL) {
            cr_assert_lt(strlcpy(value, option->val, sizeof(value)), sizeof(value));
        }
    }
    PQconninfoFree(options);
    return value;
}

/* PgBouncer refuses startup options, so nothing of ours may be one. */
Test(pg_connect, dead_peers_are_noticed_by_connection_parameters)
{
    Client client;
    char url[512];

    (void)snprintf(url, sizeof(url), "%s?keepalives_idle=7", server_url());
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(parameter(&client, "keepalives_idle"), "7");
    cr_expect_str_eq(parameter(&client, "keepalives_interval"), "10");
    cr_expect_str_eq(parameter(&client, "keepalives_count"), "3");
    cr_expect_str_eq(parameter(&client, "tcp_user_timeout"), "30000");
    cr_expect_str_eq(parameter(&client, "options"), "");
    cr_expect_str_eq(parameter(&client, "host"), "127.0.0.1");
    client_done(&client);
}

Test(pg_connect, another_client_encoding_is_refused)
{
    Client client;
    char url[512];

    (void)snprintf(url, sizeof(url), "%s?client_encoding=LATIN1", server_url());
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_eq(client.seen.err.code, ERR_CONFIG);
    cr_expect_eq(client.seen.error_class, PG_ERROR_PERMANENT);
    cr_expect_not(pg_connected(client.pg));
    client_done(&client);
}

/* libpq quotes the part that it does not understand; here that part is the password. */
Test(pg_connect, a_bad_connection_string_is_a_config_error_that_hides_the_password)
{
    static const char *const urls[] = {
        "postgresql://user:hunter2%zz@host/db",
        "password=hunter2 hunter2",
        "host=x password='hunter2",
        "hunter2",
        "postgresql://u:p@h/db?password=hunter2&hunter2",
        "postgresql://u:hunter2@h:port:port/db",
        "postgresql://u:p@[hunter2/db",
        "hunter2=\"x\" y",
    };

    for (size_t i = 0; i < DS_COUNT(urls); i++) {
        Client client;

        client_init(&client, urls[i], CLIENT_CONNECT_MS);
        cr_expect_not(try_connect(&client)->ok, "%s", urls[i]);
        cr_expect_null(strstr(client.seen.err.text, "hunter2"), "%s", client.seen.err.text);
        cr_expect_neq(client.seen.error_class, PG_ERROR_NONE);
        client_done(&client);
    }
}

Test(pg_connect, a_missing_database_or_role_is_for_the_operator)
{
    Client client;
    char url[512];
    const char *port = getenv("POSTGRES_PORT");

    (void)snprintf(url, sizeof(url), "host=127.0.0.1 port=%s user=postgres dbname=nosuch", port);
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "3D000");
    cr_expect_eq(client.seen.error_class, PG_ERROR_PERMANENT);
    cr_expect_eq(client.seen.err.code, ERR_CONFIG);
    client_done(&client);

    (void)snprintf(url, sizeof(url), "host=127.0.0.1 port=%s user=nosuch dbname=postgres", port);
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_str_eq(client.seen.err.sqlstate, "28000");
    cr_expect_eq(client.seen.err.code, ERR_AUTH);
    client_done(&client);
}

/* A listening socket that nobody accepts from: a connection opens, and nothing is ever answered. */
static int
silent_server(char *out_port, size_t size)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    cr_assert_eq(listen(fd, 16), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
    (void)snprintf(out_port, size, "%u", ntohs(addr.sin_port));
    return fd;
}

/* A bound socket that does not listen: connections are refused as long as it is open. */
static int
refusing_port(char *out_port, size_t size)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
    (void)snprintf(out_port, size, "%u", ntohs(addr.sin_port));
    return fd;
}

Test(pg_connect, a_refused_connection_or_an_unknown_host_may_be_tried_again)
{
    Client client;
    char port[16];
    char url[512];
    int fd = refusing_port(port, sizeof(port));

    (void)snprintf(url, sizeof(url), "host=127.0.0.1 port=%s user=u password=hunter2", port);
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    cr_expect_eq(client.seen.err.code, ERR_RETRY);
    cr_expect_null(strstr(client.seen.err.text, "hunter2"));
    cr_expect_not(try_connect(&client)->ok, "a second attempt is legal");
    client_done(&client);
    close(fd);

    client_init(&client, "host=no-such-host.invalid user=u", CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    cr_expect_not_null(strstr(client.seen.err.text, "no-such-host.invalid"));
    client_done(&client);
}

Test(pg_connect, hosts_are_tried_in_order_and_names_with_several_addresses_resolved)
{
    Client client;
    char refused[16];
    char url[512];
    int fd = refusing_port(refused, sizeof(refused));

    (void)snprintf(
        url, sizeof(url),
        "postgresql://postgres@127.0.0.1:%s,no-such-host.invalid:1,localhost:%s/postgres", refused,
        getenv("POSTGRES_PORT"));
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    client_done(&client);
    close(fd);
}

Test(pg_connect, a_unix_socket_works_alone_and_in_a_list)
{
    Client client;
    char url[512];
    const char *port = getenv("POSTGRES_PORT");

    (void)snprintf(url, sizeof(url), "host=%s port=%s user=postgres", getenv("POSTGRES_SOCKET_DIR"),
                   port);
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    client_done(&client);
    (void)snprintf(url, sizeof(url), "host=/nonexistent,%s,localhost port=%s user=postgres",
                   getenv("POSTGRES_SOCKET_DIR"), port);
    client_init(&client, url, CLIENT_CONNECT_MS);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    cr_expect_str_eq(exec_ok(&client, "SELECT inet_server_addr() IS NULL")->value, "t");
    client_done(&client);
}

Test(pg_connect, a_host_that_answers_nothing_times_out_and_the_next_attempt_begins_behind_it)
{
    Client client;
    char silent[16];
    char url[512];
    int fd = silent_server(silent, sizeof(silent));

    (void)snprintf(url, sizeof(url), "host=127.0.0.1,127.0.0.1 port=%s,%s user=postgres", silent,
                   getenv("POSTGRES_PORT"));
    client_init(&client, url, 300);
    int64_t start = clock_mono_ms();
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_geq(clock_mono_ms() - start, 290);
    cr_expect_eq(client.seen.error_class, PG_ERROR_CONNECTION);
    cr_assert(try_connect(&client)->ok, "%s", client.seen.err.text);
    client_done(&client);
    close(fd);
}

Test(pg_connect, too_many_hosts_and_unequal_lists_are_refused)
{
    Client client;

    client_init(&client, "host=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_eq(client.seen.err.code, ERR_LIMIT);
    client_done(&client);
    client_init(&client, "host=a,b,c port=1,2", CLIENT_CONNECT_MS);
    cr_expect_not(try_connect(&client)->ok);
    cr_expect_eq(client.seen.err.code, ERR_CONFIG);
    client_done(&client);
}

Test(pg_connect, freeing_is_safe_while_resolving_and_connecting)
{
    char url[512];

    for (int turn = 0; turn < 6; turn++) {
        Client client;

        (void)snprintf(url, sizeof(url), "host=localhost,localhost port=%s user=postgres",
                       getenv("POSTGRES_PORT"));
        client_init(&client, url, CLIENT_CONNECT_MS);
        pg_connect(client.pg, client_on_reply, &client);
        if (turn > 0) {
            client_run_ms(&client, turn - 1);
        }
        client_done(&client);
    }
}
