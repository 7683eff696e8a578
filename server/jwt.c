/* SPDX-License-Identifier: Apache-2.0 */
#include "server/jwt.h"

#include <fcntl.h>
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <unistd.h>

#include "common/base64.h"
#include "common/mem.h"

#define ES256_BYTES    64
#define COORDINATE_MAX 32

typedef enum JwtAlgorithm { JWT_RS256, JWT_ES256, JWT_EDDSA } JwtAlgorithm;

typedef struct JwtKey {
    char *id; /* NULL: it has none */
    JwtAlgorithm algorithm;
    EVP_PKEY *key;
} JwtKey;

struct JwtKeys {
    size_t count;
    JwtKey keys[JWKS_KEYS_MAX];
};

static const Str algorithm_names[] = {
    [JWT_RS256] = STR("RS256"), [JWT_ES256] = STR("ES256"), [JWT_EDDSA] = STR("EdDSA")};

/* ---- keys ---- */

static Str
member_str(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_string(value) ? str_n(json_string_value(value), json_string_length(value))
                                 : (Str){NULL, 0};
}

static bool
member_bytes(const json_t *object, const char *name, Buf *out)
{
    Str text = member_str(object, name);
    Error err;

    return text.ptr != NULL && text.len > 0 && base64url_decode(out, text, &err);
}

static EVP_PKEY *
key_of_params(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;

    if (params == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        key = NULL;
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *
rsa_key(Str modulus, Str exponent)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn((const unsigned char *)modulus.ptr, (int)modulus.len, NULL);
    BIGNUM *e = BN_bin2bn((const unsigned char *)exponent.ptr, (int)exponent.len, NULL);
    EVP_PKEY *key = NULL;

    if (BN_num_bits(n) >= JWT_RSA_BITS_MIN &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1) {
        key = key_of_params("RSA", build);
    }
    BN_free(n);
    BN_free(e);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *
p256_key(Str x, Str y)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    unsigned char point[1 + 2 * COORDINATE_MAX] = {4}; /* uncompressed */
    EVP_PKEY *key = NULL;

    if (x.len == COORDINATE_MAX && y.len == COORDINATE_MAX) {
        memcpy(point + 1, x.ptr, x.len);
        memcpy(point + 1 + COORDINATE_MAX, y.ptr, y.len);
        if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ==
                1 &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                             sizeof(point)) == 1) {
            key = key_of_params("EC", build);
        }
    }
    OSSL_PARAM_BLD_free(build);
    return key;
}

/* NULL for what we have no use for, or what is malformed. */
static EVP_PKEY *
key_of_jwk(const json_t *jwk, JwtAlgorithm *out)
{
    Str type = member_str(jwk, "kty");
    Str curve = member_str(jwk, "crv");
    EVP_PKEY *key = NULL;
    Buf a;
    Buf b;

    buf_init(&a, JWKS_BYTES_MAX);
    buf_init(&b, JWKS_BYTES_MAX);
    if (str_eq(type, STR("RSA")) && member_bytes(jwk, "n", &a) && member_bytes(jwk, "e", &b)) {
        *out = JWT_RS256;
        key = rsa_key(buf_str(&a), buf_str(&b));
    } else if (str_eq(type, STR("EC")) && str_eq(curve, STR("P-256")) &&
               member_bytes(jwk, "x", &a) && member_bytes(jwk, "y", &b)) {
        *out = JWT_ES256;
        key = p256_key(buf_str(&a), buf_str(&b));
    } else if (str_eq(type, STR("OKP")) && str_eq(curve, STR("Ed25519")) &&
               member_bytes(jwk, "x", &a)) {
        *out = JWT_EDDSA;
        key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                          (const unsigned char *)buf_str(&a).ptr, a.len);
    }
    buf_done(&a);
    buf_done(&b);
    return key;
}

static void
add_key(JwtKeys *keys, const json_t *jwk)
{
    JwtKey *key = &keys->keys[keys->count];
    Str use = member_str(jwk, "use");
    Str algorithm = member_str(jwk, "alg");
    Str id = member_str(jwk, "kid");

    if (use.ptr != NULL && !str_eq(use, STR("sig"))) {
        return;
    }
    key->key = key_of_jwk(jwk, &key->algorithm);
    if (key->key == NULL) {
        return;
    }
    if (algorithm.ptr != NULL && !str_eq(algorithm, algorithm_names[key->algorithm])) {
        EVP_PKEY_free(key->key);
        return;
    }
    key->id = id.ptr == NULL ? NULL : str_dup(id);
    keys->count++;
}

bool
jwt_keys_parse(Str document, JwtKeys **out, Error *err)
{
    json_t *root = json_loadb(document.ptr, document.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *list = json_object_get(root, "keys");
    JwtKeys *keys = NULL;
    bool ok = false;

    if (!json_is_array(list)) {
        error_set(err, ERR_CONFIG, "it is not a JWK Set: {\"keys\": [...]}");
        goto done;
    }
    if (json_array_size(list) > JWKS_KEYS_MAX) {
        error_set(err, ERR_CONFIG, "it has more than %d keys", JWKS_KEYS_MAX);
        goto done;
    }
    keys = mem_zalloc(sizeof(*keys));
    for (size_t i = 0; i < json_array_size(list); i++) {
        add_key(keys, json_array_get(list, i));
    }
    if (keys->count == 0) {
        error_set(err, ERR_CONFIG,
                  "it has no key of use: RSA of %d bits or more, P-256 or Ed25519, for signatures",
                  JWT_RSA_BITS_MIN);
        goto done;
    }
    *out = keys;
    keys = NULL;
    ok = true;

done:
    jwt_keys_free(keys);
    json_decref(root);
    return ok;
}

bool
jwt_keys_load(const char *path, JwtKeys **out, Error *err)
{
    char *text = mem_alloc(JWKS_BYTES_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = -1;
    bool ok = false;

    if (fd >= 0) {
        while (len <= JWKS_BYTES_MAX &&
               (got = read(fd, text + len, JWKS_BYTES_MAX + 1 - len)) > 0) {
            len += (size_t)got;
        }
    }
    if (fd < 0 || got < 0) {
        error_set(err, ERR_CONFIG, "%s cannot be read: %m", path);
    } else if (len > JWKS_BYTES_MAX) {
        error_set(err, ERR_CONFIG, "%s is longer than %zu bytes", path, JWKS_BYTES_MAX);
    } else {
        ok = jwt_keys_parse(str_n(text, len), out, err) || error_wrap(err, "%s", path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(text);
    return ok;
}

void
jwt_keys_free(JwtKeys *keys)
{
    if (keys != NULL) {
        for (size_t i = 0; i < keys->count; i++) {
            EVP_PKEY_free(keys->keys[i].key);
            free(keys->keys[i].id);
        }
        free(keys);
    }
}

/* ---- signatures ---- */

/* JWS has r and s side by side, OpenSSL wants them in DER. */
static bool
es256_to_der(Str signature, unsigned char **out, int *out_len)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    const unsigned char *bytes = (const unsigned char *)signature.ptr;
    bool ok = false;

    if (signature.len == ES256_BYTES &&
        ECDSA_SIG_set0(pair, BN_bin2bn(bytes, ES256_BYTES / 2, NULL),
                       BN_bin2bn(bytes + ES256_BYTES / 2, ES256_BYTES / 2, NULL)) == 1) {
        *out_len = i2d_ECDSA_SIG(pair, out);
        ok = *out_len > 0;
    }
    ECDSA_SIG_free(pair);
    return ok;
}

static bool
signature_is_good(const JwtKey *key, Str input, Str signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const EVP_MD *digest = key->algorithm == JWT_EDDSA ? NULL : EVP_sha256();
    const unsigned char *bytes = (const unsigned char *)signature.ptr;
    unsigned char *der = NULL;
    int der_len = 0;
    bool ok;

    DS_ASSERT(context != NULL);
    ok = key->algorithm != JWT_ES256 || es256_to_der(signature, &der, &der_len);
    ok = ok && EVP_DigestVerifyInit(context, NULL, digest, NULL, key->key) == 1 &&
         EVP_DigestVerify(context, der != NULL ? der : bytes,
                          der != NULL ? (size_t)der_len : signature.len,
                          (const unsigned char *)input.ptr, input.len) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(context);
    return ok;
}

/* ---- tokens ---- */

typedef struct Token {
    Str input; /* what is signed: header and payload as they came */
    json_t *header;
    json_t *payload;
    Buf signature;
} Token;

static json_t *
decode_json(Str part)
{
    json_t *object = NULL;
    Buf text;
    Error err;

    buf_init(&text, JWT_BYTES_MAX);
    if (base64url_decode(&text, part, &err)) {
        object = json_loadb(buf_str(&text).ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    }
    buf_done(&text);
    if (!json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool
cut_token(Str token, Token *out, Error *err)
{
    Str header;
    Str payload;
    Str signature;
    Str rest;

    if (token.len > JWT_BYTES_MAX) {
        return error_set(err, ERR_AUTH, "the token is longer than %d bytes", JWT_BYTES_MAX);
    }
    if (!str_cut(token, '.', &header, &rest) || !str_cut(rest, '.', &payload, &signature)) {
        return error_set(err, ERR_AUTH, "the token does not have three parts");
    }
    out->input = str_head(token, header.len + 1 + payload.len);
    out->header = decode_json(header);
    out->payload = decode_json(payload);
    if (out->header == NULL || out->payload == NULL || signature.len == 0 ||
        !base64url_decode(&out->signature, signature, err)) {
        return error_set(err, ERR_AUTH, "the token cannot be decoded");
    }
    return true;
}

static bool
check_signature(const JwtKeys *keys, const Token *token, Error *err)
{
    Str algorithm = member_str(token->header, "alg");
    const json_t *kid = json_object_get(token->header, "kid");
    Str id = member_str(token->header, "kid");

    if (json_object_get(token->header, "crit") != NULL) {
        return error_set(err, ERR_AUTH, "the token has critical extensions");
    }
    if (kid != NULL && id.ptr == NULL) {
        return error_set(err, ERR_AUTH, "the token's kid is not a string");
    }
    for (size_t i = 0; i < keys->count; i++) {
        const JwtKey *key = &keys->keys[i];

        if ((id.ptr == NULL || (key->id != NULL && str_eq(str_c(key->id), id))) &&
            str_eq(algorithm, algorithm_names[key->algorithm]) &&
            signature_is_good(key, token->input, buf_str(&token->signature))) {
            return true;
        }
    }
    return error_set(err, ERR_AUTH, "no key of ours verifies the token's signature");
}

static bool
has_audience(const json_t *payload, Str audience)
{
    const json_t *value = json_object_get(payload, "aud");

    if (json_is_string(value)) {
        return str_eq(member_str(payload, "aud"), audience);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);

        if (json_is_string(one) &&
            str_eq(str_n(json_string_value(one), json_string_length(one)), audience)) {
            return true;
        }
    }
    return false;
}

/* NumericDate: a number, fractions allowed. */
static bool
member_time(const json_t *payload, const char *name, double *out)
{
    const json_t *value = json_object_get(payload, name);

    if (!json_is_number(value)) {
        return false;
    }
    *out = json_number_value(value);
    return true;
}

static JwtVerdict
check_claims(const json_t *payload, Str audience, int64_t now_s, Error *err)
{
    double expires_s = 0;
    double begins_s = 0;

    if (!has_audience(payload, audience)) {
        (void)error_set(err, ERR_AUTH, "the token is for another audience");
        return JWT_INVALID;
    }
    if (!member_time(payload, "exp", &expires_s)) {
        (void)error_set(err, ERR_AUTH, "the token has no exp");
        return JWT_INVALID;
    }
    if (expires_s <= (double)now_s) {
        (void)error_set(err, ERR_AUTH, "the token has expired");
        return JWT_EXPIRED;
    }
    if (json_object_get(payload, "nbf") != NULL &&
        (!member_time(payload, "nbf", &begins_s) || begins_s > (double)now_s + JWT_NOT_BEFORE_S)) {
        (void)error_set(err, ERR_AUTH, "the token is not valid yet");
        return JWT_INVALID;
    }
    return JWT_GOOD;
}

JwtVerdict
jwt_verify(const JwtKeys *keys, Str token, Str audience, int64_t now_s, Error *err)
{
    Token parts = {0};
    JwtVerdict verdict = JWT_INVALID;

    buf_init(&parts.signature, JWT_BYTES_MAX);
    if (cut_token(token, &parts, err) && check_signature(keys, &parts, err)) {
        verdict = check_claims(parts.payload, audience, now_s, err);
    }
    json_decref(parts.header);
    json_decref(parts.payload);
    buf_done(&parts.signature);
    return verdict;
}
