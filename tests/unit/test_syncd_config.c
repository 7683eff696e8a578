/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/syncd_config.h"

#include <criterion/criterion.h>

static bool
load(SyncdConfig *config, const char *const *variables, Error *err)
{
    char *argv[] = {(char *)"syncd", NULL};
    ConfigLoad options = {.argc = 1, .argv = argv, .environ_ = (char **)(uintptr_t)variables};
    bool ok = syncd_config_load(config, &options, err);

    config_load_done(&options);
    return ok;
}

static void
expect_refused(const char *variable, const char *because)
{
    const char *const variables[] = {variable, NULL};
    SyncdConfig config = {0};
    Error err = {0};

    cr_expect_not(load(&config, variables, &err), "%s was accepted", variable);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_not_null(strstr(err.text, because), "%s: %s", variable, err.text);
    syncd_config_done(&config);
}

Test(syncd_config, the_defaults_are_good_and_name_this_instance)
{
    const char *const variables[] = {NULL};
    SyncdConfig config = {0};
    Error err;

    cr_assert(load(&config, variables, &err), "%s", err.text);
    cr_expect_eq(config.stream_count, 0);
    cr_expect_str_eq(config.source, "default");
    cr_expect_eq(config.limits.batch_rows, 5000);
    cr_expect_eq(config.timeouts.idle_ms, 75000);
    cr_expect(config.electric_pads);
    cr_expect_gt(strlen(config.instance), 0);
    syncd_config_done(&config);
}

Test(syncd_config, streams_are_split_at_commas_and_trimmed)
{
    const char *const variables[] = {"SYNCD_STREAMS= a/b , c ,d", "DS_SERVER_URL=http://h:1//",
                                     NULL};
    SyncdConfig config = {0};
    Error err;

    cr_assert(load(&config, variables, &err), "%s", err.text);
    cr_assert_eq(config.stream_count, 3);
    cr_expect_str_eq(config.streams[0], "a/b");
    cr_expect_str_eq(config.streams[1], "c");
    cr_expect_str_eq(config.streams[2], "d");
    cr_expect_str_eq(config.servers.servers[0].url, "http://h:1");
    syncd_config_done(&config);
}

Test(syncd_config, what_cannot_be_the_name_of_a_stream_is_refused)
{
    expect_refused("SYNCD_STREAMS=a,,b", "no name");
    expect_refused("SYNCD_STREAMS=a,", "no name");
    expect_refused("SYNCD_STREAMS=a//b", "segment");
    expect_refused("SYNCD_STREAMS=/a", "segment");
    expect_refused("SYNCD_STREAMS=a/../b", "segment");
    expect_refused("SYNCD_STREAMS=a,b,a", "twice");
    expect_refused("SYNCD_STREAMS=\xff", "no name");
}

Test(syncd_config, a_server_url_that_is_no_origin_is_refused)
{
    expect_refused("DS_SERVER_URL=localhost:4437", "http://");
    expect_refused("DS_SERVER_URL=http://user:pass@host", "without user");
    expect_refused("DS_SERVER_URL=http://host/?x=1", "query");
}

Test(syncd_config, half_a_client_certificate_is_refused)
{
    expect_refused("SYNCD_DS_CERT_FILE=/x", "both");
    expect_refused("SYNCD_DS_TOKEN_FILE=/does/not/exist", "SYNCD_DS_TOKEN_FILE");
    expect_refused("POSTGRES_URL_FILE=/does/not/exist", "POSTGRES_URL_FILE");
}

Test(syncd_config, only_electric_before_1_4_3_needs_the_pad)
{
    static const struct {
        const char *version;
        bool needs;
    } table[] = {{"", true},        {"1.4.2", true},  {"1.4.3", false},
                 {"1.4.10", false}, {"1.3.9", true},  {"1.5.0", false},
                 {"0.9.9", true},   {"2.0.0", false}, {"1.10.0", false}};
    static const char *const bad[] = {"1.4", "latest", "1", "v1.4.2", "1.4.x"};
    Error err;

    for (size_t i = 0; i < DS_COUNT(table); i++) {
        bool needs = !table[i].needs;

        cr_assert(electric_needs_pads(str_c(table[i].version), &needs, &err), "%s",
                  table[i].version);
        cr_expect_eq(needs, table[i].needs, "%s", table[i].version);
    }
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        bool needs;

        cr_expect_not(electric_needs_pads(str_c(bad[i]), &needs, &err), "%s", bad[i]);
    }
}
