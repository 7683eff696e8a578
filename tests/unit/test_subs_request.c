/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_request.h"

#include <criterion/criterion.h>

static const NameLimits names = {.bytes_max = 1024, .segments_max = 8};
static const SubsRequestRules rules = {.names = &names};

static void
expect_create(const char *body, const char *code)
{
    SubsRequest request;
    const char *got = NULL;
    Error err = {0};

    if (subs_request_create(str_c(body), &rules, &request, &got, &err)) {
        subs_request_done(&request);
        cr_expect_null(code, "%s", body);
    } else {
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_str_eq(got, code == NULL ? "" : code, "%s: %s", body, err.text);
    }
}

#define OTHER_HOOK "\"webhook\":{\"url\":\"https://example.com/i\"}"
#define HOOK       "\"webhook\":{\"url\":\"https://example.com/h\"}"

Test(subs_request, a_definition_is_taken_whole_or_refused)
{
    expect_create("{\"type\":\"webhook\",\"pattern\":\"a/*\"," HOOK "}", NULL);
    expect_create("{\"type\":\"webhook\",\"streams\":[]," HOOK "}", NULL);
    expect_create("{\"type\":\"pull-wake\",\"streams\":[\"a\"],\"wake_stream\":\"w\"}", NULL);
    expect_create("{\"type\":\"pull-wake\",\"pattern\":null,\"streams\":[\"a\"],\"wake_stream\":"
                  "\"w\",\"description\":null,\"lease_ttl_ms\":null,\"new\":1}",
                  NULL);
    expect_create("{\"type\":\"webhook\",\"pattern\":\"a/*\",\"webhook\":{\"url\":"
                  "\"http://10.0.0.1/hook\"}}",
                  "WEBHOOK_URL_REJECTED");
}

Test(subs_request, what_is_missing_or_malformed_is_an_invalid_request)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "null",
        "{\"type\":\"webhook\"} x",
        "{\"pattern\":\"a\"," HOOK "}",
        "{\"type\":\"other\",\"pattern\":\"a\"," HOOK "}",
        "{\"type\":7,\"pattern\":\"a\"," HOOK "}",
        "{\"type\":\"webhook\"," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"\"," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"/a\"," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":[\"a\"]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":\"a\"," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[7]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"/a\"]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"a//b\"]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"__ds/x\"]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"a\\u0000\"]," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\"}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"webhook\":{\"url\":7}}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"webhook\":\"https://example.com\"}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"lease_ttl_ms\":999," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"lease_ttl_ms\":600001," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"lease_ttl_ms\":1000.5," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"lease_ttl_ms\":\"1000\"," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"description\":7," HOOK "}",
        "{\"type\":\"webhook\",\"pattern\":\"a\",\"pattern\":\"b\"," HOOK "}",
        "{\"type\":\"pull-wake\",\"pattern\":\"a\"}",
        "{\"type\":\"pull-wake\",\"pattern\":\"a\",\"wake_stream\":\"__ds/w\"}",
        "{\"type\":\"pull-wake\",\"streams\":[\"w\"],\"wake_stream\":\"w\"}",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        expect_create(bad[i], "INVALID_REQUEST");
    }
}

static void
hash_of(const char *body, char out[SUBS_HASH_SIZE])
{
    SubsRequest request;
    const char *code;
    Error err = {0};

    cr_assert(subs_request_create(str_c(body), &rules, &request, &code, &err), "%s", err.text);
    memcpy(out, request.hash, SUBS_HASH_SIZE);
    subs_request_done(&request);
}

Test(subs_request, the_hash_is_of_the_meaning_and_not_of_the_text)
{
    char a[SUBS_HASH_SIZE];
    char b[SUBS_HASH_SIZE];
    static const char *const others[] = {
        "{\"type\":\"webhook\",\"streams\":[\"x\",\"y\",\"z\"]," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"x\",\"y\"],\"pattern\":\"z\"," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"x\",\"y\"],\"lease_ttl_ms\":30001," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"x\",\"y\"],\"description\":\"\"," HOOK "}",
        "{\"type\":\"webhook\",\"streams\":[\"x\",\"y\"]," OTHER_HOOK "}",
        "{\"type\":\"pull-wake\",\"streams\":[\"x\",\"y\"],\"wake_stream\":\"w\"}",
    };

    hash_of("{\"type\":\"webhook\",\"streams\":[\"x\",\"y\"]," HOOK "}", a);
    hash_of("{ " HOOK ", \"lease_ttl_ms\": 30000, \"streams\": [\"y\", \"x\", \"x\"],"
            " \"type\": \"webhook\" }",
            b);
    cr_expect_str_eq(a, b);
    for (size_t i = 0; i < DS_COUNT(others); i++) {
        hash_of(others[i], b);
        cr_expect_str_neq(a, b, "%s", others[i]);
    }
}

Test(subs_request, streams_are_sorted_and_named_once)
{
    SubsRequest request;
    Error err;

    cr_assert(
        subs_request_streams(STR("{\"streams\":[\"b\",\"a\",\"b\"]}"), &rules, &request, &err));
    cr_assert_eq(request.stream_count, 2);
    cr_expect(str_eq(request.streams[0], STR("a")));
    cr_expect(str_eq(request.streams[1], STR("b")));
    subs_request_done(&request);
    cr_expect_not(subs_request_streams(STR("{}"), &rules, &request, &err));
    cr_expect_not(subs_request_streams(STR("{\"streams\":null}"), &rules, &request, &err));
}

Test(subs_request, claims_name_their_worker)
{
    SubsRequest request;
    Error err;

    cr_assert(subs_request_claim(STR("{\"worker\":\"w\"}"), &request, &err));
    cr_expect(str_eq(request.worker, STR("w")));
    subs_request_done(&request);
    cr_expect_not(subs_request_claim(STR("{}"), &request, &err));
    cr_expect_not(subs_request_claim(STR("{\"worker\":\"\"}"), &request, &err));
    cr_expect_not(subs_request_claim(STR("{\"worker\":7}"), &request, &err));
}

Test(subs_request, acks_are_read_strictly)
{
    static const char *const bad[] = {
        "{}",
        "{\"wake_id\":\"w\"}",
        "{\"generation\":1}",
        "{\"wake_id\":\"w\",\"generation\":\"1\"}",
        "{\"wake_id\":\"w\",\"generation\":-1}",
        "{\"wake_id\":\"w\",\"generation\":1.0}",
        "{\"wake_id\":\"w\",\"generation\":1,\"done\":\"true\"}",
        "{\"wake_id\":\"w\",\"generation\":1,\"acks\":{}}",
        "{\"wake_id\":\"w\",\"generation\":1,\"acks\":[{\"stream\":\"a\"}]}",
        "{\"wake_id\":\"w\",\"generation\":1,\"acks\":[{\"stream\":\"a\",\"offset\":1}]}",
        "{\"wake_id\":\"w\",\"generation\":1,\"acks\":[7]}",
    };
    SubsRequest request;
    Error err;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(subs_request_ack(str_c(bad[i]), &request, &err), "%s", bad[i]);
    }
    cr_assert(subs_request_ack(STR("{\"wake_id\":\"w\",\"generation\":7,\"done\":true,\"acks\":[{"
                                   "\"stream\":\"a\",\"offset\":\"-1\"}]}"),
                               &request, &err));
    cr_expect_eq(request.generation, 7);
    cr_expect(request.done);
    cr_expect_eq(request.ack_count, 1);
    cr_expect(str_eq(request.acks[0].offset, STR("-1")));
    subs_request_done(&request);
}

Test(subs_request, only_done_true_is_done)
{
    static const char *const other[] = {"",
                                        "x",
                                        "{}",
                                        "[true]",
                                        "{\"done\":false}",
                                        "{\"done\":1}",
                                        "{\"done\":\"true\"}",
                                        "true",
                                        "\xff\xfe"};

    cr_expect(subs_answer_is_done(STR(" {\"done\": true, \"x\": 1} ")));
    for (size_t i = 0; i < DS_COUNT(other); i++) {
        cr_expect_not(subs_answer_is_done(str_c(other[i])), "%s", other[i]);
    }
}
