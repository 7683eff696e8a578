/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include "tests/support/config_sample.h"

Test(config, defaults_fill_every_type, .fini = done)
{
    cr_assert(run(NULL, NULL), "%s", err.text);
    cr_expect_str_eq(values.listen, "127.0.0.1");
    cr_expect(!values.tls);
    cr_expect_eq(values.port, 4437);
    cr_expect_eq(values.body, 10 << 20);
    cr_expect_eq(values.idle, 30000);
    cr_expect_eq(values.mode, 0);
    cr_expect(!secret_is_set(&values.token));
}

Test(config, flag_beats_environment_beats_file_beats_default, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";

    write_file(path, "# comment\n\n DS_LISTEN = 'from file' \r\nDS_SERVER__PORT=1\nDS_MODE=ACID\n"
                     "DS_BODY=\"2KiB\"");
    cr_assert(run(WORDS("--port", "3", "--config", path, "--idle=2m"),
                  WORDS("DS_SERVER__PORT=2", "DS_TLS=yes", "DS_IDLE=9", "DS_TOKEN=tok")),
              "%s", err.text);
    cr_expect_str_eq(values.listen, "from file");
    cr_expect_eq(values.port, 3);
    cr_expect_eq(values.mode, 1);
    cr_expect_eq(values.body, 2048);
    cr_expect_eq(values.idle, 120000);
    cr_expect(values.tls);
    cr_expect_str_eq(secret_reveal(&values.token), "tok");
    cr_expect_eq(load.origins[0], ORIGIN_FILE);
    cr_expect_eq(load.origins[1], ORIGIN_ENV);
    cr_expect_eq(load.origins[2], ORIGIN_FLAG);
    unlink(path);
}

Test(config, older_names_work_and_the_new_one_wins, .fini = done)
{
    cr_assert(run(NULL, WORDS("DS_OLD_PORT=7")), "%s", err.text);
    cr_expect_eq(values.port, 7);
    cr_assert(run(NULL, WORDS("DS_OLD_PORT=7", "DS_PORT=8", "DS_SERVER__PORT=9")), "%s", err.text);
    cr_expect_eq(values.port, 9);
}

Test(config, empty_in_the_environment_is_not_set_and_an_empty_flag_clears, .fini = done)
{
    cr_assert(run(NULL, WORDS("DS_SERVER__PORT=", "DS_LISTEN=")), "%s", err.text);
    cr_expect_eq(values.port, 4437);
    cr_expect_str_eq(values.listen, "127.0.0.1");
    cr_assert(run(WORDS("--listen="), NULL), "%s", err.text);
    cr_expect(values.listen == NULL);
}

Test(config, a_bool_flag_may_stand_alone, .fini = done)
{
    cr_assert(run(WORDS("--tls", "--port", "5"), NULL), "%s", err.text);
    cr_expect(values.tls);
    cr_assert(run(WORDS("--tls", "off"), NULL), "%s", err.text);
    cr_expect(!values.tls);
    cr_assert(run(WORDS("--tls=on"), NULL), "%s", err.text);
    cr_expect(values.tls);
}

Test(config, set_reaches_settings_without_a_flag, .fini = done)
{
    cr_assert(run(WORDS("--set", "DS_BODY=4KiB", "--set=DS_PORT=6"), NULL), "%s", err.text);
    cr_expect_eq(values.body, 4096);
    cr_expect_eq(values.port, 6);
}

Test(config, errors_name_setting_origin_and_what_is_legal, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";
    static const struct {
        char *flag, *variable;
        const char *parts[3];
    } cases[] = {
        {NULL, "DS_SERVER__PORT=0", {"DS_SERVER__PORT (environment)", "\"0\"", "1 to 65535"}},
        {NULL, "DS_SERVER__PORT=4437x", {"DS_SERVER__PORT", "4437x", "a whole number"}},
        {"--mode=disk", NULL, {"DS_MODE (flag --mode)", "\"disk\"", "memory or acid"}},
        {NULL, "DS_BODY=2GiB", {"DS_BODY", "2GiB", "1KiB to 1GiB"}},
        {NULL, "DS_IDLE=soon", {"DS_IDLE", "soon", "30s"}},
        {NULL, "DS_TLS=maybe", {"DS_TLS", "maybe", "true or false"}},
        {"--listne=x", NULL, {"--listne", "--help", ""}},
        {"--port", NULL, {"--port", "needs a value", ""}},
        {"stray", NULL, {"unexpected argument", "stray", "--help"}},
        {"--set=NOPE=1", NULL, {"--set", "NOPE", ""}},
        {"--set=NOPE", NULL, {"--set", "NAME=value", ""}},
        {"--set=DS_TOKEN=x", NULL, {"DS_TOKEN", "lists processes", ""}},
        {"--config=/nowhere", NULL, {"/nowhere", "No such file", ""}},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        cr_expect(!run(WORDS(cases[i].flag), WORDS(cases[i].variable)), "case %zu", i);
        cr_expect_eq(err.code, ERR_CONFIG);
        for (size_t part = 0; part < 3; part++) {
            cr_expect(strstr(err.text, cases[i].parts[part]) != NULL, "case %zu: %s", i, err.text);
        }
    }
    write_file(path, "DS_MODE=acid\nDS_SERVER__PORT=no\n");
    cr_expect(!run(WORDS("--config", path), NULL));
    cr_expect(strstr(err.text, path) != NULL && strstr(err.text, ":2)") != NULL, "%s", err.text);
    unlink(path);
}

Test(config, all_that_is_not_legal_is_said_at_one_go_from_wherever_it_comes, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";
    static const char *const parts[] = {":1: expected NAME=value", "DS_SERVER__PORT (",
                                        "DS_IDLE (environment)", "DS_OLD__PROXY (environment)",
                                        "DS_MODE (flag --mode)"};
    size_t lines = 0;

    write_file(path, "no setting\nDS_SERVER__PORT=0\nDS_BODY=2KiB\n");
    cr_expect(!run(WORDS("--config", path, "--mode=disk"),
                   WORDS("DS_IDLE=soon", "DS_OLD__PROXY=true", "DS_LISTEN=good")));
    unlink(path);
    cr_expect_not_null(strstr(err.text, parts[0]), "%s", err.text);
    for (size_t i = 0; i < DS_COUNT(parts); i++) {
        cr_expect_not_null(strstr(buf_cstr(&load.problems), parts[i]), "%s", parts[i]);
    }
    for (size_t i = 0; i < load.problems.len; i++) {
        lines += buf_cstr(&load.problems)[i] == '\n';
    }
    cr_expect_eq(lines, DS_COUNT(parts), "%s", buf_cstr(&load.problems));
    cr_expect_str_eq(values.listen, "good");
    cr_expect_eq(values.body, 2048);
}

Test(config, a_line_without_an_equals_sign_is_refused_with_its_number, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";

    write_file(path, "\nDS_MODE acid\n");
    cr_expect(!run(WORDS("--config", path), NULL));
    cr_expect(strstr(err.text, ":2: expected NAME=value") != NULL, "%s", err.text);
    unlink(path);
}

Test(config, unknown_variables_are_reported_unless_foreign, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";

    write_file(path, "DS_MOED=acid\n");
    cr_assert(run(WORDS("--config", path),
                  WORDS("DS_SRVER__PORT=1", "DS_OTHER_PROGRAM=1", "OURS_TYPO=1", "OURS_NOT=1",
                        "DS_FAULT=x", "HOME=/", "OURSELVES=1", "novalue")),
              "%s", err.text);
    cr_expect_str_eq(buf_cstr(&load.unknown), "DS_MOED\nDS_SRVER__PORT\nOURS_TYPO\n");
    unlink(path);
}

static char said[256];

static void
say(Str line)
{
    (void)snprintf(said + strlen(said), sizeof(said) - strlen(said), "<%.*s>", STR_ARG(line));
}

Test(config, each_unknown_name_and_each_problem_is_said_once_and_in_order, .fini = done)
{
    cr_assert(
        !run(NULL, WORDS("DS_SERVER__PORT=x", "DS_SRVER__PORT=1", "OURS_TYPO=1", "DS_TLS=maybe")));
    config_each_line(&load.unknown, say);
    cr_expect_str_eq(said, "<DS_SRVER__PORT><OURS_TYPO>");
    said[0] = '\0';
    config_each_line(&load.problems, say);
    cr_expect_eq(strncmp(said, "<DS_TLS (environment)", 21), 0, "%s", said);
    cr_expect_not_null(strstr(said, "><DS_SERVER__PORT (environment)"), "%s", said);
    said[0] = '\0';
    done();
    cr_assert(run(NULL, NULL), "%s", err.text);
    config_each_line(&load.problems, say);
    cr_expect_str_eq(said, "");
}

Test(config, a_retired_setting_is_refused_with_what_to_do_unless_it_asks_for_nothing, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";

    write_file(path, "DS_OLD__PROXY=yes\n");
    cr_assert(!run(NULL, WORDS("DS_OLD__PROXY=true")));
    cr_expect_str_eq(err.text, "DS_OLD__PROXY (environment): do without");
    done();
    cr_assert(!run(WORDS("--set", "DS_OLD__PROXY=x"), NULL));
    cr_expect_str_eq(err.text, "DS_OLD__PROXY (flag --set): do without");
    done();
    cr_assert(!run(WORDS("--config", path), NULL));
    cr_expect_not_null(strstr(err.text, ":1): do without"), "%s", err.text);
    done();
    cr_assert(run(WORDS("--set", "DS_OLD__PROXY=none"), WORDS("DS_OLD__PROXY=FALSE")), "%s",
              err.text);
    cr_expect_eq(load.unknown.len, 0);
    done();
    cr_assert(run(NULL, WORDS("DS_OLD__PROXY=")), "%s", err.text);
    unlink(path);
}

Test(config, a_choice_may_have_other_words, .fini = done)
{
    cr_assert(run(NULL, WORDS("DS_MODE=Redb")), "%s", err.text);
    cr_expect_eq(values.mode, 1);
}

Test(config, help_and_version_work_whatever_else_is_wrong, .fini = done)
{
    cr_expect(run(WORDS("-h"), WORDS("DS_SERVER__PORT=x")), "%s", err.text);
    cr_expect(load.help);
    cr_expect(run(WORDS("--version"), WORDS("DS_SERVER__PORT=x")), "%s", err.text);
    cr_expect(load.version && !load.help);
    cr_expect(run(WORDS("--print-config", "--check-config"), NULL));
    cr_expect(load.print_config && load.check_config);
}
