/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cli.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>

static bool arg_quiet, arg_all;
static const char *arg_server, *arg_from;
static int64_t arg_limit, arg_idle_ms;
static int arg_output;
static CliList arg_headers;
static const char *const outputs[] = {"table", "json", NULL};

static CliCall seen;
static char words[256];

static int
record(const CliCall *call)
{
    seen = *call;
    words[0] = '\0';
    for (size_t i = 0; i < call->count; i++) {
        size_t len = strlen(words);
        (void)snprintf(words + len, sizeof(words) - len, "%s|", call->args[i]);
    }
    return 42;
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
     .run = record,
     .help = "follow a stream",
     .details = "Long story."},
    {.name = "ls", .run = record, .help = "list them"},
    {.name = NULL},
};
static const Command commands[] = {
    {.name = "stream", .children = stream_commands, .help = "work with streams"},
    {.name = "version", .run = record, .help = "print the version"},
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

static int
run(char **given)
{
    static char *argv[300];
    int argc = 1;

    argv[0] = (char[]){"dsctl"};
    for (; given[argc - 1] != NULL; argc++) {
        argv[argc] = given[argc - 1];
    }
    seen = (CliCall){0};
    return cli_main(&cli, argc, argv);
}

#define RUN(...) run((char *[]){__VA_ARGS__, NULL})

Test(cli, options_stand_anywhere_and_in_every_spelling)
{
    cr_redirect_stderr();
    cr_assert_eq(RUN("-o", "json", "stream", "--from=-1", "tail", "a", "-qan5", "--idle-timeout",
                     "1.5s", "b", "--server", "http://x"),
                 2, "--from belongs to tail and stands before it");
    cr_assert_eq(RUN("-ojson", "stream", "tail", "a", "-qan5", "--from=-1", "--idle-timeout",
                     "1.5s", "b", "--server", "http://x"),
                 42);
    cr_expect_str_eq(words, "a|b|");
    cr_expect_eq(arg_output, 1);
    cr_expect_str_eq(arg_from, "-1");
    cr_expect_eq(arg_idle_ms, 1500);
    cr_expect_eq(arg_limit, 5);
    cr_expect(arg_quiet && arg_all);
    cr_expect_str_eq(arg_server, "http://x");
}

Test(cli, dashes_and_negative_numbers_are_arguments)
{
    cr_assert_eq(RUN("stream", "tail", "-", "-1"), 42);
    cr_expect_str_eq(words, "-|-1|");
    cr_assert_eq(RUN("stream", "tail", "--", "--all", "-q"), 42);
    cr_expect_str_eq(words, "--all|-q|");
    cr_expect(!arg_all && !arg_quiet);
    cr_assert_eq(RUN("stream", "tail", "x", "--from", "--all"), 42);
    cr_expect_str_eq(arg_from, "--all", "what needs a value takes the next word");
}

Test(cli, lists_collect_and_are_bounded)
{
    char *argv[3 + 2 * (CLI_LIST_MAX + 1) + 1];
    char option[] = "-H";
    char value[] = "v";
    int count = 0;

    cr_assert_eq(RUN("stream", "tail", "x", "-H", "a", "--header=b"), 42);
    cr_expect_eq(arg_headers.count, 2);
    cr_expect_str_eq(arg_headers.items[1], "b");
    arg_headers.count = 0;
    argv[count++] = (char[]){"stream"};
    argv[count++] = (char[]){"tail"};
    argv[count++] = (char[]){"x"};
    for (int i = 0; i <= CLI_LIST_MAX; i++) {
        argv[count++] = option;
        argv[count++] = value;
    }
    argv[count] = NULL;
    cr_redirect_stderr();
    cr_expect_eq(run(argv), 2);
    cr_expect_eq(arg_headers.count, CLI_LIST_MAX);
}

Test(cli, environment_fills_in_and_the_option_wins)
{
    setenv("TEST_CLI_SERVER", "from-env", 1);
    cr_assert_eq(RUN("stream", "ls"), 42);
    cr_expect_str_eq(arg_server, "from-env");
    cr_assert_eq(RUN("stream", "ls", "--server", "from-option"), 42);
    cr_expect_str_eq(arg_server, "from-option");
    arg_server = NULL;
    setenv("TEST_CLI_SERVER", "", 1);
    cr_assert_eq(RUN("stream", "ls"), 42);
    cr_expect(arg_server == NULL);
}

static void
expect_usage(char **given, const char *text)
{
    char got[2048] = "";

    cr_redirect_stderr();
    cr_expect_eq(run(given), 2);
    cr_expect(seen.count == 0, "the command ran");
    fflush(stderr);
    FILE *from = cr_get_redirected_stderr();
    size_t len = fread(got, 1, sizeof(got) - 1, from);
    got[len] = '\0';
    cr_expect(strstr(got, text) != NULL, "wanted \"%s\" in \"%s\"", text, got);
}
#define USAGE(text, ...) expect_usage((char *[]){__VA_ARGS__, NULL}, text)

Test(cli, a_mistyped_command_gets_a_suggestion)
{
    USAGE("no command is called \"steam\"; did you mean \"stream\"?", "steam", "ls");
}

Test(cli, a_beginning_is_suggested_in_full)
{
    USAGE("did you mean \"version\"?", "ver");
}

Test(cli, a_mistyped_option_gets_a_suggestion_and_the_place_of_help)
{
    USAGE("no option is called --form; did you mean --from?\nTry \"dsctl stream tail --help\".",
          "stream", "tail", "x", "--form=-1");
}

Test(cli, nothing_near_is_not_suggested)
{
    USAGE("no command is called \"zzz\"\n", "zzz");
}

Test(cli, a_group_alone_is_no_command)
{
    USAGE("a command is missing\nTry \"dsctl stream --help\".", "stream");
}

Test(cli, missing_arguments_are_named)
{
    USAGE("an argument is missing: STREAM", "stream", "tail");
}

Test(cli, arguments_too_many_are_named)
{
    USAGE("unexpected argument \"c\"", "stream", "tail", "a", "b", "c");
}

Test(cli, a_value_out_of_bounds_says_what_is_legal)
{
    USAGE("--limit: \"101\" is not a whole number, 1 to 100", "stream", "tail", "a", "--limit=101");
}

Test(cli, an_unknown_choice_lists_the_choices)
{
    USAGE("-o: \"yaml\" is not one of table, json", "stream", "ls", "-o", "yaml");
}

Test(cli, a_bad_duration_shows_good_ones)
{
    USAGE("--idle-timeout: \"soon\" is not a duration such as 250ms", "stream", "tail", "x",
          "--idle-timeout", "soon");
}

Test(cli, an_option_without_its_value_says_what_it_takes)
{
    USAGE("--from needs a value: OFFSET", "stream", "tail", "x", "--from");
}

static void
expect_help(char **given, const char *const *texts)
{
    char got[4096] = "";

    cr_redirect_stdout();
    cr_expect_eq(run(given), 0);
    FILE *from = cr_get_redirected_stdout();
    size_t len = fread(got, 1, sizeof(got) - 1, from);
    got[len] = '\0';
    for (size_t i = 0; texts[i] != NULL; i++) {
        cr_expect(strstr(got, texts[i]) != NULL, "wanted \"%s\" in \"%s\"", texts[i], got);
    }
}
#define TEXTS(...) ((const char *[]){__VA_ARGS__, NULL})

Test(cli, help_of_a_command_lists_its_options_and_the_global_ones)
{
    expect_help((char *[]){"stream", "tail", "--help", NULL},
                TEXTS("usage: dsctl stream tail STREAM [options]\n\nfollow a stream\n",
                      "  -f, --from OFFSET ", "  -a, --all ", "  -o, --output table|json",
                      "--server URL", "[env: TEST_CLI_SERVER]", "  -h, --help", "Long story."));
}

Test(cli, help_of_the_program_lists_the_commands_and_details)
{
    expect_help((char *[]){"help", NULL}, TEXTS("usage: dsctl COMMAND [options]", "  stream ",
                                                "  version ", "Exit codes: many."));
}

Test(cli, help_word_explains_a_command)
{
    expect_help((char *[]){"help", "stream", "ls", NULL},
                TEXTS("usage: dsctl stream ls [options]"));
}

Test(cli, markdown_has_a_page_for_every_command)
{
    Error err = {0};
    Buf out;

    buf_init(&out, 1 << 20);
    cr_assert(cli_markdown(&cli, &out, &err), "%s", err.text);
    cr_expect(strstr(buf_cstr(&out), "## `dsctl`\n") != NULL);
    cr_expect(strstr(buf_cstr(&out), "### `dsctl stream`\n") != NULL);
    cr_expect(strstr(buf_cstr(&out), "#### `dsctl stream tail`\n") != NULL);
    cr_expect(strstr(buf_cstr(&out), "### `dsctl version`\n") != NULL);
    buf_done(&out);
}
