/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/docs_page.h"

#include <criterion/criterion.h>

#include "common/buf.h"

#define PAGE_BYTES_MAX 262144

static void
page_path(const char *page, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/docs/%s", DS_SOURCE_DIR, page);
}

static void
page_read(const char *page, Buf *out)
{
    char path[512];
    char *room;
    Error err;

    page_path(page, path, sizeof(path));
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    cr_assert(buf_reserve(out, PAGE_BYTES_MAX - 1, &room, &err));
    buf_commit(out, fread(room, 1, PAGE_BYTES_MAX - 1, file));
    (void)fclose(file);
}

static void
page_write(const char *page, const Buf *text)
{
    char path[512];

    page_path(page, path, sizeof(path));
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(text->data, 1, text->len, file), text->len);
    (void)fclose(file);
}

bool
docs_page_holds(const char *page, const char *name, Str table)
{
    const char *mode = getenv("DS_DOCS");
    char start[64], end[64];
    Buf text, wanted;
    Error err;

    buf_init(&text, PAGE_BYTES_MAX);
    buf_init(&wanted, PAGE_BYTES_MAX);
    page_read(page, &text);
    (void)snprintf(start, sizeof(start), "<!-- %s -->\n", name);
    (void)snprintf(end, sizeof(end), "<!-- end %s -->", name);
    const char *from = strstr(buf_cstr(&text), start);
    const char *to = strstr(buf_cstr(&text), end);
    cr_assert(from != NULL && to != NULL && from < to, "docs/%s has no place for the %s", page,
              name);
    size_t head = (size_t)(from - text.data) + strlen(start);
    cr_assert(buf_append(&wanted, str_n(text.data, head), &err));
    cr_assert(buf_append(&wanted, table, &err));
    cr_assert(buf_append(&wanted, str_skip(buf_str(&text), (size_t)(to - text.data)), &err));
    bool same = str_eq(buf_str(&text), buf_str(&wanted));
    if (!same && mode != NULL && strcmp(mode, "write") == 0) {
        page_write(page, &wanted);
        same = true;
    }
    buf_done(&text);
    buf_done(&wanted);
    return same;
}
