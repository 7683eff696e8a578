/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/state_change.h"

#include <criterion/criterion.h>

static bool
parse(const char *message, StateChange *out, Error *err)
{
    JsonValue value;

    cr_assert(json_scan_value(str_c(message), JSON_DEPTH_MAX, &value, err), "%s: %s", message,
              err->text);
    return state_change_parse(value.text, out, err);
}

static bool
same(Str found, const char *wanted)
{
    return wanted == NULL ? found.ptr == NULL : found.ptr != NULL && str_eq(found, str_c(wanted));
}

static void
expect(const char *message, StateOp op, const char *type, const char *key, const char *value)
{
    StateChange change;
    Error err;

    cr_assert(parse(message, &change, &err), "%s: %s", message, err.text);
    cr_expect_eq(change.op, op, "%s: op %d", message, change.op);
    cr_expect(same(change.type, type), "%s: type", message);
    cr_expect(same(change.key, key), "%s: key", message);
    cr_expect(same(change.value, value), "%s: value", message);
}

static void
expect_fault(const char *message, const char *why)
{
    StateChange change = {.op = STATE_RESET};
    Error err;

    cr_assert(!parse(message, &change, &err), "%s was taken", message);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, why) != NULL, "%s: %s", message, err.text);
    cr_expect_eq(change.op, STATE_RESET, "%s: the output was touched", message);
}

Test(state_change, the_operations_of_the_state_protocol_are_understood)
{
    expect("{\"type\":\"t\",\"key\":\"k\",\"value\":{\"a\":[1]},\"headers\":{\"operation\":"
           "\"insert\"}}",
           STATE_SET, "\"t\"", "\"k\"", "{\"a\":[1]}");
    expect("{\"headers\":{\"txid\":\"9\",\"operation\":\"update\"},\"old_value\":1,\"value\":2,"
           "\"key\":\"k\",\"type\":\"t\"}",
           STATE_SET, "\"t\"", "\"k\"", "2");
    expect("{\"type\":\"t\",\"key\":\"\",\"value\":null,\"headers\":{\"operation\":\"upsert\"}}",
           STATE_SET, "\"t\"", "\"\"", "null");
    expect("{\"type\":\"t\",\"key\":\"k\",\"headers\":{\"operation\":\"delete\"}}", STATE_DELETE,
           "\"t\"", "\"k\"", NULL);
    expect("{\"type\":\"t\",\"key\":\"k\",\"value\":7,\"headers\":{\"operation\":\"delete\"}}",
           STATE_DELETE, "\"t\"", "\"k\"", NULL);
}

Test(state_change, the_operations_of_the_session_form_are_understood)
{
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"set\",\"value\":false}", STATE_SET,
           "\"t\"", "\"k\"", "false");
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"remove\"}", STATE_DELETE, "\"t\"",
           "\"k\"", NULL);
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"append\",\"value\":\"x\"}",
           STATE_APPEND_STRING, "\"t\"", "\"k\"", "\"x\"");
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"append\",\"value\":[ ]}",
           STATE_APPEND_ARRAY, "\"t\"", "\"k\"", "[ ]");
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"set\",\"value\":1,\"headers\":{}}",
           STATE_SET, "\"t\"", "\"k\"", "1");
}

Test(state_change, marks_have_no_key)
{
    expect("{\"headers\":{\"control\":\"reset\",\"offset\":\"7\"}}", STATE_RESET, NULL, NULL, NULL);
    expect("{\"headers\":{\"control\":\"snapshot-start\"}}", STATE_SNAPSHOT_START, NULL, NULL,
           NULL);
    expect("{\"headers\":{\"control\":\"snapshot-end\"},\"key\":\"k\",\"type\":\"t\"}",
           STATE_SNAPSHOT_END, NULL, NULL, NULL);
    cr_expect(state_op_is_mark(STATE_RESET) && state_op_is_mark(STATE_SNAPSHOT_END));
    cr_expect(!state_op_is_mark(STATE_APPEND_ARRAY));
}

Test(state_change, both_places_of_the_operation_must_agree)
{
    expect("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"set\",\"value\":1,\"headers\":{"
           "\"operation\":\"update\"}}",
           STATE_SET, "\"t\"", "\"k\"", "1");
    expect_fault("{\"key\":\"k\",\"type\":\"t\",\"operation\":\"set\",\"value\":1,\"headers\":{"
                 "\"operation\":\"delete\"}}",
                 "contradict");
    expect_fault("{\"operation\":\"set\",\"headers\":{\"control\":\"reset\"}}", "control and");
    expect_fault("{\"headers\":{\"control\":\"reset\",\"operation\":\"insert\"}}", "control and");
}

Test(state_change, what_is_neither_form_is_a_fault)
{
    expect_fault("{}", "no operation");
    expect_fault("[]", "no operation");
    expect_fault("\"set\"", "no operation");
    expect_fault("{\"headers\":[\"operation\"]}", "no operation");
    expect_fault("{\"headers\":{\"control\":\"up-to-date\"}}", "\"up-to-date\" is not known");
    expect_fault("{\"headers\":{\"control\":null}}", "not known");
    expect_fault("{\"type\":\"t\",\"key\":\"k\",\"operation\":\"merge\",\"value\":1}", "merge");
    expect_fault("{\"type\":\"t\",\"key\":\"k\",\"operation\":5,\"value\":1}", "operation 5");
    expect_fault("{\"key\":\"k\",\"operation\":\"remove\"}", "type is missing");
    expect_fault("{\"type\":\"t\",\"operation\":\"remove\"}", "key is missing");
    expect_fault("{\"type\":\"t\",\"key\":5,\"operation\":\"remove\"}", "key is not a string");
    expect_fault("{\"type\":null,\"key\":\"5\",\"operation\":\"remove\"}", "type is not a string");
    expect_fault("{\"type\":\"t\",\"key\":\"k\",\"operation\":\"set\"}", "value is missing");
    expect_fault("{\"type\":\"t\",\"key\":\"k\",\"operation\":\"append\",\"value\":{}}",
                 "only a string or an array");
    expect_fault("{\"type\":\"t\",\"key\":\"k\",\"operation\":\"append\",\"value\":1}",
                 "only a string or an array");
}

Test(state_change, a_name_that_postgres_cannot_store_is_a_fault)
{
    char message[2 * STATE_KEY_BYTES_MAX];
    char name[STATE_KEY_BYTES_MAX];

    expect_fault("{\"type\":\"t\",\"key\":\"a\\u0000\",\"operation\":\"remove\"}", "cannot store");
    expect_fault("{\"type\":\"\\ud800\",\"key\":\"a\",\"operation\":\"remove\"}", "cannot store");
    memset(name, 'x', sizeof(name));
    name[STATE_KEY_BYTES_MAX - 2] = '\0';
    (void)snprintf(message, sizeof(message),
                   "{\"type\":\"t\",\"key\":\"%s\",\"operation\":\"remove\"}", name);
    StateChange change;
    Error err;
    cr_expect(parse(message, &change, &err), "%s", err.text);
    (void)snprintf(message, sizeof(message),
                   "{\"type\":\"t\",\"key\":\"%s.\",\"operation\":\"remove\"}", name);
    expect_fault(message, "1025 bytes");
}
