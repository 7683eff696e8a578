/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server_config.h"

#include <criterion/criterion.h>

static bool
load(ServerConfig *config, char **environment, Error *err)
{
    char *argv[] = {"ds-server", NULL};
    ConfigLoad request = {.argc = 1, .argv = argv, .environ_ = environment};
    bool ok = server_config_load(config, &request, err);

    config_load_done(&request);
    return ok;
}

Test(server_config, the_defaults_are_those_of_the_reference)
{
    ServerConfig config;
    Error err;

    cr_assert(load(&config, (char *[]){NULL}, &err), "%s", err.text);
    cr_expect_str_eq(config.bind_address, "0.0.0.0:4437");
    cr_expect_str_eq(config.admin_listen, "127.0.0.1:4439");
    cr_expect_str_eq(config.stream_base_path, "/v1/stream");
    cr_expect_str_eq(config.cors_origins, "*");
    cr_expect_eq(config.storage_mode, STORAGE_MEMORY);
    cr_expect_str_eq(config.storage.data_dir, "./data/streams");
    cr_expect_eq(config.storage.acid_shard_count, 16);
    cr_expect_eq(config.limits.memory_bytes, 104857600);
    cr_expect_eq(config.limits.stream_bytes, 10485760);
    cr_expect_eq(config.limits.request_body_bytes, 10485760);
    cr_expect_eq(config.limits.stream_name_bytes, 1024);
    cr_expect_eq(config.limits.stream_name_segments, 8);
    cr_expect_eq(config.limits.read_page_bytes, 4 * 1024 * 1024);
    cr_expect_eq(config.long_poll_ms, 30000);
    cr_expect_eq(config.sse_reconnect_ms, 60000);
    server_config_done(&config);
}

Test(server_config, older_names_and_bare_seconds_are_understood)
{
    char *environment[] = {"DS_SERVER__LONG_POLL_TIMEOUT_SECS=5",
                           "DS_SERVER__SSE_RECONNECT_INTERVAL_SECS=0", "DS_SERVER__PORT=4500",
                           "RUST_LOG=debug", NULL};
    ServerConfig config;
    Error err;

    cr_assert(load(&config, environment, &err), "%s", err.text);
    cr_expect_eq(config.long_poll_ms, 5000);
    cr_expect_eq(config.sse_reconnect_ms, 0);
    cr_expect_eq(config.port, 4500);
    cr_expect_str_eq(config.log_filter, "debug");
    server_config_done(&config);
}

Test(server_config, all_that_is_not_legal_is_said_at_one_go)
{
    char *environment[] = {"DS_SERVER__PORT=x", "DS_SERVER__BIND_ADDRESS=nowhere",
                           "DS_STORAGE__ACID_SHARD_COUNT=3", "DS_TLS__CERT_PATH=/cert", NULL};
    static const char *const parts[] = {"DS_SERVER__PORT", "DS_SERVER__BIND_ADDRESS",
                                        "DS_STORAGE__ACID_SHARD_COUNT", "DS_TLS__CERT_PATH"};
    char *argv[] = {"ds-server", NULL};
    ConfigLoad request = {.argc = 1, .argv = argv, .environ_ = environment};
    ServerConfig config;
    Error err;

    cr_assert_not(server_config_load(&config, &request, &err));
    cr_expect_not_null(strstr(err.text, parts[0]), "%s", err.text);
    for (size_t i = 0; i < DS_COUNT(parts); i++) {
        cr_expect_not_null(strstr(buf_cstr(&request.problems), parts[i]), "%s", parts[i]);
    }
    config_load_done(&request);
}

Test(server_config, a_duration_may_name_its_unit)
{
    char *environment[] = {"DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS=500ms", NULL};
    ServerConfig config;
    Error err;

    cr_assert(load(&config, environment, &err), "%s", err.text);
    cr_expect_eq(config.long_poll_ms, 500);
    server_config_done(&config);
}

Test(server_config, what_is_not_legal_is_refused_by_name)
{
    static const struct {
        char *setting;
        const char *text;
    } cases[] = {
        {"DS_STORAGE__MODE=tape", "DS_STORAGE__MODE"},
        {"DS_STORAGE__ACID_SHARD_COUNT=3", "not a power of two"},
        {"DS_STORAGE__ACID_SHARD_COUNT=512", "DS_STORAGE__ACID_SHARD_COUNT"},
        {"DS_STORAGE__WAL_SHARD_COUNT=128", "DS_STORAGE__WAL_SHARD_COUNT"},
        {"DS_STORAGE__WAL_SHARD_COUNT=6", "not a power of two"},
        {"DS_STORAGE__WAL_SEGMENT_BYTES=65535", "DS_STORAGE__WAL_SEGMENT_BYTES"},
        {"DS_STORAGE__WAL_SEGMENT_BYTES=65537", "a multiple of 4096"},
        {"DS_STORAGE__CHECKPOINT_INTERVAL=1ms", "DS_STORAGE__CHECKPOINT_INTERVAL"},
        {"DS_HTTP__STREAM_BASE_PATH=/v1/", "DS_HTTP__STREAM_BASE_PATH"},
        {"DS_HTTP__STREAM_BASE_PATH=v1", "DS_HTTP__STREAM_BASE_PATH"},
        {"DS_HTTP__STREAM_BASE_PATH=/", "DS_HTTP__STREAM_BASE_PATH"},
        {"DS_HTTP__STREAM_BASE_PATH=/a//b", "DS_HTTP__STREAM_BASE_PATH"},
        {"DS_HTTP__STREAM_BASE_PATH=/a?b", "DS_HTTP__STREAM_BASE_PATH"},
        {"DS_HTTP__CORS_ORIGINS=example.com", "DS_HTTP__CORS_ORIGINS"},
        {"DS_SERVER__PORT=65536", "DS_SERVER__PORT"},
        {"DS_SERVER__LONG_POLL_TIMEOUT_SECS=0", "LONG_POLL"},
        {"DS_LIMITS__MAX_STREAM_BYTES=0", "DS_LIMITS__MAX_STREAM_BYTES"},
        {"DS_LIMITS__MAX_CONNECTIONS=x", "DS_LIMITS__MAX_CONNECTIONS"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        ServerConfig config;
        Error err = {0};

        cr_expect_not(load(&config, (char *[]){cases[i].setting, NULL}, &err), "%s",
                      cases[i].setting);
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect_not_null(strstr(err.text, cases[i].text), "%s", err.text);
    }
}
