/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/options.h"

#include <criterion/criterion.h>

/* Options are set as on a command line. */
static int
nothing(const CliCall *call)
{
    (void)call;
    return 0;
}

static const Command commands[] = {{.name = "x", .run = nothing, .help = "x"}, {.name = NULL}};
static const Cli cli = {.program = "dsctl",
                        .summary = "",
                        .global_options = options_global,
                        .commands = commands,
                        .exit_usage = 2};

static void
clear(void)
{
    static const char *const names[] = {"DSCTL_SERVER",     "STREAM_URL",    "DS_SERVER_URL",
                                        "DSCTL_ADMIN",      "STREAM_AUTH",   "POSTGRES_URL",
                                        "DSCTL_TOKEN_FILE", "DSCTL_CA_FILE", "POSTGRES_URL_FILE"};

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        unsetenv(names[i]);
    }
}

static void
given(char *option, char *value)
{
    char program[] = "dsctl";
    char command[] = "x";
    char *argv[] = {program, command, option, value, NULL};

    cr_assert_eq(cli_main(&cli, option != NULL ? 4 : 2, argv), 0);
}

static const char *
url_of(const char *name)
{
    static Buf url;
    Error err = {0};

    buf_done(&url);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    return options_stream_url(name, &url, &err) ? buf_cstr(&url) : "(error)";
}

static const char *
admin_url(void)
{
    static Buf url;
    Error err = {0};

    buf_done(&url);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    return options_admin_url("/admin/streams", &url, &err) ? buf_cstr(&url) : "(error)";
}

Test(dsctl_options, the_server_is_the_first_one_named, .init = clear)
{
    char option[] = "--server";
    char value[] = "http://d";

    given(NULL, NULL);
    cr_expect_str_eq(url_of("s"), "http://127.0.0.1:4437/v1/stream/s");
    setenv("DS_SERVER_URL", "http://a", 1);
    cr_expect_str_eq(url_of("s"), "http://a/v1/stream/s");
    setenv("STREAM_URL", "http://b", 1);
    cr_expect_str_eq(url_of("s"), "http://b/v1/stream/s");
    setenv("DSCTL_SERVER", "http://c", 1);
    given(NULL, NULL);
    cr_expect_str_eq(url_of("s"), "http://c/v1/stream/s");
    given(option, value);
    cr_expect_str_eq(url_of("s"), "http://d/v1/stream/s");
}

Test(dsctl_options, slashes_and_the_root_in_the_server_do_no_harm, .init = clear)
{
    setenv("STREAM_URL", "http://a:1/", 1);
    cr_expect_str_eq(url_of("/s/t"), "http://a:1/v1/stream/s/t");
    setenv("STREAM_URL", "http://a:1/v1/stream/", 1);
    cr_expect_str_eq(url_of("s"), "http://a:1/v1/stream/s");
    setenv("STREAM_URL", "https://a/prefix", 1);
    cr_expect_str_eq(url_of("s"), "https://a/prefix/v1/stream/s");
}

Test(dsctl_options, names_are_encoded_and_urls_are_taken_as_they_are, .init = clear)
{
    setenv("STREAM_URL", "http://a", 1);
    cr_expect_str_eq(url_of("a b/\xc3\xa9?x=1#%"), "http://a/v1/stream/a%20b/%C3%A9%3Fx%3D1%23%25");
    cr_expect_str_eq(url_of("https://b/v1/stream/x"), "https://b/v1/stream/x");
}

Test(dsctl_options, a_name_from_the_database_is_never_a_url, .init = clear)
{
    Error err = {0};
    Buf url;

    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    setenv("STREAM_URL", "http://a", 1);
    cr_assert(options_name_url("http://evil/x", &url, &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&url), "http://a/v1/stream/http%3A//evil/x");
    buf_done(&url);
}

Test(dsctl_options, bad_servers_and_empty_names_are_refused, .init = clear)
{
    setenv("STREAM_URL", "http://a", 1);
    cr_expect_str_eq(url_of(""), "(error)");
    cr_expect_str_eq(url_of("/"), "(error)");
    setenv("STREAM_URL", "localhost:4437", 1);
    cr_expect_str_eq(url_of("s"), "(error)");
    setenv("STREAM_URL", "ftp://a", 1);
    cr_expect_str_eq(url_of("s"), "(error)");
    setenv("STREAM_URL", "http://a?b", 1);
    cr_expect_str_eq(url_of("s"), "(error)");
}

Test(dsctl_options, a_refused_server_does_not_show_its_password, .init = clear)
{
    Error err = {0};
    Buf url;

    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    setenv("STREAM_URL", "ftp://me:hush@a", 1);
    cr_expect(!options_stream_url("s", &url, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect(strstr(err.text, "hush") == NULL, "%s", err.text);
}

Test(dsctl_options, the_admin_listener_is_the_servers_host_unless_given, .init = clear)
{
    static const char *const cases[][2] = {
        {"http://a:1", "http://a:4439/admin/streams"},
        {"https://a/x", "https://a:4439/admin/streams"},
        {"http://[::1]:4437", "http://[::1]:4439/admin/streams"},
        {"http://a", "http://a:4439/admin/streams"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        setenv("STREAM_URL", cases[i][0], 1);
        cr_expect_str_eq(admin_url(), cases[i][1]);
    }
    setenv("DSCTL_ADMIN", "http://b:2/", 1);
    given(NULL, NULL);
    cr_expect_str_eq(admin_url(), "http://b:2/admin/streams");
    setenv("DSCTL_ADMIN", "b:2", 1);
    given(NULL, NULL);
    cr_expect_str_eq(admin_url(), "(error)");
}

Test(dsctl_options, a_token_comes_with_or_without_its_scheme, .init = clear)
{
    static const char *const good[][2] = {
        {"abc.def", "abc.def"}, {"Bearer abc", "abc"}, {"bearer  abc", "abc"}};
    static const char *const bad[] = {"Basic abc", "a\nb", "Bearer a b"};
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(good); i++) {
        Secret token = {0};
        setenv("STREAM_AUTH", good[i][0], 1);
        cr_assert(options_token(&token, &err), "%s", err.text);
        cr_expect_str_eq(secret_reveal(&token), good[i][1]);
        secret_done(&token);
    }
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Secret token = {0};
        setenv("STREAM_AUTH", bad[i], 1);
        cr_expect(!options_token(&token, &err), "%s", bad[i]);
        cr_expect(strstr(err.text, bad[i]) == NULL);
    }
    unsetenv("STREAM_AUTH");
    Secret none = {0};
    cr_assert(options_token(&none, &err));
    cr_expect(!secret_is_set(&none));
}

Test(dsctl_options, postgres_is_the_option_then_the_variable_then_the_file, .init = clear)
{
    char path[] = "/tmp/pgurlXXXXXX";
    char option[] = "--pg";
    char value[] = "host=option";
    Error err = {0};
    Secret url = {0};
    int fd = mkstemp(path);

    cr_assert(fd >= 0 && dprintf(fd, "host=file\n") > 0);
    given(NULL, NULL);
    cr_assert(options_postgres(&url, &err));
    cr_expect_str_eq(secret_reveal(&url), "", "libpq's own variables");
    setenv("POSTGRES_URL_FILE", path, 1);
    cr_assert(options_postgres(&url, &err));
    cr_expect_str_eq(secret_reveal(&url), "host=file");
    setenv("POSTGRES_URL", "host=variable", 1);
    cr_assert(options_postgres(&url, &err));
    cr_expect_str_eq(secret_reveal(&url), "host=variable");
    given(option, value);
    cr_assert(options_postgres(&url, &err));
    cr_expect_str_eq(secret_reveal(&url), "host=option");
    secret_done(&url);
    remove(path);
}
