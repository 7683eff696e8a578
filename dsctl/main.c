/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl: the operator's command line.  The root table, and the commands that ask nobody. */
#include "dsctl/commands.h"
#include "dsctl/exit_codes.h"
#include "dsctl/options.h"
#include "dsctl/output.h"

#include "common/standard_fds.h"
#include "sql/migrate.h"

#define TEXT_BYTES_MAX (4u << 20)

#define X(name, number, meaning) "\n  " #number "\t" meaning
static const char details[] = "Data goes to stdout and everything else to stderr.  Secrets belong "
                              "into the environment or files:\n"
                              "STREAM_AUTH or --token-file for the stream server, POSTGRES_URL, "
                              "POSTGRES_URL_FILE or PGPASSFILE for\n"
                              "Postgres.\n"
                              "\n"
                              "exit status:" DSCTL_EXIT_CODES(X);
#undef X

static const Command root_commands[];

static const Cli cli = {
    .program = "dsctl",
    .summary = "look at and change streams, their sync state in Postgres, and the schema",
    .details = details,
    .global_options = options_global,
    .commands = root_commands,
    .exit_usage = DSCTL_USAGE,
};

static int
print_text(bool ok, const Buf *text, Error *err)
{
    if (ok && output_bytes(buf_str(text), err) && output_flush(err)) {
        return DSCTL_OK;
    }
    (void)fprintf(stderr, "dsctl: %s\n", err->text);
    return err->code == ERR_CONFIG ? DSCTL_USAGE : DSCTL_FAILURE;
}

static int
cmd_completion(const CliCall *call)
{
    Error err = {0};
    Buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    bool ok = cli_completion(&cli, str_c(call->args[0]), &text, &err);
    int status = print_text(ok, &text, &err);
    buf_done(&text);
    return status;
}

static int
cmd_manual(const CliCall *call)
{
    Error err = {0};
    Buf text;

    (void)call;
    buf_init(&text, TEXT_BYTES_MAX);
    bool ok = cli_markdown(&cli, &text, &err);
    int status = print_text(ok, &text, &err);
    buf_done(&text);
    return status;
}

static int
cmd_version(const CliCall *call)
{
    static const OutputColumn columns[] = {
        {"program", "program", COLUMN_TEXT, NULL},
        {"version", "version", COLUMN_TEXT, NULL},
        {"database_schema", "schema", COLUMN_NUMBER, NULL},
        {NULL, NULL, COLUMN_TEXT, NULL},
    };
    json_t *record = json_pack("{s:s, s:s, s:i}", "program", "dsctl", "version", DS_VERSION,
                               "database_schema", migrate_program_version());
    Error err = {0};
    bool ok = true;

    (void)call;
    if (options_output() == OUTPUT_TABLE) {
        ok = output_bytes(STR("dsctl " DS_VERSION "\n"), &err) && output_flush(&err);
    } else {
        ok = output_record(columns, record, &err) && output_flush(&err);
    }
    json_decref(record);
    if (!ok) {
        (void)fprintf(stderr, "dsctl: %s\n", err.text);
    }
    return ok ? DSCTL_OK : DSCTL_FAILURE;
}

static const Command root_commands[] = {
    {.name = "stream", .children = stream_commands, .help = "streams on the server"},
    {.name = "sync", .children = sync_commands, .help = "what syncd has brought into Postgres"},
    {.name = "route",
     .children = route_commands,
     .help = "which streams go into which table, and how"},
    {.name = "dlq", .children = dlq_commands, .help = "messages that could not be loaded"},
    {.name = "db", .children = db_commands, .help = "the schema in Postgres, and old rows"},
    {.name = "lease", .children = lease_commands, .help = "which instance of syncd loads what"},
    {.name = "version", .run = cmd_version, .help = "print the version"},
    {.name = "completion",
     .args = "bash|zsh|fish",
     .args_min = 1,
     .args_max = 1,
     .run = cmd_completion,
     .help = "print the completion script of a shell"},
    {.name = "manual", .run = cmd_manual, .help = "print all help pages as Markdown"},
    {.name = NULL},
};

int
main(int argc, char **argv)
{
    static char version[] = "version";

    standard_fds_hold();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        argv[1] = version;
    }
    return cli_main(&cli, argc, argv);
}
