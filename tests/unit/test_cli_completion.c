/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cli.h"

#include <criterion/criterion.h>

static bool arg_quiet, arg_all;
static const char *arg_server, *arg_from;
static int64_t arg_limit, arg_idle_ms;
static int arg_output;
static CliList arg_headers;
static const char *const outputs[] = {"table", "json", NULL};

static int
nothing(const CliCall *call)
{
    (void)call;
    return 0;
}

static const Option tail_options[] = {
    OPT_STRING('f', "from", &arg_from, "OFFSET", "where to begin"),
    OPT_DURATION(0, "idle-timeout", &arg_idle_ms, "DURATION", "leave after so long"),
    OPT_INT('n', "limit", &arg_limit, "COUNT", 1, 100, "at most so many"),
    OPT_LIST('H', "header", &arg_headers, "HEADER", "one more header"),
    OPT_FLAG('a', "all", &arg_all, "everything, don't stop"),
    OPT_END(),
};
static const Command stream_commands[] = {
    {.name = "tail",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 2,
     .options = tail_options,
     .run = nothing,
     .help = "follow a stream",
     .details = "Long story."},
    {.name = "ls", .run = nothing, .help = "list them"},
    {.name = NULL},
};
static const Command commands[] = {
    {.name = "stream", .children = stream_commands, .help = "work with streams"},
    {.name = "version", .run = nothing, .help = "print the version"},
    {.name = NULL},
};
static const Option globals[] = {
    OPT_STRING_ENV(0, "server", &arg_server, "URL", "TEST_CLI_SERVER", "the server"),
    OPT_CHOICE('o', "output", &arg_output, outputs, "form of the output"),
    OPT_FLAG('q', "quiet", &arg_quiet, "say less"),
    OPT_END(),
};
static const Cli cli = {.program = "dsctl",
                        .summary = "Does it.",
                        .details = "Exit codes: many.",
                        .global_options = globals,
                        .commands = commands,
                        .exit_usage = 2};

/* What bash itself offers behind these words, blank separated. */
static void
expect_bash(const char *line, const char *wanted)
{
    static const char driver[] =
        "_try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _dsctl; "
        "echo \"${COMPREPLY[*]}\"; }\n_try ";
    char path[] = "/tmp/completionXXXXXX";
    char command[64];
    char got[512] = "";
    Error err = {0};
    Buf script;

    buf_init(&script, 1 << 20);
    cr_assert(cli_completion(&cli, STR("bash"), &script, &err), "%s", err.text);
    cr_assert(buf_printf(&script, &err, "%s%s\n", driver, line));
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    FILE *file = fdopen(fd, "w");
    cr_assert(fwrite(script.data, 1, script.len, file) == script.len);
    fclose(file);
    (void)snprintf(command, sizeof(command), "bash %s", path);
    FILE *bash = popen(command, "r");
    cr_assert(bash != NULL);
    size_t len = fread(got, 1, sizeof(got) - 1, bash);
    got[len] = '\0';
    cr_expect_eq(pclose(bash), 0);
    cr_expect_str_eq(got, wanted, "behind \"%s\": %s", line, got);
    remove(path);
    buf_done(&script);
}

Test(cli_completion, bash_completes_commands_options_and_choices)
{
    expect_bash("dsctl ''", "stream version --help --server --output --quiet\n");
    expect_bash("dsctl str", "stream\n");
    expect_bash("dsctl stream ''", "tail ls --help --server --output --quiet\n");
    expect_bash("dsctl --server 'http://x y' stream t", "tail\n");
    expect_bash("dsctl stream tail x --id", "--idle-timeout\n");
    expect_bash("dsctl stream ls -o ''", "table json\n");
    expect_bash("dsctl stream ls --output j", "json\n");
}

Test(cli_completion, fish_and_zsh_name_every_command_and_quote_the_help)
{
    Error err = {0};
    Buf out;

    buf_init(&out, 1 << 20);
    cr_assert(cli_completion(&cli, STR("fish"), &out, &err), "%s", err.text);
    cr_expect(strstr(buf_cstr(&out), "complete -c dsctl -n __fish_use_subcommand -f -a stream -d "
                                     "'work with streams'\n") != NULL,
              "%s", buf_cstr(&out));
    cr_expect(strstr(buf_cstr(&out), " -n '__fish_seen_subcommand_from stream; and "
                                     "__fish_seen_subcommand_from tail' -l all -s a -d "
                                     "'everything, don\\'t stop'\n") != NULL,
              "%s", buf_cstr(&out));
    cr_expect(strstr(buf_cstr(&out), " -l output -s o -r -f -a 'table json' -d ") != NULL);
    buf_reset(&out);
    cr_assert(cli_completion(&cli, STR("zsh"), &out, &err), "%s", err.text);
    cr_expect(str_starts(buf_str(&out), STR("#compdef dsctl\n")));
    cr_expect(strstr(buf_cstr(&out), "\"dsctl stream tail\"|") != NULL);
    buf_reset(&out);
    cr_expect(!cli_completion(&cli, STR("tcsh"), &out, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
    buf_done(&out);
}
