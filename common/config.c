/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <errno.h>

#include "common/mem.h"
#include "common/parse.h"

#define CONFIG_FILE_BYTES_MAX 1048576
#define UNKNOWN_BYTES_MAX     65536
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

static const void *
setting_field_const(const Setting *setting, const void *values)
{
    return (const char *)values + setting->field;
}

static bool
is_bounded(const Setting *setting)
{
    return setting->min != 0 || setting->max != 0;
}

/* ---- values as text ---- */

typedef struct Unit {
    const char *name;
    int64_t size;
} Unit;

/* In the largest unit that leaves no rest, so that reading it back gives the same value. */
static bool
append_in_units(Buf *out, int64_t value, const Unit *units, size_t count, Error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (value != 0 && value % units[i].size == 0) {
            return buf_printf(out, err, "%lld%s", (long long)(value / units[i].size),
                              units[i].name);
        }
    }
    return buf_printf(out, err, "%lld", (long long)value);
}

static bool
append_number(Buf *out, SettingType type, int64_t value, Error *err)
{
    static const Unit sizes[] = {{"GiB", INT64_C(1) << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};
    static const Unit durations[] = {
        {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

    if (type == SETTING_SIZE) {
        return append_in_units(out, value, sizes, DS_COUNT(sizes), err);
    }
    if (type == SETTING_DURATION) {
        return append_in_units(out, value, durations, DS_COUNT(durations), err);
    }
    return buf_printf(out, err, "%lld", (long long)value);
}

/* "a, b or c" */
static bool
append_choices(Buf *out, const char *const *choices, Error *err)
{
    for (size_t i = 0; choices[i] != NULL; i++) {
        const char *before = i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ";
        if (!buf_printf(out, err, "%s%s", before, choices[i])) {
            return false;
        }
    }
    return true;
}

/* What may stand there, for errors and help: "a whole number, 1 to 65535". */
static bool
append_legal(Buf *out, const Setting *setting, Error *err)
{
    bool ok = false;

    switch (setting->type) {
    case SETTING_STRING:
    case SETTING_SECRET:
        return buf_append(out, STR("a text"), err);
    case SETTING_BOOL:
        return buf_append(out, STR("true or false"), err);
    case SETTING_CHOICE:
        return append_choices(out, setting->choices, err);
    case SETTING_INT:
        ok = buf_append(out, STR("a whole number"), err);
        break;
    case SETTING_SIZE:
        ok = buf_append(out, STR("a size such as 512KiB or 10MiB"), err);
        break;
    case SETTING_DURATION:
        ok = buf_append(out, STR("a duration such as 250ms, 30s or 5m"), err);
        break;
    }
    if (!ok || !is_bounded(setting)) {
        return ok;
    }
    return buf_append(out, STR(", "), err) &&
           append_number(out, setting->type, setting->min, err) &&
           buf_append(out, STR(" to "), err) &&
           append_number(out, setting->type, setting->max, err);
}

static bool
append_value(Buf *out, const Setting *setting, const void *values, Error *err)
{
    const void *field = setting_field_const(setting, values);

    switch (setting->type) {
    case SETTING_STRING: {
        const char *text = *(char *const *)field;
        return buf_append(out, str_c(text), err);
    }
    case SETTING_SECRET:
        return !secret_is_set(field) || buf_append(out, STR("***"), err);
    case SETTING_BOOL:
        return buf_append(out, *(const bool *)field ? STR("true") : STR("false"), err);
    case SETTING_CHOICE:
        return buf_append(out, str_c(setting->choices[*(const int *)field]), err);
    case SETTING_INT:
    case SETTING_SIZE:
    case SETTING_DURATION:
        return append_number(out, setting->type, *(const int64_t *)field, err);
    }
    return false;
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
    if (!ok || (is_bounded(setting) && (value < setting->min || value > setting->max))) {
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
    (void)append_legal(&legal, setting, &ignored); /* a shorter text still helps */
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

static bool
load_defaults(Loader *loader, Error *err)
{
    const Setting *setting = loader->table->settings;

    for (; setting->name != NULL; setting++) {
        if (setting->fallback != NULL && !loader_assign(loader, setting, str_c(setting->fallback),
                                                        ORIGIN_DEFAULT, "default", err)) {
            return false;
        }
    }
    return true;
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
        return error_set(err, ERR_CONFIG, "%s:%u: expected NAME=value", path, number);
    }
    name = str_trim(name);
    value = unquote(str_trim(value));
    const Setting *setting = find_setting(loader->table, name);
    if (setting == NULL) {
        note_unknown(loader->load, name);
        return true;
    }
    (void)snprintf(where, sizeof(where), "%s:%u", path, number); /* cut: only shown */
    return value.len == 0 || loader_assign(loader, setting, value, ORIGIN_FILE, where, err);
}

static bool
load_text(Loader *loader, Str text, Error *err)
{
    for (unsigned number = 1; text.len > 0; number++) {
        Str line = STR_EMPTY;
        (void)str_cut(text, '\n', &line, &text); /* false: the last line has no line feed */
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        if (!load_line(loader, line, number, err)) {
            return false;
        }
    }
    return true;
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
    ok = load_text(loader, str_n(text, len), err);
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

static bool
load_environment(Loader *loader, Error *err)
{
    char **environment = loader->load->environ_;

    for (const Setting *setting = loader->table->settings; setting->name != NULL; setting++) {
        const char *value = environment_get(environment, setting->name);
        for (size_t i = 0; value == NULL && setting->aliases != NULL && setting->aliases[i] != NULL;
             i++) {
            value = environment_get(environment, setting->aliases[i]);
        }
        if (value != NULL &&
            !loader_assign(loader, setting, str_c(value), ORIGIN_ENV, "environment", err)) {
            return false;
        }
    }
    for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
        Str name = STR_EMPTY;
        Str value = STR_EMPTY;
        (void)str_cut(str_c(*entry), '=', &name, &value); /* without '=' all of it is the name */
        if (is_owned(loader->table, name) && find_setting(loader->table, name) == NULL) {
            note_unknown(loader->load, name);
        }
    }
    return true;
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
    if (setting == NULL) {
        return error_set(err, ERR_CONFIG, "--set: no setting is called \"%.*s\"; see --help",
                         STR_ARG(str_head(name, NAME_BYTES_SHOWN)));
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

/* Walked twice: --config must be known before the environment, the others come after it. */
static bool
load_flags(Loader *loader, bool file_only, Error *err)
{
    for (int i = 1; i < loader->load->argc; i++) {
        Str arg = str_c(loader->load->argv[i]);
        Flag flag = {.name = STR_EMPTY, .value = STR_EMPTY};

        if (str_eq(arg, STR("-h"))) {
            arg = STR("--h");
        }
        if (!str_starts(arg, STR("--")) || arg.len == 2) {
            return error_set(err, ERR_CONFIG, "unexpected argument \"%.*s\"; see --help",
                             STR_ARG(str_head(arg, NAME_BYTES_SHOWN)));
        }
        flag.has_value = str_cut(str_skip(arg, 2), '=', &flag.name, &flag.value);
        if (!flag.has_value && standard_switch(loader->load, flag.name)) {
            continue;
        }
        if (!flag_take_value(loader, &flag, &i, err) ||
            !flag_apply(loader, &flag, file_only, err)) {
            return false;
        }
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
    if (!load_flags(&loader, true, err) || !load_defaults(&loader, err)) {
        return false;
    }
    if (load->help || load->version) {
        return true; /* they must work however broken the rest is */
    }
    return (load->config_path == NULL || load_file(&loader, err)) &&
           load_environment(&loader, err) && load_flags(&loader, false, err);
}

void
config_load_done(ConfigLoad *load)
{
    free(load->config_path);
    free(load->origins);
    buf_done(&load->unknown);
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

/* ---- printing ---- */

static bool
help_setting(const Setting *setting, Buf *out, Error *err)
{
    if (!buf_printf(out, err, "\n  %s", setting->name)) {
        return false;
    }
    if (setting->flag != NULL && !buf_printf(out, err, ", --%s VALUE", setting->flag)) {
        return false;
    }
    if (!buf_printf(out, err, "\n      %s\n      ", setting->help) ||
        !append_legal(out, setting, err)) {
        return false;
    }
    if (setting->unit != NULL && !buf_printf(out, err, " (%s)", setting->unit)) {
        return false;
    }
    return setting->fallback != NULL ? buf_printf(out, err, "; default %s\n", setting->fallback)
                                     : buf_append(out, STR("; not set by default\n"), err);
}

bool
config_help(const ConfigTable *table, Buf *out, Error *err)
{
    static const char flags[] =
        "  --config FILE       read NAME=value lines; # starts a comment line\n"
        "  --set NAME=value    set any setting below; repeatable\n"
        "  --print-config      print every setting with where it came from, and leave\n"
        "  --check-config      check the settings, and leave: status 0 when they are good\n"
        "  --version           print the version, and leave\n"
        "  -h, --help          print this, and leave\n";

    if (!buf_printf(
            out, err,
            "usage: %s [flags]\n\n%s\n\nflags:\n%s\n"
            "settings (default < --config file < environment < flag; empty means not set):\n",
            table->program, table->summary, flags)) {
        return false;
    }
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        if (!help_setting(setting, out, err)) {
            return false;
        }
    }
    return true;
}

bool
config_print(const ConfigTable *table, const void *values, const ConfigLoad *load, Buf *out,
             Error *err)
{
    static const char *const origins[] = {[ORIGIN_DEFAULT] = "default",
                                          [ORIGIN_FILE] = "file",
                                          [ORIGIN_ENV] = "environment",
                                          [ORIGIN_FLAG] = "flag"};

    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        SettingOrigin origin = load->origins[setting - table->settings];
        if (!buf_printf(out, err, "# %s\n%s=", origins[origin], setting->name) ||
            !append_value(out, setting, values, err) || !buf_append_char(out, '\n', err)) {
            return false;
        }
    }
    return true;
}

/* A cell of a Markdown table: a bar would end it. */
static bool
append_cell(Buf *out, Str text, Error *err)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((text.ptr[i] == '|' && !buf_append_char(out, '\\', err)) ||
            !buf_append_char(out, text.ptr[i], err)) {
            return false;
        }
    }
    return true;
}

static bool
markdown_setting(const Setting *setting, Buf *out, Error *err)
{
    bool ok = buf_printf(out, err, "| `%s`", setting->name);

    for (size_t i = 0; ok && setting->aliases != NULL && setting->aliases[i] != NULL; i++) {
        ok = buf_printf(out, err, "%s`%s`", i == 0 ? ", formerly " : ", ", setting->aliases[i]);
    }
    ok = ok && (setting->flag != NULL ? buf_printf(out, err, " | `--%s` | ", setting->flag)
                                      : buf_append(out, STR(" | | "), err));
    ok = ok && append_legal(out, setting, err);
    if (ok && setting->unit != NULL) {
        ok = buf_printf(out, err, " (%s)", setting->unit);
    }
    ok = ok && (setting->fallback != NULL ? buf_printf(out, err, " | `%s` | ", setting->fallback)
                                          : buf_append(out, STR(" | | "), err));
    return ok && buf_append(out, setting->reloadable ? STR("yes | ") : STR("no | "), err) &&
           append_cell(out, str_c(setting->help), err) && buf_append(out, STR(" |\n"), err);
}

bool
config_markdown(const ConfigTable *table, Buf *out, Error *err)
{
    if (!buf_append(out,
                    STR("| setting | flag | legal | default | reload | meaning |\n"
                        "|---|---|---|---|---|---|\n"),
                    err)) {
        return false;
    }
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        if (!markdown_setting(setting, out, err)) {
            return false;
        }
    }
    return true;
}
