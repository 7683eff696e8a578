/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/config_sample.h -- a table with a setting of every type, and how to load it.
 *
 * For the tests of config: included once by each of them, so everything here is its own.
 */
#pragma once

#include <criterion/criterion.h>
#include <unistd.h>

#include "common/config.h"

typedef struct Values {
    char *listen;
    bool tls;
    int64_t port;
    int64_t body;
    int64_t idle;
    int mode;
    Secret token;
} Values;

static const char *const modes[] = {"memory", "acid", NULL};
static const ChoiceAlias mode_words[] = {{"redb", 1}, {.word = NULL}};
static const RetiredSetting retired[] = {{"DS_OLD__PROXY", "none,false", "do without"},
                                         {.name = NULL}};
static const char *const port_aliases[] = {"DS_PORT", "DS_OLD_PORT", NULL};

static const Setting settings[] = {
    {.name = "DS_LISTEN",
     .flag = "listen",
     .type = SETTING_STRING,
     .field = offsetof(Values, listen),
     .fallback = "127.0.0.1",
     .help = "Address | name."},
    {.name = "DS_TLS",
     .flag = "tls",
     .type = SETTING_BOOL,
     .field = offsetof(Values, tls),
     .fallback = "false",
     .help = "Speak TLS."},
    {.name = "DS_SERVER__PORT",
     .aliases = port_aliases,
     .flag = "port",
     .type = SETTING_INT,
     .field = offsetof(Values, port),
     .fallback = "4437",
     .min = 1,
     .max = 65535,
     .help = "Port."},
    {.name = "DS_BODY",
     .type = SETTING_SIZE,
     .field = offsetof(Values, body),
     .fallback = "10MiB",
     .min = 1024,
     .max = INT64_C(1) << 30,
     .unit = "bytes",
     .reloadable = true,
     .help = "Largest body."},
    {.name = "DS_IDLE",
     .flag = "idle",
     .type = SETTING_DURATION,
     .field = offsetof(Values, idle),
     .fallback = "30s",
     .bare_unit_ms = 1000,
     .help = "Idle time."},
    {.name = "DS_MODE",
     .flag = "mode",
     .type = SETTING_CHOICE,
     .field = offsetof(Values, mode),
     .fallback = "memory",
     .choices = modes,
     .choice_aliases = mode_words,
     .help = "Store."},
    {.name = "DS_TOKEN",
     .flag = "token",
     .type = SETTING_SECRET,
     .field = offsetof(Values, token),
     .help = "Token."},
    {.name = NULL},
};
static const char *const prefixes[] = {"DS_*__", "OURS_", NULL};
static const char *const foreign[] = {"OURS_NOT", NULL};
static const ConfigTable table = {.program = "prog",
                                  .summary = "Does it.",
                                  .settings = settings,
                                  .owned_prefixes = prefixes,
                                  .retired = retired,
                                  .foreign = foreign};

static Values values;
static ConfigLoad load;
static Error err;

static bool
run(char **flags, char **environment)
{
    static char *argv[16];
    int argc = 1;

    argv[0] = (char[]){"prog"};
    for (; flags != NULL && flags[argc - 1] != NULL; argc++) {
        argv[argc] = flags[argc - 1];
    }
    config_done(&table, &values);
    config_load_done(&load);
    memset(&values, 0, sizeof(values));
    memset(&err, 0, sizeof(err));
    load.argc = argc;
    load.argv = argv;
    load.environ_ = environment;
    return config_load(&table, &values, &load, &err);
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

static void
done(void)
{
    config_done(&table, &values);
    config_load_done(&load);
}

static void
write_file(char *path, const char *text)
{
    int fd = mkstemp(path);

    cr_assert(fd >= 0);
    cr_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}
