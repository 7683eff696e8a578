/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_sign.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>

#include "common/base64.h"

#define NOW_MS INT64_C(1790000000000)

static SubsToken
token_of(uint64_t generation)
{
    return (SubsToken){.subscription = STR("sub \"1\""),
                       .serial = 4,
                       .generation = generation,
                       .wake_id = STR("w_1")};
}

/* With the key as receivers find it. */
static bool
verifies(SubsKeys *keys, Str header, Str body)
{
    char id[SUBS_KEY_ID_SIZE];
    Buf text, input, key, signature;
    Error err;
    Str t, rest, kid, value;
    bool good = false;

    buf_init(&text, 8192);
    buf_init(&input, 8192);
    buf_init(&key, 64);
    buf_init(&signature, 128);
    cr_assert(subs_keys_jwks(keys, NOW_MS, &text, &err));
    cr_assert(str_cut(str_skip(header, 2), ',', &t, &rest) && str_cut(rest, ',', &kid, &value));
    (void)snprintf(id, sizeof(id), "%.*s", STR_ARG(str_skip(kid, 4)));
    const char *at = strstr(buf_cstr(&text), id);
    cr_assert_not_null(at);
    at = strstr(at, "\"x\":\"") + 5;
    cr_assert(base64url_decode(&key, str_n(at, 43), &err));
    cr_assert(base64url_decode(&signature, str_skip(value, strlen("ed25519=")), &err));
    cr_assert(buf_append(&input, t, &err) && buf_append_char(&input, '.', &err) &&
              buf_append(&input, body, &err));
    EVP_PKEY *public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                                       (const unsigned char *)key.data, key.len);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    good = EVP_DigestVerifyInit(context, NULL, NULL, NULL, public_key) == 1 &&
           EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.len,
                            (const unsigned char *)input.data, input.len) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(public_key);
    buf_done(&text);
    buf_done(&input);
    buf_done(&key);
    buf_done(&signature);
    return good;
}

Test(subs_sign, a_signature_is_of_time_and_body_by_a_published_key)
{
    SubsKeys *keys = subs_keys_new();
    Buf header;
    Error err;

    buf_init(&header, 512);
    cr_assert(subs_keys_sign(keys, STR("{\"a\":1}"), NOW_MS / 1000, &header, &err));
    cr_expect(str_starts(buf_str(&header), STR("t=1790000000,kid=ds_")));
    cr_expect(verifies(keys, buf_str(&header), STR("{\"a\":1}")));
    cr_expect_not(verifies(keys, buf_str(&header), STR("{\"a\":2}")));
    header.data[2] = '2';
    cr_expect_not(verifies(keys, buf_str(&header), STR("{\"a\":1}")));
    buf_done(&header);
    subs_keys_free(keys);
}

static bool
publishes(SubsKeys *keys, const char *id, int64_t now_ms)
{
    Buf text;
    Error err;
    bool found;

    buf_init(&text, 8192);
    cr_assert(subs_keys_jwks(keys, now_ms, &text, &err));
    found = strstr(buf_cstr(&text), id) != NULL;
    cr_expect_null(strstr(buf_cstr(&text), "\"d\""));
    buf_done(&text);
    return found;
}

Test(subs_sign, after_a_rotation_the_old_key_is_published_for_a_while)
{
    SubsKeys *keys = subs_keys_new();
    char old_id[SUBS_KEY_ID_SIZE];

    (void)snprintf(old_id, sizeof(old_id), "%s", subs_keys_id(keys));
    subs_keys_rotate(keys, NOW_MS);
    cr_expect_str_neq(subs_keys_id(keys), old_id);
    cr_expect(publishes(keys, subs_keys_id(keys), NOW_MS));
    cr_expect(publishes(keys, old_id, NOW_MS + SUBS_KEY_PUBLISHED_MS - 1));
    cr_expect_not(publishes(keys, old_id, NOW_MS + SUBS_KEY_PUBLISHED_MS));
    for (int i = 0; i < 2 * SUBS_KEYS_MAX; i++) {
        subs_keys_rotate(keys, NOW_MS + i);
    }
    cr_expect(publishes(keys, subs_keys_id(keys), NOW_MS));
    subs_keys_free(keys);
}

Test(subs_sign, keys_are_the_same_after_they_were_stored)
{
    SubsKeys *keys = subs_keys_new();
    SubsKeys *again = NULL;
    SubsKeyDump dump;
    SubsToken token = token_of(1);
    Buf text;
    Error err;

    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    subs_keys_rotate(keys, NOW_MS);
    subs_keys_dump(keys, &dump);
    cr_assert(subs_keys_restore(&dump, &again, &err));
    cr_expect_str_eq(subs_keys_id(again), subs_keys_id(keys));
    cr_assert(subs_token_make(keys, &token, NOW_MS, &text, &err));
    cr_expect_eq(subs_token_check(again, buf_str(&text), &token, NOW_MS), SUBS_TOKEN_GOOD);
    dump.seeds[dump.count - 1].retired_ms = 1;
    subs_keys_free(again);
    again = NULL;
    cr_expect_not(subs_keys_restore(&dump, &again, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
    buf_done(&text);
    subs_keys_free(keys);
}

Test(subs_sign, a_token_is_good_for_its_wake_alone)
{
    SubsKeys *keys = subs_keys_new();
    SubsKeys *others = subs_keys_new();
    SubsToken token = token_of(7);
    SubsToken expected = token;
    Buf text;
    Error err;

    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    cr_assert(subs_token_make(keys, &token, NOW_MS, &text, &err));
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_GOOD);
    cr_expect_eq(subs_token_check(others, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_INVALID);
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS + SUBS_TOKEN_LIFE_MS),
                 SUBS_TOKEN_EXPIRED);
    expected.generation = 8;
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_STALE);
    expected = token;
    expected.wake_id = STR("w_2");
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_STALE);
    expected = token;
    expected.serial = 5;
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_INVALID);
    expected = token;
    expected.subscription = STR("sub-2");
    cr_expect_eq(subs_token_check(keys, buf_str(&text), &expected, NOW_MS), SUBS_TOKEN_INVALID);
    buf_done(&text);
    subs_keys_free(keys);
    subs_keys_free(others);
}

Test(subs_sign, no_byte_of_a_token_can_be_changed_or_cut)
{
    SubsKeys *keys = subs_keys_new();
    SubsToken token = token_of(7);
    Buf text;
    Error err;

    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    cr_assert(subs_token_make(keys, &token, NOW_MS, &text, &err));
    for (size_t i = 0; i < text.len; i++) {
        cr_expect_eq(subs_token_check(keys, str_n(text.data, i), &token, NOW_MS),
                     SUBS_TOKEN_INVALID, "cut at %zu", i);
        text.data[i] ^= 1;
        cr_expect_eq(subs_token_check(keys, buf_str(&text), &token, NOW_MS), SUBS_TOKEN_INVALID,
                     "changed at %zu", i);
        text.data[i] ^= 1;
    }
    cr_expect_eq(subs_token_check(keys, STR_EMPTY, &token, NOW_MS), SUBS_TOKEN_INVALID);
    cr_expect_eq(subs_token_check(keys, STR(".."), &token, NOW_MS), SUBS_TOKEN_INVALID);
    buf_done(&text);
    subs_keys_free(keys);
}
