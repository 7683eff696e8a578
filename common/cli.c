/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/nearest.h"
#include "common/parse.h"

#define DEPTH_MAX      4   /* groups and the command below them */
#define ARGS_MAX       256 /* of one command line */
#define HELP_BYTES_MAX (1 << 20)
#define PATH_BYTES_MAX 256
#define NAME_BYTES_MAX 64
#define HELP_COLUMN    30

typedef struct Parse {
    const Cli *cli;
    const Command *path[DEPTH_MAX]; /* path[depth - 1] is the innermost */
    unsigned depth;
    const char *args[ARGS_MAX];
    size_t count;
    bool help;
    bool only_args;                  /* after "--" */
    uint64_t seen_global, seen_leaf; /* bits of the options that were given */
} Parse;

/* ---- help pages ---- */

static bool
append_path(Buf *out, const Parse *parse, Error *err)
{
    if (!buf_append(out, str_c(parse->cli->program), err)) {
        return false;
    }
    for (unsigned i = 0; i < parse->depth; i++) {
        if (!buf_printf(out, err, " %s", parse->path[i]->name)) {
            return false;
        }
    }
    return true;
}

static bool
help_option(const Option *option, Buf *out, Error *err)
{
    size_t start = out->len;

    if (!(option->short_name != 0 ? buf_printf(out, err, "  -%c, ", option->short_name)
                                  : buf_append(out, STR("      "), err)) ||
        !buf_printf(out, err, "--%s", option->long_name)) {
        return false;
    }
    for (size_t i = 0; option->type == OPTION_CHOICE && option->choices[i] != NULL; i++) {
        if (!buf_printf(out, err, "%s%s", i == 0 ? " " : "|", option->choices[i])) {
            return false;
        }
    }
    if (option->type != OPTION_CHOICE && option->arg != NULL &&
        !buf_printf(out, err, " %s", option->arg)) {
        return false;
    }
    size_t width = out->len - start;
    int pad = width < HELP_COLUMN ? (int)(HELP_COLUMN - width) : 0;
    if (pad == 0 && !buf_printf(out, err, "\n%*s", HELP_COLUMN, "")) {
        return false;
    }
    if (!buf_printf(out, err, "%*s%s", pad, "", option->help)) {
        return false;
    }
    if (option->env != NULL && !buf_printf(out, err, " [env: %s]", option->env)) {
        return false;
    }
    return buf_append_char(out, '\n', err);
}

static bool
help_options(const char *title, const Option *options, Buf *out, Error *err)
{
    if (options == NULL || options->long_name == NULL) {
        return true;
    }
    if (!buf_printf(out, err, "\n%s:\n", title)) {
        return false;
    }
    for (; options->long_name != NULL; options++) {
        if (!help_option(options, out, err)) {
            return false;
        }
    }
    return true;
}

static bool
help_commands(const Command *commands, Buf *out, Error *err)
{
    if (!buf_append(out, STR("\ncommands:\n"), err)) {
        return false;
    }
    for (; commands->name != NULL; commands++) {
        if (!buf_printf(out, err, "  %-12s %s\n", commands->name, commands->help)) {
            return false;
        }
    }
    return true;
}

static bool
help_usage(const Parse *parse, const Command *command, const Command *children, Buf *out,
           Error *err)
{
    bool ok = buf_append(out, STR("usage: "), err) && append_path(out, parse, err);

    if (children != NULL) {
        ok = ok && buf_append(out, STR(" COMMAND"), err);
    } else if (command != NULL && command->args != NULL) {
        ok = ok && buf_printf(out, err, " %s", command->args);
    }
    return ok && buf_append(out, STR(" [options]\n"), err);
}

static bool
help_page(const Parse *parse, Buf *out, Error *err)
{
    const Cli *cli = parse->cli;
    const Command *command = parse->depth > 0 ? parse->path[parse->depth - 1] : NULL;
    const Command *children = command != NULL ? command->children : cli->commands;
    const char *summary = command != NULL ? command->help : cli->summary;
    const char *details = command != NULL ? command->details : cli->details;

    if (!help_usage(parse, command, children, out, err) ||
        !buf_printf(out, err, "\n%s\n", summary)) {
        return false;
    }
    if (children != NULL && !help_commands(children, out, err)) {
        return false;
    }
    if (command != NULL && !help_options("options", command->options, out, err)) {
        return false;
    }
    if (!help_options("options of every command", cli->global_options, out, err) ||
        !buf_printf(out, err, "  -h, --help%*sshow this page\n", HELP_COLUMN - 12, "")) {
        return false;
    }
    return details == NULL || buf_printf(out, err, "\n%s\n", details);
}

/* ---- suggestions ---- */

static const char *
nearest_command(const Command *commands, const char *given)
{
    Nearest nearest = NEAREST_NONE;

    for (; commands->name != NULL; commands++) {
        nearest_try(&nearest, given, commands->name);
    }
    return nearest.name;
}

static const char *
nearest_option(const Parse *parse, Str given)
{
    char *name = str_dup(given);
    const Option *tables[] = {
        parse->depth > 0 ? parse->path[parse->depth - 1]->options : NULL,
        parse->cli->global_options,
    };
    Nearest nearest = NEAREST_NONE;

    for (size_t i = 0; i < DS_COUNT(tables); i++) {
        for (const Option *option = tables[i]; option != NULL && option->long_name != NULL;
             option++) {
            nearest_try(&nearest, name, option->long_name);
        }
    }
    free(name);
    return nearest.name;
}

/* ---- options ---- */

static bool
assign_choice(const Option *option, const char *text, const char *where, Error *err)
{
    Error full = {0};
    Buf legal;

    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *(int *)option->value = i;
            return true;
        }
    }
    buf_init(&legal, sizeof(err->text));
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (!buf_printf(&legal, &full, "%s%s", i > 0 ? ", " : "", option->choices[i])) {
            break; /* a shorter list still helps */
        }
    }
    error_set(err, ERR_CONFIG, "%s: \"%.80s\" is not one of %s", where, text, buf_cstr(&legal));
    buf_done(&legal);
    return false;
}

/* where: "--name" or "DSCTL_SERVER (environment)". */
static bool
option_assign(const Option *option, const char *text, const char *where, Error *err)
{
    CliList *list = NULL;

    switch (option->type) {
    case OPTION_FLAG:
        if (!parse_bool(str_c(text), option->value)) {
            return error_set(err, ERR_CONFIG, "%s: \"%.80s\" is neither true nor false", where,
                             text);
        }
        return true;
    case OPTION_STRING:
        *(const char **)option->value = text;
        return true;
    case OPTION_INT: {
        int64_t value = 0;
        if (!parse_i64(str_c(text), &value) || value < option->min || value > option->max) {
            return error_set(err, ERR_CONFIG, "%s: \"%.80s\" is not a whole number, %lld to %lld",
                             where, text, (long long)option->min, (long long)option->max);
        }
        *(int64_t *)option->value = value;
        return true;
    }
    case OPTION_DURATION:
        if (!parse_duration_ms(str_c(text), 1000, option->value)) {
            return error_set(err, ERR_CONFIG,
                             "%s: \"%.80s\" is not a duration such as 250ms, 30s or 5m", where,
                             text);
        }
        return true;
    case OPTION_CHOICE:
        return assign_choice(option, text, where, err);
    case OPTION_LIST:
        list = option->value;
        if (list->count == CLI_LIST_MAX) {
            return error_set(err, ERR_CONFIG, "%s: given more than %d times", where, CLI_LIST_MAX);
        }
        list->items[list->count++] = text;
        return true;
    }
    return false;
}

static const Option *
table_find(const Option *options, Str long_name, char short_name)
{
    for (; options != NULL && options->long_name != NULL; options++) {
        if (short_name != 0 ? options->short_name == short_name
                            : str_eq(long_name, str_c(options->long_name))) {
            return options;
        }
    }
    return NULL;
}

/* The innermost command's options first: they may shadow a global one. */
static const Option *
find_option(Parse *parse, Str long_name, char short_name)
{
    const Option *leaf = parse->depth > 0 ? parse->path[parse->depth - 1]->options : NULL;
    const Option *global = parse->cli->global_options;
    const Option *found = table_find(leaf, long_name, short_name);

    if (found != NULL) {
        DS_ASSERT(found - leaf < 64);
        parse->seen_leaf |= UINT64_C(1) << (found - leaf);
        return found;
    }
    found = table_find(global, long_name, short_name);
    if (found != NULL) {
        DS_ASSERT(found - global < 64);
        parse->seen_global |= UINT64_C(1) << (found - global);
    }
    return found;
}

static bool
parse_long(Parse *parse, char *const *argv, int argc, int *at, Error *err)
{
    Str name = STR_EMPTY;
    Str value = STR_EMPTY;
    char where[NAME_BYTES_MAX + 3];
    bool has_value = str_cut(str_c(argv[*at] + 2), '=', &name, &value);

    if (str_eq(name, STR("help")) && !has_value) {
        parse->help = true;
        return true;
    }
    const Option *option = find_option(parse, name, 0);
    if (option == NULL) {
        const char *near = nearest_option(parse, name);
        return error_set(err, ERR_CONFIG, "no option is called --%.*s%s%s%s",
                         STR_ARG(str_head(name, NAME_BYTES_MAX)),
                         near != NULL ? "; did you mean --" : "", near != NULL ? near : "",
                         near != NULL ? "?" : "");
    }
    (void)snprintf(where, sizeof(where), "--%s", option->long_name); /* names are short */
    if (option->type == OPTION_FLAG && !has_value) {
        *(bool *)option->value = true;
        return true;
    }
    if (!has_value) {
        if (*at + 1 >= argc) {
            return error_set(err, ERR_CONFIG, "%s needs a value: %s", where, option->arg);
        }
        (*at)++;
        value = str_c(argv[*at]);
    }
    return option_assign(option, value.ptr, where, err);
}

/* "-v", "-vq", "-o json" and "-ojson". */
static bool
parse_short(Parse *parse, char *const *argv, int argc, int *at, Error *err)
{
    const char *letters = argv[*at] + 1;
    char where[3] = "-?";

    for (; *letters != '\0'; letters++) {
        const Option *option = NULL;

        where[1] = *letters;
        if (*letters == 'h' && table_find(parse->cli->global_options, STR_EMPTY, 'h') == NULL) {
            parse->help = true;
            continue;
        }
        option = find_option(parse, STR_EMPTY, *letters);
        if (option == NULL) {
            return error_set(err, ERR_CONFIG, "no option is called -%c", *letters);
        }
        if (option->type == OPTION_FLAG) {
            *(bool *)option->value = true;
            continue;
        }
        if (letters[1] != '\0') {
            return option_assign(option, letters + 1, where, err);
        }
        if (*at + 1 >= argc) {
            return error_set(err, ERR_CONFIG, "%s needs a value: %s", where, option->arg);
        }
        (*at)++;
        return option_assign(option, argv[*at], where, err);
    }
    return true;
}

static bool
apply_environment(const Option *options, uint64_t seen, Error *err)
{
    for (size_t i = 0; options != NULL && options[i].long_name != NULL; i++) {
        const char *value = options[i].env != NULL ? getenv(options[i].env) : NULL;
        char where[NAME_BYTES_MAX + 16];

        if (value == NULL || *value == '\0' || (seen & (UINT64_C(1) << i)) != 0) {
            continue;
        }
        (void)snprintf(where, sizeof(where), "%s (environment)", options[i].env); /* cut: shown */
        if (!option_assign(&options[i], value, where, err)) {
            return false;
        }
    }
    return true;
}

/* ---- the command line ---- */

static bool
is_leaf(const Parse *parse)
{
    return parse->depth > 0 && parse->path[parse->depth - 1]->children == NULL;
}

static bool
enter_command(Parse *parse, const char *word, Error *err)
{
    const Command *table =
        parse->depth > 0 ? parse->path[parse->depth - 1]->children : parse->cli->commands;

    if (parse->depth == 0 && strcmp(word, "help") == 0) {
        parse->help = true;
        return true;
    }
    for (const Command *command = table; command->name != NULL; command++) {
        if (strcmp(command->name, word) == 0) {
            DS_ASSERT(parse->depth < DEPTH_MAX);
            parse->path[parse->depth++] = command;
            return true;
        }
    }
    const char *near = nearest_command(table, word);
    return error_set(err, ERR_CONFIG, "no command is called \"%.80s\"%s%s%s", word,
                     near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                     near != NULL ? "\"?" : "");
}

/* "-" is standard input and "-1" an offset: arguments, not options. */
static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
}

static bool
parse_word(Parse *parse, char *const *argv, int argc, int *at, Error *err)
{
    const char *word = argv[*at];

    if (!parse->only_args && strcmp(word, "--") == 0) {
        parse->only_args = true;
        return true;
    }
    if (!parse->only_args && is_option(word)) {
        return word[1] == '-' ? parse_long(parse, argv, argc, at, err)
                              : parse_short(parse, argv, argc, at, err);
    }
    if (!is_leaf(parse)) {
        return enter_command(parse, word, err);
    }
    if (parse->count == ARGS_MAX) {
        return error_set(err, ERR_CONFIG, "more than %d arguments", ARGS_MAX);
    }
    parse->args[parse->count++] = word;
    return true;
}

static bool
check_count(const Parse *parse, Error *err)
{
    if (!is_leaf(parse)) {
        return error_set(err, ERR_CONFIG, "a command is missing");
    }
    const Command *command = parse->path[parse->depth - 1];
    const char *args = command->args != NULL ? command->args : "none";
    if (parse->count < command->args_min) {
        return error_set(err, ERR_CONFIG, "an argument is missing: %s", args);
    }
    if (parse->count > command->args_max) {
        return error_set(err, ERR_CONFIG, "unexpected argument \"%.80s\"; arguments: %s",
                         parse->args[command->args_max], args);
    }
    return true;
}

static bool
parse_line(Parse *parse, int argc, char *const *argv, Error *err)
{
    for (int i = 1; i < argc; i++) {
        if (!parse_word(parse, argv, argc, &i, err)) {
            return false;
        }
    }
    if (parse->help) {
        return true;
    }
    return check_count(parse, err) &&
           apply_environment(parse->path[parse->depth - 1]->options, parse->seen_leaf, err) &&
           apply_environment(parse->cli->global_options, parse->seen_global, err);
}

static int
print_help(const Parse *parse)
{
    Buf page;
    Error err = {0};
    int status = 1;

    buf_init(&page, HELP_BYTES_MAX);
    if (help_page(parse, &page, &err)) {
        bool whole = fwrite(page.data, 1, page.len, stdout) == page.len && fflush(stdout) == 0;
        status = whole ? 0 : 1;
        if (!whole) {
            (void)fprintf(stderr, "%s: cannot write the output: %s\n", parse->cli->program,
                          strerror(errno));
        }
    } else {
        (void)fprintf(stderr, "%s: %s\n", parse->cli->program, err.text);
    }
    buf_done(&page);
    return status;
}

static int
print_usage_error(const Parse *parse, const Error *why)
{
    Buf text;
    Error err = {0};

    buf_init(&text, PATH_BYTES_MAX);
    if (!append_path(&text, parse, &err)) {
        buf_reset(&text);
    }
    (void)fprintf(stderr, "%s: %s\nTry \"%s --help\".\n", parse->cli->program, why->text,
                  buf_cstr(&text));
    buf_done(&text);
    return parse->cli->exit_usage;
}

int
cli_main(const Cli *cli, int argc, char **argv)
{
    Parse *parse = mem_zalloc(sizeof(*parse));
    Error err = {0};
    int status = 0;

    parse->cli = cli;
    if (!parse_line(parse, argc, argv, &err)) {
        status = print_usage_error(parse, &err);
    } else if (parse->help) {
        status = print_help(parse);
    } else {
        CliCall call = {.count = parse->count, .args = parse->args, .context = cli->context};
        status = parse->path[parse->depth - 1]->run(&call);
    }
    free(parse);
    return status;
}

/* ---- the whole tree ---- */

static bool
markdown_page(const Parse *at, Buf *out, Error *err)
{
    return buf_printf(out, err, "%s# `",
                      at->depth == 0   ? "#"
                      : at->depth == 1 ? "##"
                                       : "###") &&
           append_path(out, at, err) && buf_append(out, STR("`\n\n```text\n"), err) &&
           help_page(at, out, err) && buf_append(out, STR("```\n\n"), err);
}

static bool
markdown_walk(Parse *parse, Buf *out, Error *err)
{
    const Command *children =
        parse->depth > 0 ? parse->path[parse->depth - 1]->children : parse->cli->commands;

    if (!markdown_page(parse, out, err)) {
        return false;
    }
    for (; children != NULL && children->name != NULL; children++) {
        DS_ASSERT(parse->depth < DEPTH_MAX);
        parse->path[parse->depth++] = children;
        bool ok = markdown_walk(parse, out, err);
        parse->depth--;
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool
cli_markdown(const Cli *cli, Buf *out, Error *err)
{
    Parse *parse = mem_zalloc(sizeof(*parse));

    parse->cli = cli;
    bool ok = markdown_walk(parse, out, err);
    free(parse);
    return ok;
}
