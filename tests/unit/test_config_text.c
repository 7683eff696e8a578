/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include "tests/support/config_sample.h"

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
