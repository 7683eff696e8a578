/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <criterion/criterion.h>
#include <unistd.h>

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

Test(config_text, secrets_show_as_stars_everywhere, .fini = done)
{
    Buf out;

    buf_init(&out, 100000);
    cr_assert(run(NULL, WORDS("DS_TOKEN=hush", "DS_MODE=acid")), "%s", err.text);
    cr_assert(config_print(&table, &values, &load, &out, &err), "%s", err.text);
    const char *text = buf_cstr(&out);
    cr_expect(strstr(text, "hush") == NULL);
    cr_expect(strstr(text, "# environment\nDS_TOKEN=***\n") != NULL, "%s", text);
    cr_expect(strstr(text, "# default\nDS_BODY=10MiB\n") != NULL, "%s", text);
    cr_expect(strstr(text, "# default\nDS_IDLE=30s\n") != NULL, "%s", text);
    cr_expect(strstr(text, "# environment\nDS_MODE=acid\n") != NULL, "%s", text);
    buf_done(&out);
}

Test(config_text, what_is_printed_reads_back_as_the_same, .fini = done)
{
    char path[] = "/tmp/configXXXXXX";
    Buf first, second;

    buf_init(&first, 100000);
    buf_init(&second, 100000);
    cr_assert(
        run(WORDS("--port=99", "--idle=1500ms", "--listen=a b", "--mode=acid", "--tls"), NULL));
    for (size_t i = 0; i < DS_COUNT(settings) - 1; i++) {
        load.origins[i] = ORIGIN_DEFAULT;
    }
    cr_assert(config_print(&table, &values, &load, &first, &err));
    write_file(path, buf_cstr(&first));
    cr_assert(run(WORDS("--config", path), NULL), "%s", err.text);
    for (size_t i = 0; i < DS_COUNT(settings) - 1; i++) {
        load.origins[i] = ORIGIN_DEFAULT;
    }
    cr_assert(config_print(&table, &values, &load, &second, &err));
    cr_expect_str_eq(buf_cstr(&first), buf_cstr(&second));
    buf_done(&first);
    buf_done(&second);
    unlink(path);
}

Test(config_text, help_and_markdown_name_every_setting, .fini = done)
{
    Buf help, markdown;

    buf_init(&help, 100000);
    buf_init(&markdown, 100000);
    cr_assert(config_help(&table, &help, &err), "%s", err.text);
    cr_assert(config_markdown(&table, &markdown, &err), "%s", err.text);
    for (const Setting *setting = settings; setting->name != NULL; setting++) {
        cr_expect(strstr(buf_cstr(&help), setting->name) != NULL, "%s", setting->name);
        cr_expect(strstr(buf_cstr(&markdown), setting->name) != NULL, "%s", setting->name);
    }
    cr_expect(strstr(buf_cstr(&markdown), "| Address \\| name. |") != NULL, "a bar ends a cell");
    cr_expect(strstr(buf_cstr(&markdown),
                     "| `DS_BODY` | | a size such as 512KiB or 10MiB, 1KiB to 1GiB (bytes) | "
                     "`10MiB` | yes | Largest body. |\n") != NULL,
              "%s", buf_cstr(&markdown));
    buf_done(&help);
    buf_done(&markdown);
}
