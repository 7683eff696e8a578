/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as text: for errors, --help, --print-config and the docs. */
#include "common/config_internal.h"

#include <errno.h>

#define ANSWER_BYTES_MAX 262144

bool
config_is_bounded(const Setting *setting)
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

bool
config_append_legal(Buf *out, const Setting *setting, Error *err)
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
    if (!ok || !config_is_bounded(setting)) {
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
    const void *field = (const char *)values + setting->field;

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
        !config_append_legal(out, setting, err)) {
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
            "usage: %s [flags]\n\n%s\n\nflags:\n%s%s\n"
            "settings (default < --config file < environment < flag; empty means not set):\n",
            table->program, table->summary, flags,
            table->flags_help != NULL ? table->flags_help : "")) {
        return false;
    }
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        if (!help_setting(setting, out, err)) {
            return false;
        }
    }
    return true;
}

const char *
config_origin_name(SettingOrigin origin)
{
    static const char *const names[] = {[ORIGIN_DEFAULT] = "default",
                                        [ORIGIN_FILE] = "file",
                                        [ORIGIN_ENV] = "environment",
                                        [ORIGIN_FLAG] = "flag"};

    return names[origin];
}

bool
config_print(const ConfigTable *table, const void *values, const ConfigLoad *load, Buf *out,
             Error *err)
{
    for (const Setting *setting = table->settings; setting->name != NULL; setting++) {
        SettingOrigin origin = load->origins[setting - table->settings];
        if (!buf_printf(out, err, "# %s\n%s=", config_origin_name(origin), setting->name) ||
            !append_value(out, setting, values, err) || !buf_append_char(out, '\n', err)) {
            return false;
        }
    }
    return true;
}

bool
config_answer(const ConfigTable *table, const void *values, const ConfigLoad *load, Error *err)
{
    Buf text;
    bool ok = false;

    buf_init(&text, ANSWER_BYTES_MAX);
    if (load->help) {
        ok = config_help(table, &text, err);
    } else if (load->version) {
        ok = buf_printf(&text, err, "%s %s\n", table->program, DS_VERSION);
    } else if (load->print_config) {
        ok = config_print(table, values, load, &text, err);
    } else {
        ok = buf_append(&text, STR("the settings are good\n"), err);
    }
    if (ok && (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0)) {
        ok = error_set(err, ERR_RETRY, "cannot write to stdout: %s", strerror(errno));
    }
    buf_done(&text);
    return ok;
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
    ok = ok && config_append_legal(out, setting, err);
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
