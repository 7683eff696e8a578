/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <errno.h>

#include "common/config_internal.h"
#include "common/mem.h"
#include "common/parse.h"

#define CONFIG_FILE_BYTES_MAX 1048576
#define UNKNOWN_BYTES_MAX     65536
#define PROBLEMS_BYTES_MAX    65536
#define LEGAL_BYTES_MAX       512
#define NAME_BYTES_SHOWN      80

static size_t
settings_count(const ConfigTable *table)
{
    size_t count = 0;

    while (table->settings[count].name != NULL) {
        count++;
    }
    return count;
}

static void *
setting_field(const Setting *setting, void *values)
{
    return (char *)values + setting->field;
}

/* ---- assigning one setting ---- */

static void
set_string(char **field, Str text)
{
    char *copy = text.len > 0 ? str_dup(text) : NULL;

    free(*field);
    *field = copy;
}

static bool
parse_number(const Setting *setting, Str text, int64_t *out)
{
    uint64_t bytes = 0;
    int64_t value = 0;
    bool ok = false;

    if (setting->type == SETTING_INT) {
        ok = parse_i64(text, &value);
    } else if (setting->type == SETTING_DURATION) {
        DS_ASSERT(setting->bare_unit_ms > 0);
        ok = parse_duration_ms(text, setting->bare_unit_ms, &value);
    } else {
        ok = parse_size(text, &bytes) && bytes <= INT64_MAX;
        value = ok ? (int64_t)bytes : 0;
    }
    if (!ok || (config_is_bounded(setting) && (value < setting->min || value > setting->max))) {
        return false;
    }
    *out = value;
    return true;
}

static bool
parse_choice(const Setting *setting, Str text, int *out)
{
    for (int i = 0; setting->choices[i] != NULL; i++) {
        if (str_eq_nocase(text, str_c(setting->choices[i]))) {
            *out = i;
            return true;
        }
    }
    for (const ChoiceAlias *alias = setting->choice_aliases; alias != NULL && alias->word != NULL;
         alias++) {
        if (str_eq_nocase(text, str_c(alias->word))) {
            *out = alias->choice;
            return true;
        }
    }
    return false;
}

static bool
assign_value(const Setting *setting, void *values, Str text)
{
    void *field = setting_field(setting, values);

    switch (setting->type) {
    case SETTING_STRING:
        set_string(field, text);
        return true;
    case SETTING_SECRET:
        secret_set(field, text);
        return true;
    case SETTING_BOOL:
        return parse_bool(text, field);
    case SETTING_CHOICE:
        return parse_choice(setting, text, field);
    case SETTING_INT:
    case SETTING_SIZE:
    case SETTING_DURATION:
        return parse_number(setting, text, field);
    }
    return false;
}

/* where: "environment", "flag", "FILE:LINE", "default". */
static bool
assign(const Setting *setting, void *values, Str text, const char *where, Error *err)
{
    Buf legal;
    Error ignored = {0};
    bool has_nul = memchr(text.ptr, '\0', text.len) != NULL;

    if (!has_nul && assign_value(setting, values, text)) {
        return true;
    }
    if (setting->type == SETTING_SECRET) {
        return error_set(err, ERR_CONFIG, "%s (%s): a NUL byte is not legal", setting->name, where);
    }
    buf_init(&legal, LEGAL_BYTES_MAX);
    if (!config_append_legal(&legal, setting, &ignored)) {
        buf_reset(&legal); /* cannot be: choices are few and short */
    }
    error_set(err, ERR_CONFIG, "%s (%s): \"%.*s\" is not legal; legal: %s", setting->name, where,
              STR_ARG(str_head(text, NAME_BYTES_SHOWN)), buf_cstr(&legal));
    buf_done(&legal);
    return false;
}

/* ---- the sources: defaults, file, environment, flags ---- */

typedef struct Loader {
    const ConfigTable *table;
    void *values;
    ConfigLoad *load;
} Loader;

void
config_note(ConfigLoad *load, bool good, const Error *problem)
{
    Error full = {0};

    load->problems.max = PROBLEMS_BYTES_MAX;
    if (!good && !buf_printf(&load->problems, &full, "%s\n", problem->text)) {
        return; /* the first ones tell enough */
    }
}

bool
config_is_good(const ConfigLoad *load, Error *err)
{
    Str rest = buf_str(&load->problems);
    Str first;

    if (rest.len == 0) {
        return true;
    }
    (void)str_cut(rest, '\n', &first, &rest); /* each has its end */
    return error_set(err, ERR_CONFIG, "%.*s", STR_ARG(first));
}

static bool
name_matches(const Setting *setting, Str name)
{
    if (str_eq(name, str_c(setting->name))) {
        return true;
    }
    for (size_t i = 0; setting->aliases != NULL && setting->aliases[i] != NULL; i++) {
        if (str_eq(name, str_c(setting->aliases[i]))) {
            return true;
        }
    }
    return false;
}

static const Setting *
find_setting(const ConfigTable *table, Str name)
{
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        if (name_matches(setting, name)) {
            return setting;
        }
    }
    return NULL;
}

static bool
loader_assign(Loader *loader, const Setting *setting, Str text, SettingOrigin origin,
              const char *where, Error *err)
{
    if (!assign(setting, loader->values, text, where, err)) {
        return false;
    }
    loader->load->origins[setting - loader->table->settings] = origin;
    return true;
}

static void
load_defaults(Loader *loader)
{
    const Setting *setting = loader->table->settings;
    Error err;

    for (; setting->name != NULL; setting++) {
        bool legal =
            setting->fallback == NULL || loader_assign(loader, setting, str_c(setting->fallback),
                                                       ORIGIN_DEFAULT, "default", &err);
        DS_ASSERT(legal); /* the table is ours */
    }
}

static const RetiredSetting *
find_retired(const ConfigTable *table, Str name)
{
    const RetiredSetting *retired = table->retired;

    for (; retired != NULL && retired->name != NULL; retired++) {
        if (str_eq(name, str_c(retired->name))) {
            return retired;
        }
    }
    return NULL;
}

/* False when the value asks for what is not to be had. */
static bool
judge_retired(const RetiredSetting *retired, Str value, const char *where, Error *err)
{
    Str rest = str_c(retired->harmless);

    while (rest.len > 0) {
        Str word;

        (void)str_cut(rest, ',', &word, &rest); /* false: the last one */
        if (str_eq_nocase(word, value)) {
            return true;
        }
    }
    return error_set(err, ERR_CONFIG, "%s (%s): %s", retired->name, where, retired->instead);
}

static void
note_unknown(ConfigLoad *load, Str name)
{
    Error full = {0};

    name = str_head(name, NAME_BYTES_SHOWN);
    if (!buf_printf(&load->unknown, &full, "%.*s\n", STR_ARG(name))) {
        return; /* there are thousands of them, and the first ones tell enough */
    }
}

static Str
unquote(Str value)
{
    bool quoted = value.len >= 2 && (value.ptr[0] == '"' || value.ptr[0] == '\'') &&
                  value.ptr[value.len - 1] == value.ptr[0];

    return quoted ? str_slice(value, 1, value.len - 1) : value;
}

static bool
load_line(Loader *loader, Str line, unsigned number, Error *err)
{
    const char *path = loader->load->config_path;
    char where[256];
    Str name = STR_EMPTY;
    Str value = STR_EMPTY;

    line = str_trim(line);
    if (line.len == 0 || line.ptr[0] == '#') {
        return true;
    }
    if (!str_cut(line, '=', &name, &value)) {
        return error_set(err, ERR_CONFIG, "%s:%u: expected NAME=value%s", path, number,
                         line.ptr[0] == '[' ? " (TOML is not read here)" : "");
    }
    name = str_trim(name);
    value = unquote(str_trim(value));
    const Setting *setting = find_setting(loader->table, name);
    const RetiredSetting *retired = find_retired(loader->table, name);
    (void)snprintf(where, sizeof(where), "%s:%u", path, number); /* cut: only shown */
    if (retired != NULL) {
        return value.len == 0 || judge_retired(retired, value, where, err);
    }
    if (setting == NULL) {
        note_unknown(loader->load, name);
        return true;
    }
    return value.len == 0 || loader_assign(loader, setting, value, ORIGIN_FILE, where, err);
}

static void
load_text(Loader *loader, Str text)
{
    Error problem = {0};

    for (unsigned number = 1; text.len > 0; number++) {
        Str line = STR_EMPTY;
        (void)str_cut(text, '\n', &line, &text); /* false: the last line has no line feed */
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        config_note(loader->load, load_line(loader, line, number, &problem), &problem);
    }
}

static bool
load_file(Loader *loader, Error *err)
{
    const char *path = loader->load->config_path;
    char *text = mem_alloc(CONFIG_FILE_BYTES_MAX + 1);
    bool ok = false;
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        error_set(err, ERR_CONFIG, "cannot read the configuration file %s: %s", path,
                  strerror(errno));
        goto done;
    }
    size_t len = fread(text, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        error_set(err, ERR_CONFIG, "cannot read the configuration file %s: %s", path,
                  strerror(errno));
        goto done;
    }
    if (len > CONFIG_FILE_BYTES_MAX) {
        error_set(err, ERR_CONFIG, "the configuration file %s is longer than %d bytes", path,
                  CONFIG_FILE_BYTES_MAX);
        goto done;
    }
    load_text(loader, str_n(text, len));
    ok = true;
    explicit_bzero(text, len); /* it may hold secrets */

done:
    if (file != NULL) {
        (void)fclose(file);
    }
    free(text);
    return ok;
}

/* "DS_" owns every name that begins so; "DS_*__" only those that also have "__" further on. */
static bool
prefix_owns(Str pattern, Str name)
{
    Str head = STR_EMPTY;
    Str inner = STR_EMPTY;

    if (!str_cut(pattern, '*', &head, &inner)) {
        return str_starts(name, pattern);
    }
    if (!str_starts(name, head)) {
        return false;
    }
    for (Str rest = str_skip(name, head.len); rest.len > 0; rest = str_skip(rest, 1)) {
        if (str_starts(rest, inner)) {
            return true;
        }
    }
    return false;
}

static bool
is_listed(const char *const *names, Str name)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        if (str_eq(name, str_c(names[i]))) {
            return true;
        }
    }
    return false;
}

static bool
is_owned(const ConfigTable *table, Str name)
{
    static const char *const test_switches[] = {"DS_FAULT", "DS_FAULT_LOG", "DS_MUTANT", NULL};

    if (is_listed(table->foreign, name) || is_listed(test_switches, name)) {
        return false;
    }
    for (size_t i = 0; table->owned_prefixes != NULL && table->owned_prefixes[i] != NULL; i++) {
        if (prefix_owns(str_c(table->owned_prefixes[i]), name)) {
            return true;
        }
    }
    return false;
}

/* NULL when absent or empty: compose passes what is not set as empty. */
static const char *
environment_get(char **environment, const char *name)
{
    size_t len = strlen(name);

    for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=') {
            return (*entry)[len + 1] != '\0' ? *entry + len + 1 : NULL;
        }
    }
    return NULL;
}

static void
load_environment(Loader *loader)
{
    char **environment = loader->load->environ_;
    Error problem = {0};

    for (const Setting *setting = loader->table->settings; setting->name != NULL; setting++) {
        const char *value = environment_get(environment, setting->name);
        for (size_t i = 0; value == NULL && setting->aliases != NULL && setting->aliases[i] != NULL;
             i++) {
            value = environment_get(environment, setting->aliases[i]);
        }
        config_note(loader->load,
                    value == NULL || loader_assign(loader, setting, str_c(value), ORIGIN_ENV,
                                                   "environment", &problem),
                    &problem);
    }
    for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
        Str name = STR_EMPTY;
        Str value = STR_EMPTY;
        (void)str_cut(str_c(*entry), '=', &name, &value); /* without '=' all of it is the name */
        const RetiredSetting *retired = find_retired(loader->table, name);
        config_note(loader->load,
                    retired == NULL || value.len == 0 ||
                        judge_retired(retired, value, "environment", &problem),
                    &problem);
        if (retired == NULL && is_owned(loader->table, name) &&
            find_setting(loader->table, name) == NULL) {
            note_unknown(loader->load, name);
        }
    }
}

/* ---- flags ---- */

typedef struct Flag {
    Str name; /* without the dashes */
    Str value;
    bool has_value;
} Flag;

static bool
standard_switch(ConfigLoad *load, Str name)
{
    const struct {
        Str name;
        bool *field;
    } switches[] = {
        {STR("help"), &load->help},
        {STR("h"), &load->help},
        {STR("version"), &load->version},
        {STR("print-config"), &load->print_config},
        {STR("check-config"), &load->check_config},
    };

    for (size_t i = 0; i < DS_COUNT(switches); i++) {
        if (str_eq(name, switches[i].name)) {
            *switches[i].field = true;
            return true;
        }
    }
    return false;
}

static const Setting *
find_flag(const ConfigTable *table, Str name)
{
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        if (setting->flag != NULL && str_eq(name, str_c(setting->flag))) {
            return setting;
        }
    }
    return NULL;
}

static bool
flag_set(Loader *loader, Str assignment, Error *err)
{
    Str name = STR_EMPTY;
    Str value = STR_EMPTY;

    if (!str_cut(assignment, '=', &name, &value)) {
        return error_set(err, ERR_CONFIG, "--set: expected NAME=value");
    }
    const Setting *setting = find_setting(loader->table, name);
    const RetiredSetting *retired = find_retired(loader->table, name);
    if (retired != NULL) {
        return judge_retired(retired, value, "flag --set", err);
    }
    if (setting == NULL) {
        return error_set(err, ERR_CONFIG, "--set: no setting is called \"%.*s\"; see --help",
                         STR_ARG(str_head(name, NAME_BYTES_SHOWN)));
    }
    if (setting->type == SETTING_SECRET) {
        return error_set(err, ERR_CONFIG,
                         "--set %s: whoever lists processes would see it; use the environment or a "
                         "file",
                         setting->name);
    }
    return loader_assign(loader, setting, value, ORIGIN_FLAG, "flag --set", err);
}

static bool
flag_apply(Loader *loader, const Flag *flag, bool file_only, Error *err)
{
    char where[96];

    if (str_eq(flag->name, STR("config"))) {
        if (file_only) {
            free(loader->load->config_path);
            loader->load->config_path = str_dup(flag->value);
        }
        return true;
    }
    if (file_only) {
        return true;
    }
    if (str_eq(flag->name, STR("set"))) {
        return flag_set(loader, flag->value, err);
    }
    const Setting *setting = find_flag(loader->table, flag->name);
    DS_ASSERT(setting != NULL);
    (void)snprintf(where, sizeof(where), "flag --%s", setting->flag); /* cut: only shown */
    return loader_assign(loader, setting, flag->value, ORIGIN_FLAG, where, err);
}

/* A bool's value may be left out, which is true; every other flag takes the next argument. */
static bool
flag_take_value(const Loader *loader, Flag *flag, int *at, Error *err)
{
    const Setting *setting = find_flag(loader->table, flag->name);
    bool known =
        setting != NULL || str_eq(flag->name, STR("config")) || str_eq(flag->name, STR("set"));
    bool has_next = *at + 1 < loader->load->argc;

    if (!known) {
        return error_set(err, ERR_CONFIG, "no flag is called --%.*s; see --help",
                         STR_ARG(str_head(flag->name, NAME_BYTES_SHOWN)));
    }
    if (flag->has_value) {
        return true;
    }
    if (setting != NULL && setting->type == SETTING_BOOL) {
        bool ignored = false;
        Str next = has_next ? str_c(loader->load->argv[*at + 1]) : STR_EMPTY;
        bool takes_next = parse_bool(next, &ignored);
        flag->value = takes_next ? next : STR("true");
        *at += takes_next ? 1 : 0;
        return true;
    }
    if (!has_next) {
        return error_set(err, ERR_CONFIG, "--%.*s needs a value", STR_ARG(flag->name));
    }
    (*at)++;
    flag->value = str_c(loader->load->argv[*at]);
    return true;
}

/* Most often a value without its flag: it may be a connection string. */
static bool
unexpected_argument(Str arg, Error *err)
{
    char *shown = secret_redact_url(arg);

    (void)error_set(err, ERR_CONFIG, "unexpected argument \"%.*s\"; see --help", NAME_BYTES_SHOWN,
                    shown);
    free(shown);
    return false;
}

/* Walked twice: --config must be known before the environment, the others come after it.  What is
 * no flag is said the first time: the rest of the line may not mean what it seems to. */
static bool
load_flags(Loader *loader, bool file_only, Error *err)
{
    Error problem = {0};

    for (int i = 1; i < loader->load->argc; i++) {
        Str arg = str_c(loader->load->argv[i]);
        Flag flag = {.name = STR_EMPTY, .value = STR_EMPTY};

        if (str_eq(arg, STR("-h"))) {
            arg = STR("--h");
        }
        if (!str_starts(arg, STR("--")) || arg.len == 2) {
            return unexpected_argument(arg, err);
        }
        flag.has_value = str_cut(str_skip(arg, 2), '=', &flag.name, &flag.value);
        if (!flag.has_value && standard_switch(loader->load, flag.name)) {
            continue;
        }
        if (!flag_take_value(loader, &flag, &i, err)) {
            return false;
        }
        config_note(loader->load, flag_apply(loader, &flag, file_only, &problem), &problem);
    }
    return true;
}

bool
config_load(const ConfigTable *table, void *out, ConfigLoad *load, Error *err)
{
    Loader loader = {.table = table, .values = out, .load = load};

    config_load_done(load);
    load->origins = mem_array(settings_count(table) + 1, sizeof(*load->origins));
    buf_init(&load->unknown, UNKNOWN_BYTES_MAX);
    load_defaults(&loader);
    bool walked = load_flags(&loader, true, err);
    if (walked && (load->help || load->version)) {
        return true; /* they must work however broken the rest is */
    }
    config_note(load, walked, err);
    config_note(load, load->config_path == NULL || load_file(&loader, err), err);
    load_environment(&loader);
    config_note(load, !walked || load_flags(&loader, false, err), err);
    return config_is_good(load, err);
}

SettingOrigin *
config_origin(const ConfigTable *table, const ConfigLoad *load, const char *name)
{
    const Setting *setting = find_setting(table, str_c(name));

    DS_ASSERT(setting != NULL);
    return &load->origins[setting - table->settings];
}

void
config_each_line(const Buf *lines, void (*say)(Str line))
{
    Str rest = buf_str(lines);
    Str line;

    while (rest.len > 0) {
        (void)str_cut(rest, '\n', &line, &rest); /* each has its end */
        say(line);
    }
}

void
config_load_done(ConfigLoad *load)
{
    free(load->config_path);
    free(load->origins);
    buf_done(&load->unknown);
    buf_done(&load->problems);
    load->config_path = NULL;
    load->origins = NULL;
    load->help = load->version = load->print_config = load->check_config = false;
}

void
config_done(const ConfigTable *table, void *out)
{
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        void *field = setting_field(setting, out);
        if (setting->type == SETTING_STRING) {
            set_string(field, STR_EMPTY);
        } else if (setting->type == SETTING_SECRET) {
            secret_done(field);
        }
    }
}
