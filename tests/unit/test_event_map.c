/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/event_map.h"

#include <criterion/criterion.h>

static void
expect_columns(const char *message, EventColumns columns, const char *key, const char *type,
               const char *operation)
{
    const Str found[] = {columns.key, columns.type, columns.operation};
    const char *const wanted[] = {key, type, operation};

    for (size_t i = 0; i < DS_COUNT(found); i++) {
        if (wanted[i] == NULL) {
            cr_expect_null(found[i].ptr, "%s: column %zu", message, i);
        } else {
            cr_expect(str_eq(found[i], str_c(wanted[i])), "%s: column %zu", message, i);
        }
    }
}

/* Looked for afterwards, and while the message is scanned: alone, and behind another one. */
static void
expect(const char *message, const char *key, const char *type, const char *operation)
{
    static const char before[] = "{\"key\":\"K\",\"headers\":{\"operation\":\"O\"},\"\\u0061\":0}";
    JsonElements it;
    JsonValue value;
    JsonWatched watched;
    bool more;
    Buf text;
    Error err;

    expect_columns(message, event_columns(str_c(message)), key, type, operation);
    buf_init(&text, 4096);
    cr_assert(buf_printf(&text, &err, "[%s, %s ]", before, message));
    cr_assert(json_elements_init(&it, buf_str(&text), JSON_DEPTH_MAX, &err));
    for (int i = 0; i < 2; i++) {
        cr_assert(json_elements_watch(&it, &event_watch, &value, &watched, &more, &err) && more);
    }
    cr_expect(str_eq(value.text, str_c(message)));
    expect_columns(message, event_columns_watched(value.text, &watched), key, type, operation);
    buf_done(&text);
}

Test(event_map, members_of_the_message_are_its_columns)
{
    expect("{\"type\":\"t\",\"key\":\"k\",\"operation\":\"set\"}", "\"k\"", "\"t\"", "\"set\"");
    expect("{ \"key\" : \"\\u00e9\" }", "\"\\u00e9\"", NULL, NULL);
}

Test(event_map, the_operation_of_a_state_protocol_message_is_in_its_headers)
{
    expect("{\"type\":\"user\",\"key\":\"1\",\"headers\":{\"operation\":\"insert\"}}", "\"1\"",
           "\"user\"", "\"insert\"");
    expect("{\"operation\":\"a\",\"headers\":{\"operation\":\"b\"}}", NULL, NULL, "\"a\"");
    expect("{\"operation\":1,\"headers\":{\"operation\":\"b\"}}", NULL, NULL, "\"b\"");
    expect("{\"headers\":[\"operation\"]}", NULL, NULL, NULL);
}

Test(event_map, what_is_no_string_or_no_object_is_null)
{
    expect("{\"type\":5,\"key\":null,\"operation\":{}}", NULL, NULL, NULL);
    expect("{\"value\":{\"key\":\"k\",\"type\":\"t\"}}", NULL, NULL, NULL);
    expect("[{\"key\":\"k\"}]", NULL, NULL, NULL);
    expect("\"key\"", NULL, NULL, NULL);
    expect("{}", NULL, NULL, NULL);
    expect("null", NULL, NULL, NULL);
}

Test(event_map, of_members_that_come_twice_the_last_one_counts)
{
    expect("{\"key\":\"a\",\"key\":\"b\"}", "\"b\"", NULL, NULL);
    expect("{\"key\":\"a\",\"key\":7}", NULL, NULL, NULL);
    expect("{\"headers\":{\"operation\":\"a\",\"operation\":\"b\"}}", NULL, NULL, "\"b\"");
    expect("{\"headers\":{\"operation\":\"a\"},\"headers\":{}}", NULL, NULL, NULL);
    expect("{\"headers\":{\"operation\":\"a\"},\"headers\":[]}", NULL, NULL, NULL);
    expect("{\"headers\":3,\"headers\":{\"operation\":\"a\"}}", NULL, NULL, "\"a\"");
    expect("{\"operation\":\"a\",\"operation\":null,\"headers\":{\"operation\":\"b\"}}", NULL, NULL,
           "\"b\"");
}

Test(event_map, a_name_may_be_written_with_escapes)
{
    expect("{\"k\\u0065y\":\"a\"}", "\"a\"", NULL, NULL);
    expect("{\"key\":\"a\",\"\\u006bey\":\"b\"}", "\"b\"", NULL, NULL);
    expect("{\"headers\":{\"operatio\\u006e\":\"a\"}}", NULL, NULL, "\"a\"");
    expect("{\"value\":{\"\\u006bey\":1},\"key\":\"a\"}", "\"a\"", NULL, NULL);
}
