/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shell completion from the command tables.
 *
 * bash and zsh share one body: `route` grows by each word that makes it a known path of commands,
 * so options and their values in between do no harm; then the route says which words may follow.
 */
#include "common/cli.h"

#define DEPTH_MAX 4

/* Where the walk is: the commands from the root to here. */
typedef struct Place {
    const Cli *cli;
    const Command *path[DEPTH_MAX];
    unsigned depth;
} Place;

typedef bool (*VisitFn)(const Place *place, Buf *out, Error *err);

static const Command *
place_command(const Place *place)
{
    return place->depth > 0 ? place->path[place->depth - 1] : NULL;
}

static const Command *
place_children(const Place *place)
{
    return place->depth > 0 ? place_command(place)->children : place->cli->commands;
}

static bool
walk(Place *place, VisitFn visit, Buf *out, Error *err)
{
    const Command *child = place_children(place);

    if (!visit(place, out, err)) {
        return false;
    }
    for (; child != NULL && child->name != NULL; child++) {
        DS_ASSERT(place->depth < DEPTH_MAX);
        place->path[place->depth++] = child;
        bool ok = walk(place, visit, out, err);
        place->depth--;
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool
walk_all(const Cli *cli, VisitFn visit, Buf *out, Error *err)
{
    Place place = {.cli = cli};

    return walk(&place, visit, out, err);
}

/* ---- bash and zsh ---- */

/* "dsctl stream ls" in double quotes. */
static bool
append_route(const Place *place, Buf *out, Error *err)
{
    if (!buf_printf(out, err, "\"%s", place->cli->program)) {
        return false;
    }
    for (unsigned i = 0; i < place->depth; i++) {
        if (!buf_printf(out, err, " %s", place->path[i]->name)) {
            return false;
        }
    }
    return buf_append_char(out, '"', err);
}

static bool
visit_pattern(const Place *place, Buf *out, Error *err)
{
    if (place->depth == 0) {
        return true;
    }
    return append_route(place, out, err) && buf_append(out, STR("|"), err);
}

static bool
append_options(const Option *options, Buf *out, Error *err)
{
    for (; options != NULL && options->long_name != NULL; options++) {
        if (!buf_printf(out, err, " --%s", options->long_name)) {
            return false;
        }
    }
    return true;
}

/* The words that may follow this route. */
static bool
visit_branch(const Place *place, Buf *out, Error *err)
{
    const Command *command = place_command(place);
    const Command *child = place_children(place);

    if (!buf_append(out, STR("    "), err) || !append_route(place, out, err) ||
        !buf_append(out, STR(") choices=\""), err)) {
        return false;
    }
    for (; child != NULL && child->name != NULL; child++) {
        if (!buf_printf(out, err, "%s ", child->name)) {
            return false;
        }
    }
    return buf_append(out, STR("--help"), err) &&
           append_options(command != NULL ? command->options : NULL, out, err) &&
           append_options(place->cli->global_options, out, err) &&
           buf_append(out, STR("\" ;;\n"), err);
}

static bool
append_words(const char *const *words, Buf *out, Error *err)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (!buf_printf(out, err, "%s%s", i == 0 ? "" : " ", words[i])) {
            return false;
        }
    }
    return true;
}

/* After an option that takes one of a few words, only these. */
static bool
append_choices(const Place *place, const Option *options, Buf *out, Error *err)
{
    for (; options != NULL && options->long_name != NULL; options++) {
        if (options->type != OPTION_CHOICE) {
            continue;
        }
        bool ok = buf_append(out, STR("    "), err);
        for (int is_short = 0; ok && is_short < (options->short_name != 0 ? 2 : 1); is_short++) {
            ok = buf_append(out, is_short ? STR("|") : STR_EMPTY, err) &&
                 append_route(place, out, err) &&
                 (is_short ? buf_printf(out, err, "\" -%c\"", options->short_name)
                           : buf_printf(out, err, "\" --%s\"", options->long_name));
        }
        ok = ok && buf_append(out, STR(") choices=\""), err) &&
             append_words(options->choices, out, err) && buf_append(out, STR("\" ;;\n"), err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool
visit_choices(const Place *place, Buf *out, Error *err)
{
    const Command *command = place_command(place);

    return append_choices(place, command != NULL ? command->options : NULL, out, err) &&
           append_choices(place, place->cli->global_options, out, err);
}

static bool
append_body(const Cli *cli, const char *words_before, Buf *out, Error *err)
{
    return buf_printf(out, err,
                      "    local route=\"%s\" word last=\"\" choices=\"\"\n"
                      "    for word in %s; do\n"
                      "        last=\"$word\"\n"
                      "        case \"$route $word\" in\n"
                      "        ",
                      cli->program, words_before) &&
           walk_all(cli, visit_pattern, out, err) &&
           buf_append(out,
                      STR("\"\") route=\"$route $word\" ;;\n"
                          "        esac\n"
                          "    done\n"
                          "    case \"$route\" in\n"),
                      err) &&
           walk_all(cli, visit_branch, out, err) &&
           buf_append(out, STR("    esac\n    case \"$route $last\" in\n"), err) &&
           walk_all(cli, visit_choices, out, err) && buf_append(out, STR("    esac\n"), err);
}

static bool
append_bash(const Cli *cli, Buf *out, Error *err)
{
    return buf_printf(out, err,
                      "# Completion for bash: save it in bash-completion's folder, or\n"
                      "#     eval \"$(%s completion bash)\"\n"
                      "_%s() {\n",
                      cli->program, cli->program) &&
           append_body(cli, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"", out, err) &&
           buf_printf(
               out, err,
               "    COMPREPLY=($(compgen -W \"$choices\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
               "}\n"
               "complete -o default -F _%s %s\n",
               cli->program, cli->program);
}

static bool
append_zsh(const Cli *cli, Buf *out, Error *err)
{
    return buf_printf(out, err,
                      "#compdef %s\n"
                      "# Completion for zsh: save it as _%s in a folder of $fpath.\n"
                      "_%s() {\n",
                      cli->program, cli->program, cli->program) &&
           append_body(cli, "\"${(@)words[2,CURRENT-1]}\"", out, err) &&
           buf_printf(out, err,
                      "    compadd -- ${=choices}\n"
                      "}\n"
                      "if [ \"$funcstack[1]\" = \"_%s\" ]; then\n"
                      "    _%s\n"
                      "else\n"
                      "    compdef _%s %s\n"
                      "fi\n",
                      cli->program, cli->program, cli->program, cli->program);
}

/* ---- fish ---- */

static bool
append_fish_quoted(Str text, Buf *out, Error *err)
{
    if (!buf_append_char(out, '\'', err)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        bool escape = text.ptr[i] == '\'' || text.ptr[i] == '\\';
        if ((escape && !buf_append_char(out, '\\', err)) ||
            !buf_append_char(out, text.ptr[i], err)) {
            return false;
        }
    }
    return buf_append_char(out, '\'', err);
}

/* complete -c dsctl -n '<every word of the path was seen, and none of the children yet>' */
static bool
append_fish_condition(const Place *place, Buf *out, Error *err)
{
    const Command *child = place_children(place);

    if (!buf_printf(out, err, "complete -c %s", place->cli->program)) {
        return false;
    }
    if (place->depth == 0) {
        return buf_append(out, STR(" -n __fish_use_subcommand"), err);
    }
    for (unsigned i = 0; i < place->depth; i++) {
        if (!buf_printf(out, err, "%s__fish_seen_subcommand_from %s", i == 0 ? " -n '" : "; and ",
                        place->path[i]->name)) {
            return false;
        }
    }
    if (child != NULL && !buf_append(out, STR("; and not __fish_seen_subcommand_from"), err)) {
        return false;
    }
    for (; child != NULL && child->name != NULL; child++) {
        if (!buf_printf(out, err, " %s", child->name)) {
            return false;
        }
    }
    return buf_append_char(out, '\'', err);
}

static bool
append_fish_option(const Option *option, Buf *out, Error *err)
{
    if (!buf_printf(out, err, " -l %s", option->long_name) ||
        (option->short_name != 0 && !buf_printf(out, err, " -s %c", option->short_name)) ||
        (option->type != OPTION_FLAG && !buf_append(out, STR(" -r"), err))) {
        return false;
    }
    if (option->type == OPTION_CHOICE &&
        (!buf_append(out, STR(" -f -a '"), err) || !append_words(option->choices, out, err) ||
         !buf_append_char(out, '\'', err))) {
        return false;
    }
    return buf_append(out, STR(" -d "), err) && append_fish_quoted(str_c(option->help), out, err) &&
           buf_append_char(out, '\n', err);
}

static bool
visit_fish(const Place *place, Buf *out, Error *err)
{
    const Command *command = place_command(place);
    const Command *child = place_children(place);
    const Option *option = command != NULL ? command->options : place->cli->global_options;

    for (; child != NULL && child->name != NULL; child++) {
        if (!append_fish_condition(place, out, err) ||
            !buf_printf(out, err, " -f -a %s -d ", child->name) ||
            !append_fish_quoted(str_c(child->help), out, err) || !buf_append_char(out, '\n', err)) {
            return false;
        }
    }
    for (; option != NULL && option->long_name != NULL; option++) {
        bool ok = command != NULL ? append_fish_condition(place, out, err)
                                  : buf_printf(out, err, "complete -c %s", place->cli->program);
        if (!ok || !append_fish_option(option, out, err)) {
            return false;
        }
    }
    return true;
}

static bool
append_fish(const Cli *cli, Buf *out, Error *err)
{
    return buf_printf(out, err,
                      "# Completion for fish: save it as %s.fish in fish's completions folder.\n"
                      "complete -c %s -l help -s h -d 'show help'\n",
                      cli->program, cli->program) &&
           walk_all(cli, visit_fish, out, err);
}

bool
cli_completion(const Cli *cli, Str shell, Buf *out, Error *err)
{
    if (str_eq(shell, STR("bash"))) {
        return append_bash(cli, out, err);
    }
    if (str_eq(shell, STR("zsh"))) {
        return append_zsh(cli, out, err);
    }
    if (str_eq(shell, STR("fish"))) {
        return append_fish(cli, out, err);
    }
    return error_set(err, ERR_CONFIG, "no completion for \"%.*s\"; there is bash, zsh and fish",
                     STR_ARG(str_head(shell, 40)));
}
