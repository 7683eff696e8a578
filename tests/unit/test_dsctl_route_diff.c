/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/route_diff.h"

#include <criterion/criterion.h>

#include "common/base.h"

/* "change what from>to|" for each row. */
static void
expect_diff(const char *before_text, const char *after_text, const char *wanted)
{
    json_t *before = before_text != NULL ? json_loads(before_text, 0, NULL) : NULL;
    json_t *after = json_loads(after_text, 0, NULL);
    json_t *rows = json_array();
    char got[1024] = "";
    size_t len = 0;

    route_diff("r", before, after, rows);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *change = json_string_value(json_object_get(row, "change"));
        const char *what = json_string_value(json_object_get(row, "what"));
        const char *from = json_string_value(json_object_get(row, "from"));
        const char *to = json_string_value(json_object_get(row, "to"));

        len += (size_t)snprintf(got + len, sizeof(got) - len, "%s %s %s>%s|", change, what,
                                from != NULL ? from : "", to != NULL ? to : "");
    }
    cr_expect_str_eq(got, wanted);
    json_decref(before);
    json_decref(after);
    json_decref(rows);
}

Test(dsctl_route_diff, a_new_route_shows_every_member)
{
    expect_diff(NULL,
                "{\"ttl\":\"hold\",\"payload\":{\"type\":\"text\"},\"streams\":[\"a\",\"b\"]}",
                "add ttl >hold|add payload.type >text|add streams >a|add streams >b|");
}

Test(dsctl_route_diff, a_change_shows_what_was_and_what_will_be)
{
    expect_diff("{\"ttl\":\"hold\",\"publish\":true}", "{\"ttl\":\"respect\",\"publish\":true}",
                "change ttl hold>respect|");
    expect_diff("{\"publish\":true}", "{\"publish\":false}", "change publish true>false|");
    expect_diff("{\"layout\":{\"hash\":4}}", "{\"layout\":\"none\"}",
                "change layout {\"hash\":4}>none|");
}

Test(dsctl_route_diff, columns_and_patterns_come_and_go_one_by_one)
{
    expect_diff("{\"columns\":{\"u\":{\"type\":\"int\"},\"v\":{\"type\":\"int\"}}}",
                "{\"columns\":{\"u\":{\"type\":\"text\"},\"w\":{\"type\":\"int\"}}}",
                "change columns.u.type int>text|change columns.w.type >int|"
                "change columns.v.type int>|");
    expect_diff("{\"streams\":[\"a\",\"b\"]}", "{\"streams\":[\"b\",\"c\"]}",
                "change streams a>|change streams >c|");
}

Test(dsctl_route_diff, what_is_equal_is_the_same)
{
    expect_diff("{\"a\":{\"b\":[\"c\"]}}", "{\"a\":{\"b\":[\"c\"]}}", "same  >|");
    expect_diff("{\"streams\":[\"a\",\"b\"]}", "{\"streams\":[\"b\",\"a\"]}", "same  >|");
}
