/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/event_map.h"

#include <criterion/criterion.h>

static void
expect(const char *message, const char *key, const char *type, const char *operation)
{
    EventColumns columns = event_columns(str_c(message));
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
