/* SPDX-License-Identifier: Apache-2.0 */
#include "server/jwt.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/base64.h"

#define NOW_S    INT64_C(1790000000)
#define ROOM     16384
#define AUDIENCE STR("ds-workers")

static EVP_PKEY *rsa;
static EVP_PKEY *ec;
static EVP_PKEY *ed;
static JwtKeys *keys;
static Buf jwks;

static void
put(Buf *out, Str text)
{
    Error err;

    cr_assert(buf_append(out, text, &err));
}

static void
put_encoded(Buf *out, Str bytes)
{
    Error err;

    cr_assert(base64url_encode(out, bytes, &err));
}

static void
put_number(Buf *out, EVP_PKEY *key, const char *name, size_t width)
{
    BIGNUM *number = NULL;
    unsigned char bytes[512];
    int len;

    cr_assert_eq(EVP_PKEY_get_bn_param(key, name, &number), 1);
    len = width > 0 ? BN_bn2binpad(number, bytes, (int)width) : BN_bn2bin(number, bytes);
    put_encoded(out, str_n(bytes, (size_t)len));
    BN_free(number);
}

static void
setup(void)
{
    unsigned char raw[32];
    size_t len = sizeof(raw);
    Error err = {0};

    rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    buf_init(&jwks, ROOM);
    put(&jwks, STR("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"alg\":\"RS256\",\"n\":\""));
    put_number(&jwks, rsa, OSSL_PKEY_PARAM_RSA_N, 0);
    put(&jwks, STR("\",\"e\":\""));
    put_number(&jwks, rsa, OSSL_PKEY_PARAM_RSA_E, 0);
    put(&jwks, STR("\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",\"use\":\"sig\",\"x\":\""));
    put_number(&jwks, ec, OSSL_PKEY_PARAM_EC_PUB_X, 32);
    put(&jwks, STR("\",\"y\":\""));
    put_number(&jwks, ec, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    put(&jwks, STR("\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"d\",\"x\":\""));
    cr_assert_eq(EVP_PKEY_get_raw_public_key(ed, raw, &len), 1);
    put_encoded(&jwks, str_n(raw, len));
    put(&jwks, STR("\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"));
    cr_assert(jwt_keys_parse(buf_str(&jwks), &keys, &err), "%s", err.text);
}

static void
teardown(void)
{
    jwt_keys_free(keys);
    buf_done(&jwks);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ed);
}

TestSuite(jwt, .init = setup, .fini = teardown);

static void
put_es256(Buf *out, const unsigned char *der, size_t len)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)len);
    unsigned char both[64];

    cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_r(pair), both, 32), 32);
    cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_s(pair), both + 32, 32), 32);
    ECDSA_SIG_free(pair);
    put_encoded(out, str_n(both, sizeof(both)));
}

/* key NULL: no signature at all. */
static void
make(Buf *out, EVP_PKEY *key, const char *header, const char *payload)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[512];
    size_t len = sizeof(signature);

    buf_reset(out);
    put_encoded(out, str_c(header));
    put(out, STR("."));
    put_encoded(out, str_c(payload));
    if (key != NULL) {
        Str input = buf_str(out);

        cr_assert_eq(EVP_DigestSignInit(context, NULL, key == ed ? NULL : EVP_sha256(), NULL, key),
                     1);
        cr_assert_eq(
            EVP_DigestSign(context, signature, &len, (const unsigned char *)input.ptr, input.len),
            1);
        put(out, STR("."));
        if (key == ec) {
            put_es256(out, signature, len);
        } else {
            put_encoded(out, str_n(signature, len));
        }
    } else {
        put(out, STR("."));
    }
    EVP_MD_CTX_free(context);
}

#define GOOD "{\"aud\":\"ds-workers\",\"exp\":1790000001}"

static void
expect(EVP_PKEY *key, const char *header, const char *payload, JwtVerdict verdict)
{
    Buf token;
    Error err = {0};

    buf_init(&token, ROOM);
    make(&token, key, header, payload);
    cr_expect_eq(jwt_verify(keys, buf_str(&token), AUDIENCE, NOW_S, &err), verdict, "%s %s: %s",
                 header, payload, err.text);
    buf_done(&token);
}

Test(jwt, tokens_of_every_kind_of_key_are_verified)
{
    expect(rsa, "{\"alg\":\"RS256\",\"kid\":\"r\"}", GOOD, JWT_GOOD);
    expect(ec, "{\"alg\":\"ES256\",\"kid\":\"e\"}", GOOD, JWT_GOOD);
    expect(ed, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", GOOD, JWT_GOOD);
    expect(ed, "{\"alg\":\"EdDSA\"}", GOOD, JWT_GOOD);
}

Test(jwt, the_alg_must_be_that_of_the_key)
{
    expect(rsa, "{\"alg\":\"ES256\",\"kid\":\"r\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"alg\":\"RS512\",\"kid\":\"r\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"alg\":\"PS256\",\"kid\":\"r\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"alg\":\"rs256\",\"kid\":\"r\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"kid\":\"r\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"alg\":null,\"kid\":\"r\"}", GOOD, JWT_INVALID);
}

Test(jwt, alg_none_is_refused_in_every_spelling)
{
    expect(NULL, "{\"alg\":\"none\"}", GOOD, JWT_INVALID);
    expect(NULL, "{\"alg\":\"None\"}", GOOD, JWT_INVALID);
    expect(NULL, "{\"alg\":\"RS256\"}", GOOD, JWT_INVALID);
    expect(rsa, "{\"alg\":\"none\"}", GOOD, JWT_INVALID);
}

Test(jwt, hmac_with_a_public_key_as_its_secret_is_refused)
{
    unsigned char *der = NULL;
    int der_len = i2d_PUBKEY(rsa, &der);
    unsigned char mac[32];
    unsigned mac_len = sizeof(mac);
    Buf token;
    Error err;

    buf_init(&token, ROOM);
    put_encoded(&token, STR("{\"alg\":\"HS256\",\"kid\":\"r\"}"));
    put(&token, STR("."));
    put_encoded(&token, STR(GOOD));
    HMAC(EVP_sha256(), der, der_len, (const unsigned char *)token.data, token.len, mac, &mac_len);
    put(&token, STR("."));
    put_encoded(&token, str_n(mac, mac_len));
    cr_expect_eq(jwt_verify(keys, buf_str(&token), AUDIENCE, NOW_S, &err), JWT_INVALID);
    OPENSSL_free(der);
    buf_done(&token);
}

Test(jwt, another_key_of_the_same_kind_is_refused)
{
    EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    EVP_PKEY *own = ed;

    ed = other; /* what make signs with, without a digest */
    expect(other, "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", GOOD, JWT_INVALID);
    ed = own;
    expect(ed, "{\"alg\":\"EdDSA\",\"kid\":\"x\"}", GOOD, JWT_INVALID);
    expect(ed, "{\"alg\":\"EdDSA\",\"kid\":7}", GOOD, JWT_INVALID);
    EVP_PKEY_free(other);
}

Test(jwt, exp_is_required_and_lies_ahead)
{
    static const char header[] = "{\"alg\":\"EdDSA\"}";

    expect(ed, header, "{\"aud\":\"ds-workers\"}", JWT_INVALID);
    expect(ed, header, "{\"aud\":\"ds-workers\",\"exp\":\"1790000001\"}", JWT_INVALID);
    expect(ed, header, "{\"aud\":\"ds-workers\",\"exp\":null}", JWT_INVALID);
    expect(ed, header, "{\"aud\":\"ds-workers\",\"exp\":1790000000}", JWT_EXPIRED);
    expect(ed, header, "{\"aud\":\"ds-workers\",\"exp\":-1}", JWT_EXPIRED);
    expect(ed, header, "{\"aud\":\"ds-workers\",\"exp\":1790000000.5}", JWT_GOOD);
}

Test(jwt, the_audience_must_be_ours)
{
    static const char header[] = "{\"alg\":\"EdDSA\"}";

    expect(ed, header, "{\"exp\":1790000001}", JWT_INVALID);
    expect(ed, header, "{\"aud\":\"others\",\"exp\":1790000001}", JWT_INVALID);
    expect(ed, header, "{\"aud\":[\"others\"],\"exp\":1790000001}", JWT_INVALID);
    expect(ed, header, "{\"aud\":\"ds-workers2\",\"exp\":1790000001}", JWT_INVALID);
    expect(ed, header, "{\"aud\":[\"others\",\"ds-workers\"],\"exp\":1790000001}", JWT_GOOD);
    expect(ed, header, "{\"aud\":{\"ds-workers\":1},\"exp\":1790000001}", JWT_INVALID);
}

Test(jwt, nbf_crit_and_repeated_members_are_not_overlooked)
{
    expect(ed, "{\"alg\":\"EdDSA\"}",
           "{\"aud\":\"ds-workers\",\"exp\":1799999999,\"nbf\":1790000061}", JWT_INVALID);
    expect(ed, "{\"alg\":\"EdDSA\"}",
           "{\"aud\":\"ds-workers\",\"exp\":1799999999,\"nbf\":1790000060}", JWT_GOOD);
    expect(ed, "{\"alg\":\"EdDSA\"}", "{\"aud\":\"ds-workers\",\"exp\":1799999999,\"nbf\":\"x\"}",
           JWT_INVALID);
    expect(ed, "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}", GOOD, JWT_INVALID);
    expect(ed, "{\"alg\":\"none\",\"alg\":\"EdDSA\"}", GOOD, JWT_INVALID);
    expect(ed, "{\"alg\":\"EdDSA\"}", "{\"aud\":\"ds-workers\",\"exp\":1,\"exp\":1790000001}",
           JWT_INVALID);
    expect(ed, "{\"alg\":\"EdDSA\"}", "[]", JWT_INVALID);
    expect(ed, "[]", GOOD, JWT_INVALID);
}

Test(jwt, no_byte_of_a_token_can_be_changed_and_none_cut)
{
    Buf token;
    Error err;

    buf_init(&token, ROOM);
    make(&token, ec, "{\"alg\":\"ES256\",\"kid\":\"e\"}", GOOD);
    for (size_t i = 0; i < token.len; i++) {
        cr_expect_eq(jwt_verify(keys, str_n(token.data, i), AUDIENCE, NOW_S, &err), JWT_INVALID,
                     "cut at %zu", i);
        token.data[i] ^= 4;
        cr_expect_eq(jwt_verify(keys, buf_str(&token), AUDIENCE, NOW_S, &err), JWT_INVALID,
                     "changed at %zu", i);
        token.data[i] ^= 4;
    }
    put(&token, STR("."));
    cr_expect_eq(jwt_verify(keys, buf_str(&token), AUDIENCE, NOW_S, &err), JWT_INVALID);
    buf_done(&token);
}

Test(jwt, an_empty_ecdsa_signature_is_refused)
{
    Buf token;
    Error err;
    char zeros[64] = {0};

    buf_init(&token, ROOM);
    put_encoded(&token, STR("{\"alg\":\"ES256\",\"kid\":\"e\"}"));
    put(&token, STR("."));
    put_encoded(&token, STR(GOOD));
    put(&token, STR("."));
    put_encoded(&token, str_n(zeros, sizeof(zeros)));
    cr_expect_eq(jwt_verify(keys, buf_str(&token), AUDIENCE, NOW_S, &err), JWT_INVALID);
    buf_done(&token);
}

Test(jwt, a_set_without_a_key_of_use_is_refused)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", /* a few bits */
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}",
        "{\"keys\":[7, null, \"x\"]}",
    };
    JwtKeys *none = NULL;
    Error err;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(jwt_keys_parse(str_c(bad[i]), &none, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_CONFIG);
    }
    cr_expect_not(jwt_keys_load("/nonexistent/jwks.json", &none, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
}

Test(jwt, a_key_for_encryption_or_another_alg_verifies_nothing)
{
    Buf other;
    JwtKeys *none = NULL;
    Error err;
    unsigned char raw[32];
    size_t len = sizeof(raw);

    buf_init(&other, ROOM);
    cr_assert_eq(EVP_PKEY_get_raw_public_key(ed, raw, &len), 1);
    put(&other, STR("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\",\"x\":\""));
    put_encoded(&other, str_n(raw, len));
    put(&other, STR("\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"HS256\",\"x\":\""));
    put_encoded(&other, str_n(raw, len));
    put(&other, STR("\"}]}"));
    cr_expect_not(jwt_keys_parse(buf_str(&other), &none, &err));
    buf_done(&other);
}
