/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_limits.c -- every limit is real, and docs/server.md says what the tables say.
 *
 * With DS_DOCS=write in the environment the page's tables are written instead of compared.
 */
#include "server/limits.h"

#include <criterion/criterion.h>

#include "server/server_config.h"
#include "tests/support/docs_page.h"

#define HOW "docs/server.md is not up to date: run DS_DOCS=write build/dev/bin/test_limits"

static const Setting *
setting_of(const char *name)
{
    for (const Setting *setting = server_config_table.settings; setting->name != NULL; setting++) {
        if (strcmp(setting->name, name) == 0) {
            return setting;
        }
    }
    return NULL;
}

Test(limits, every_limit_is_a_setting_or_a_fixed_number)
{
    for (const Limit *limit = limits_table; limit->what != NULL; limit++) {
        cr_expect((limit->setting == NULL) == (limit->fixed > 0), "%s", limit->what);
        cr_expect(limit->setting == NULL || setting_of(limit->setting) != NULL, "%s", limit->what);
        cr_expect_neq(limit->beyond[0], '\0', "%s", limit->what);
    }
}

Test(limits, every_setting_that_limits_is_in_the_list)
{
    for (const Setting *setting = server_config_table.settings; setting->name != NULL; setting++) {
        bool listed = false;

        for (const Limit *limit = limits_table; limit->what != NULL; limit++) {
            listed =
                listed || (limit->setting != NULL && strcmp(limit->setting, setting->name) == 0);
        }
        if (strstr(setting->name, "LIMITS__MAX_") != NULL ||
            strstr(setting->name, "_TIMEOUT") != NULL) {
            cr_expect(listed, "%s", setting->name);
        }
    }
}

static void
append_retired(Buf *out)
{
    Error err;

    cr_assert(buf_append(out, STR("| setting | taken | else |\n|---|---|---|\n"), &err));
    for (const RetiredSetting *retired = server_retired_settings; retired->name != NULL;
         retired++) {
        const char *quote = retired->harmless != NULL ? "`" : "";

        cr_assert(buf_printf(out, &err, "| `%s` | %s%s%s | %s |\n", retired->name, quote,
                             retired->harmless != NULL ? retired->harmless : "", quote,
                             retired->instead));
    }
}

Test(limits, the_page_of_the_server_says_what_the_tables_say)
{
    Buf table;
    Error err;

    buf_init(&table, 1u << 20);
    cr_assert(config_markdown(&server_config_table, &table, &err));
    cr_expect(docs_page_holds("server.md", "settings", buf_str(&table)), HOW);
    buf_reset(&table);
    append_retired(&table);
    cr_expect(docs_page_holds("server.md", "retired", buf_str(&table)), HOW);
    buf_reset(&table);
    cr_assert(limits_markdown(&table, &err));
    cr_expect(docs_page_holds("server.md", "limits", buf_str(&table)), HOW);
    buf_done(&table);
}
