/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_view.h"

#include <criterion/criterion.h>

#include "common/json_scan.h"

static const SubsPlace place = {STR("http://h\"x"), STR("/v1/stream"), STR("ds_k")};

static uint32_t
no_random(uint32_t bound DS_UNUSED)
{
    return 0;
}

static Subscription *
make(SubsModel **out_model, SubsType type, const char *id)
{
    SubsLimits limits = {.subscriptions = 1, .streams_per_subscription = 2000};
    SubsDefinition *definition = subs_definition_new();
    Subscription *subscription = NULL;

    *out_model = subs_model_new(&limits, no_random);
    definition->id = str_dup(str_c(id));
    definition->type = type;
    *(type == SUBS_WEBHOOK ? &definition->url : &definition->wake_stream) = str_dup(STR("w\"s"));
    definition->origin = str_dup(place.origin);
    definition->lease_ms = 1000;
    cr_assert_eq(subs_model_create(*out_model, definition, &subscription), SUBS_OK);
    return subscription;
}

static void
link_at(SubsModel *model, Subscription *subscription, const char *path, uint64_t from, uint64_t to)
{
    SubsTail at = {.id = 1, .era = 1, .tail = from};

    cr_assert_eq(subs_model_link(model, subscription, str_c(path), true, &at, false, 1, NULL),
                 SUBS_OK);
    at.tail = to;
    subs_model_stream_is(model, subs_model_stream(model, str_c(path)), &at, 1);
}

static void
expect_json(Buf *out, const char *wanted)
{
    JsonValue value;
    Error err = {0};

    cr_expect(json_scan_value(buf_str(out), 16, &value, &err), "%s: %s", buf_cstr(out), err.text);
    if (wanted != NULL) {
        cr_expect_str_eq(buf_cstr(out), wanted);
    }
}

Test(subs_view, every_text_is_escaped)
{
    SubsModel *model;
    Subscription *subscription = make(&model, SUBS_WEBHOOK, "a\"b\\c/d");
    Buf out;
    Error err;

    buf_init(&out, SUBS_VIEW_BYTES_MAX);
    link_at(model, subscription, "p\"q", 0, 1);
    cr_assert(subs_view_subscription(subscription, &place, &out, &err));
    expect_json(&out, NULL);
    buf_reset(&out);
    cr_assert(subs_view_notification(subscription, &place, STR("t\"t"), &out, &err));
    expect_json(&out, NULL);
    cr_expect_not_null(strstr(buf_cstr(&out), "/subscriptions/a%22b%5Cc%2Fd/callback"));
    buf_reset(&out);
    cr_assert(subs_view_event(subscription, 5, &out, &err));
    expect_json(&out,
                "{\"type\":\"wake\",\"subscription_id\":\"a\\\"b\\\\c/d\",\"stream\":\"p\\\"q\","
                "\"generation\":0,\"ts\":5}");
    buf_done(&out);
    subs_model_free(model);
}

Test(subs_view, a_claim_tells_where_each_stream_is)
{
    SubsModel *model;
    Subscription *subscription = make(&model, SUBS_PULL_WAKE, "s");
    Buf out;
    Error err;

    buf_init(&out, SUBS_VIEW_BYTES_MAX);
    link_at(model, subscription, "b", 1, 3);
    cr_assert_eq(subs_model_link(model, subscription, STR("a"), true, NULL, false, 1, NULL),
                 SUBS_OK);
    cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "w_1", 1), SUBS_OK);
    cr_assert(subs_view_claim(subscription, STR("t"), &out, &err));
    expect_json(&out, "{\"wake_id\":\"w_1\",\"generation\":1,\"streams\":["
                      "{\"path\":\"b\",\"link_type\":\"explicit\",\"acked_offset\":"
                      "\"0000000000000001_0000000000000001\",\"tail_offset\":"
                      "\"0000000000000001_0000000000000003\",\"has_pending\":true},"
                      "{\"path\":\"a\",\"link_type\":\"explicit\",\"acked_offset\":\"-1\","
                      "\"tail_offset\":\"-1\",\"has_pending\":false}],"
                      "\"token\":\"t\",\"lease_ttl_ms\":1000}");
    buf_done(&out);
    subs_model_free(model);
}

Test(subs_view, work_comes_first_and_at_most_a_thousand_streams_are_told)
{
    SubsModel *model;
    Subscription *subscription = make(&model, SUBS_PULL_WAKE, "s");
    char path[16];
    size_t told = 0;
    Buf out;
    Error err;

    buf_init(&out, SUBS_VIEW_BYTES_MAX);
    for (int i = 0; i < SUBS_WAKE_STREAMS_MAX + 100; i++) {
        (void)snprintf(path, sizeof(path), "%05d", i);
        link_at(model, subscription, path, 0, i >= 1050 ? 1 : 0);
    }
    cr_assert(subs_view_claim(subscription, STR("t"), &out, &err));
    expect_json(&out, NULL);
    for (const char *at = buf_cstr(&out); (at = strstr(at, "\"path\":")) != NULL; at++) {
        told++;
    }
    cr_expect_eq(told, SUBS_WAKE_STREAMS_MAX);
    cr_expect_not_null(strstr(buf_cstr(&out), "\"streams\":[{\"path\":\"01050\""));
    cr_expect_not_null(strstr(buf_cstr(&out), "\"01099\""));
    buf_done(&out);
    subs_model_free(model);
}

Test(subs_view, an_error_is_json_whatever_it_says)
{
    Buf out;
    Error err;

    buf_init(&out, 4096);
    cr_assert(subs_view_error("FENCED", "a \"b\"", NULL, 0, &out, &err));
    expect_json(&out, "{\"error\":{\"code\":\"FENCED\",\"message\":\"a \\\"b\\\"\"}}");
    buf_reset(&out);
    cr_assert(subs_view_error("ALREADY_CLAIMED", "\xff", "w\"1", 7, &out, &err));
    expect_json(&out, "{\"error\":{\"code\":\"ALREADY_CLAIMED\",\"current_holder\":\"w\\\"1\","
                      "\"generation\":7,\"message\":\"\"}}");
    buf_done(&out);
}
