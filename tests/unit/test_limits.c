/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_limits.c -- every limit is real, and docs/server.md says what the tables say.
 *
 * With DS_DOCS=write in the environment the page's tables are written instead of compared.
 */
#include "server/limits.h"

#include <criterion/criterion.h>

#include "server/server_config.h"

#define PAGE           DS_SOURCE_DIR "/docs/server.md"
#define PAGE_BYTES_MAX 262144

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
        if (strstr(setting->name, "__MAX_") != NULL || strstr(setting->name, "_TIMEOUT") != NULL) {
            cr_expect(listed, "%s", setting->name);
        }
    }
}

static void
read_page(Buf *page)
{
    FILE *file = fopen(PAGE, "r");
    char *room;
    Error err;

    cr_assert_not_null(file, "%s", PAGE);
    cr_assert(buf_reserve(page, PAGE_BYTES_MAX, &room, &err));
    buf_commit(page, fread(room, 1, PAGE_BYTES_MAX, file));
    fclose(file);
}

/* The page with what is between <!-- name --> and <!-- end name --> replaced by the table. */
static void
put_table(Buf *page, const char *name, Str table)
{
    char start[64], end[64];
    Error err;
    Buf out;

    snprintf(start, sizeof(start), "<!-- %s -->\n", name);
    snprintf(end, sizeof(end), "<!-- end %s -->", name);
    const char *from = strstr(buf_cstr(page), start);
    const char *to = strstr(buf_cstr(page), end);
    cr_assert(from != NULL && to != NULL && from < to, "%s has no place for the %s", PAGE, name);
    size_t head = (size_t)(from - page->data) + strlen(start);
    buf_init(&out, PAGE_BYTES_MAX);
    cr_assert(buf_append(&out, str_n(page->data, head), &err));
    cr_assert(buf_append(&out, table, &err));
    cr_assert(buf_append(&out, str_skip(buf_str(page), (size_t)(to - page->data)), &err));
    buf_done(page);
    *page = out;
}

Test(limits, the_page_of_the_server_says_what_the_tables_say)
{
    const char *mode = getenv("DS_DOCS");
    Buf page, wanted, table;
    Error err;

    buf_init(&page, PAGE_BYTES_MAX);
    buf_init(&wanted, PAGE_BYTES_MAX);
    buf_init(&table, PAGE_BYTES_MAX);
    read_page(&page);
    cr_assert(buf_append(&wanted, buf_str(&page), &err));
    cr_assert(config_markdown(&server_config_table, &table, &err));
    put_table(&wanted, "settings", buf_str(&table));
    buf_reset(&table);
    cr_assert(limits_markdown(&table, &err));
    put_table(&wanted, "limits", buf_str(&table));
    if (mode != NULL && strcmp(mode, "write") == 0) {
        FILE *file = fopen(PAGE, "w");

        cr_assert_not_null(file);
        cr_assert_eq(fwrite(wanted.data, 1, wanted.len, file), wanted.len);
        fclose(file);
    } else {
        cr_expect(str_eq(buf_str(&page), buf_str(&wanted)),
                  "docs/server.md is not up to date: run DS_DOCS=write build/dev/bin/test_limits");
    }
    buf_done(&page);
    buf_done(&wanted);
    buf_done(&table);
}
