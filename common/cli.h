/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/cli.h -- command and option tables: parsing, --help and completion cannot disagree.
 *
 * A tree of Command tables; a leaf has run, a group has children.  Handlers never check argc: a row
 * says how many arguments it takes.  Options may stand before or after arguments; "--" ends them.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"

typedef enum OptionType {
    OPTION_FLAG,     /* bool */
    OPTION_STRING,   /* const char * (points into argv) */
    OPTION_INT,      /* int64_t */
    OPTION_DURATION, /* int64_t milliseconds */
    OPTION_CHOICE,   /* int: index into choices */
    OPTION_LIST,     /* CliList: repeatable strings */
} OptionType;

#define CLI_LIST_MAX 64

typedef struct CliList {
    const char *items[CLI_LIST_MAX];
    size_t count;
} CliList;

typedef struct Option {
    char short_name;       /* 0 for none */
    const char *long_name; /* NULL ends the table */
    OptionType type;
    void *value;
    const char *arg; /* "OFFSET" in help; NULL for flags */
    const char *env; /* environment variable used when the option is absent, or NULL */
    const char *const *choices;
    int64_t min, max;
    const char *help;
} Option;

/* The address is type-checked: &arg of another type does not compile. */
#define OPT_FLAG(s, l, ptr, h)                                                                     \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_FLAG, .value = (1 ? (ptr) : (bool *)0),    \
        .help = h                                                                                  \
    }
#define OPT_STRING(s, l, ptr, a, h)                                                                \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_STRING,                                    \
        .value = (void *)(1 ? (ptr) : (const char **)0), .arg = a, .help = h                       \
    }
#define OPT_STRING_ENV(s, l, ptr, a, e, h)                                                         \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_STRING,                                    \
        .value = (void *)(1 ? (ptr) : (const char **)0), .arg = a, .env = e, .help = h             \
    }
#define OPT_INT(s, l, ptr, a, lo, hi, h)                                                           \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_INT, .value = (1 ? (ptr) : (int64_t *)0),  \
        .arg = a, .min = lo, .max = hi, .help = h                                                  \
    }
#define OPT_DURATION(s, l, ptr, a, h)                                                              \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_DURATION,                                  \
        .value = (1 ? (ptr) : (int64_t *)0), .arg = a, .help = h                                   \
    }
#define OPT_CHOICE(s, l, ptr, c, h)                                                                \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_CHOICE, .value = (1 ? (ptr) : (int *)0),   \
        .arg = "NAME", .choices = c, .help = h                                                     \
    }
#define OPT_LIST(s, l, ptr, a, h)                                                                  \
    {                                                                                              \
        .short_name = s, .long_name = l, .type = OPTION_LIST, .value = (1 ? (ptr) : (CliList *)0), \
        .arg = a, .help = h                                                                        \
    }
#define OPT_END()                                                                                  \
    {                                                                                              \
        .long_name = NULL                                                                          \
    }

typedef struct CliCall {
    size_t count; /* arguments, without options */
    const char *const *args;
    void *context; /* the program's own */
} CliCall;

/* Returns the process's exit status. */
typedef int (*CommandRun)(const CliCall *call);

typedef struct Command {
    const char *name; /* NULL ends a table */
    const char *args; /* "STREAM [FILE]" in help */
    unsigned args_min, args_max;
    const Option *options;          /* may be NULL */
    const struct Command *children; /* a group: no run */
    CommandRun run;
    const char *help;    /* one line */
    const char *details; /* paragraphs below it, or NULL */
} Command;

typedef struct Cli {
    const char *program;
    const char *summary;
    const char *details; /* e.g. the exit codes */
    const Option *global_options;
    const Command *commands;
    int exit_usage; /* status for a usage error */
    void *context;
} Cli;

/* Parses and runs.  Help goes to stdout with status 0; usage errors to stderr, naming the mend. */
int cli_main(const Cli *cli, int argc, char **argv);

/* All help pages as Markdown, and completion for "bash", "zsh" or "fish". */
DS_MUST_CHECK bool cli_markdown(const Cli *cli, Buf *out, Error *err);
DS_MUST_CHECK bool cli_completion(const Cli *cli, Str shell, Buf *out, Error *err);
