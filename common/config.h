/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/config.h -- one const table per program is the only truth about its settings.
 *
 * The table fills one struct that is passed down; the same table prints --help, --print-config and
 * the settings part of the docs (a test compares).  Precedence: default < --config FILE of
 * KEY=value lines < environment < command line flag.  A variable NAME_FILE-style secret is a
 * setting of its own. An empty value in the file or the environment counts as not set (compose
 * passes absent variables so); --NAME= clears a text.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"
#include "common/secret.h"

typedef enum SettingType {
    SETTING_STRING,   /* char *, owned by the struct; NULL when unset */
    SETTING_BOOL,     /* bool */
    SETTING_INT,      /* int64_t */
    SETTING_SIZE,     /* int64_t bytes; 10MiB and the like */
    SETTING_DURATION, /* int64_t milliseconds; 30s and the like; a bare number counts bare_unit_ms
                       */
    SETTING_CHOICE,   /* int: index into choices */
    SETTING_SECRET,   /* Secret */
} SettingType;

/* Another word for a choice, from before: {"redb", 3}. */
typedef struct ChoiceAlias {
    const char *word;
    int choice;
} ChoiceAlias;

typedef struct Setting {
    const char *name;           /* the environment variable: "DS_SERVER__PORT" */
    const char *const *aliases; /* NULL-terminated older names, or NULL */
    const char *flag;           /* "listen" for --listen VALUE; NULL: --set NAME=value only */
    SettingType type;
    size_t field;                      /* offsetof in the program's struct */
    const char *fallback;              /* default as text; NULL = unset */
    int64_t min, max;                  /* numbers; both 0 = no bounds */
    int64_t bare_unit_ms;              /* SETTING_DURATION */
    const char *const *choices;        /* SETTING_CHOICE, NULL-terminated */
    const ChoiceAlias *choice_aliases; /* ends with word NULL; or NULL */
    bool reloadable;
    const char *unit; /* for people: "bytes", "streams" */
    const char *help; /* one sentence */
} Setting;

/* A name that was a setting once, or is one elsewhere: what it asks for is not to be had. */
typedef struct RetiredSetting {
    const char *name;
    const char *harmless; /* comma list of values that ask for nothing but what is so; or NULL */
    const char *instead;  /* a sentence for the operator: what to do */
} RetiredSetting;

typedef enum SettingOrigin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_FLAG } SettingOrigin;

typedef struct ConfigTable {
    const char *program;     /* "ds-server" */
    const char *summary;     /* one line for --help */
    const char *flags_help;  /* lines for flags of the program's own, or NULL */
    const Setting *settings; /* ends with name NULL */
    /* "SYNCD_", NULL: unknown variables beginning so are reported; "DS_*__" wants a "__" further
     * on. */
    const char *const *owned_prefixes;
    const RetiredSetting *retired; /* ends with name NULL; or NULL */
    const char *const
        *foreign; /* NULL-terminated names with such a prefix that are not ours to judge */
} ConfigTable;

typedef struct ConfigLoad {
    /* in */
    int argc;
    char **argv;
    char **environ_;
    /* out: what the standard flags asked for */
    bool help, version, print_config, check_config;
    char *config_path;      /* owned; free with config_load_done */
    SettingOrigin *origins; /* one per setting */
    Buf unknown;            /* names of unknown variables and file lines, one a line */
    Buf problems;           /* all that is not legal, one a line; the first is config_load's err */
} ConfigLoad;

/* Zeroes nothing: `out` must be zeroed by the caller before the first load, and on failure it is
 * partly filled (config_done it).  To reload, load into a second struct.  After --help or --version
 * only the defaults are there.  A bool's flag may stand alone, which is true.
 * Flags: --NAME VALUE, --NAME=VALUE, --config FILE, --set NAME=VALUE, --help, --version,
 * --print-config, --check-config.  --set takes no secret: who lists processes would read it.
 * ERR_CONFIG says which setting, where it came from and what is legal, of the first one that is
 * not; the others are in load->problems, so that they can be mended at one go. */
DS_MUST_CHECK bool config_load(const ConfigTable *table, void *out, ConfigLoad *load, Error *err);
/* Adds to load->problems what the table cannot tell, unless `good`. */
void config_note(ConfigLoad *load, bool good, const Error *problem);
/* False, with the first of them, when there are problems. */
DS_MUST_CHECK bool config_is_good(const ConfigLoad *load, Error *err);
/* Says each line of load->unknown or load->problems, without its end: programs log, not we. */
void config_each_line(const Buf *lines, void (*say)(Str line));
void config_load_done(ConfigLoad *load);
void config_done(const ConfigTable *table, void *out); /* frees strings and secrets */

/* Where the value of that setting came from; may be written where one setting displaces another. */
SettingOrigin *config_origin(const ConfigTable *table, const ConfigLoad *load, const char *name);
const char *config_origin_name(SettingOrigin origin); /* "environment" */

DS_MUST_CHECK bool config_help(const ConfigTable *table, Buf *out, Error *err);
/* NAME=value lines with the origin as a comment; secrets as ***. */
DS_MUST_CHECK bool config_print(const ConfigTable *table, const void *values,
                                const ConfigLoad *load, Buf *out, Error *err);
/* What --help, --version, --print-config or --check-config asked for, on stdout. */
DS_MUST_CHECK bool config_answer(const ConfigTable *table, const void *values,
                                 const ConfigLoad *load, Error *err);
/* The settings table in Markdown, for docs/. */
DS_MUST_CHECK bool config_markdown(const ConfigTable *table, Buf *out, Error *err);
