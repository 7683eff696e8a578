/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_sign.h"

#include <bsd/stdlib.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64.h"
#include "common/json_scan.h"
#include "common/mem.h"

#define ED25519_BYTES   32
#define SIGNATURE_BYTES 64
#define SHA256_BYTES    32
#define TEXT_BYTES_MAX  512

typedef struct SubsKey {
    SubsKeySeed seed;
    EVP_PKEY *pair; /* NULL: nobody asked for it yet, nor for what follows */
    char id[SUBS_KEY_ID_SIZE];
    char x[SUBS_KEY_ID_SIZE]; /* the public key, base64url */
} SubsKey;

struct SubsKeys {
    uint8_t secret[SUBS_SECRET_BYTES];
    size_t count; /* the last one signs */
    SubsKey keys[SUBS_KEYS_MAX];
};

/* ---- keys ---- */

static void
encode_fixed(const unsigned char *bytes, size_t len, char out[SUBS_KEY_ID_SIZE])
{
    Buf text;
    Error err;
    bool ok;

    buf_init(&text, SUBS_KEY_ID_SIZE - 1);
    ok = base64url_encode(&text, str_n(bytes, len), &err);
    DS_ASSERT(ok);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    buf_done(&text);
}

/* RFC 7638: the members that make up the key, in alphabetical order, without white space. */
static void
name_key(SubsKey *key)
{
    unsigned char public_key[ED25519_BYTES];
    unsigned char digest[SHA256_BYTES];
    char text[SUBS_KEY_ID_SIZE];
    char document[TEXT_BYTES_MAX];
    size_t len = sizeof(public_key);
    int written;

    DS_ASSERT(EVP_PKEY_get_raw_public_key(key->pair, public_key, &len) == 1);
    encode_fixed(public_key, len, key->x);
    written = snprintf(document, sizeof(document),
                       "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", key->x);
    DS_ASSERT(EVP_Digest(document, (size_t)written, digest, NULL, EVP_sha256(), NULL) == 1);
    encode_fixed(digest, sizeof(digest), text);
    (void)snprintf(key->id, sizeof(key->id), "ds_%.43s", text);
}

/* OpenSSL takes two megabytes when it is used first, and most servers never have a subscription. */
static const SubsKey *
key_open(SubsKey *key)
{
    if (key->pair == NULL) {
        key->pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed.seed,
                                                 sizeof(key->seed.seed));
        DS_ASSERT(key->pair != NULL); /* any 32 bytes are a key */
        name_key(key);
    }
    return key;
}

static const SubsKey *
signing_key(SubsKeys *keys)
{
    return key_open(&keys->keys[keys->count - 1]);
}

static void
key_done(SubsKey *key)
{
    EVP_PKEY_free(key->pair);
    explicit_bzero(key, sizeof(*key));
}

static void
key_make(SubsKey *key, int64_t now_ms)
{
    *key = (SubsKey){.seed = {.created_ms = now_ms}};
    arc4random_buf(key->seed.seed, sizeof(key->seed.seed));
}

SubsKeys *
subs_keys_new(void)
{
    SubsKeys *keys = mem_zalloc(sizeof(*keys));

    arc4random_buf(keys->secret, sizeof(keys->secret));
    key_make(&keys->keys[0], 0);
    keys->count = 1;
    return keys;
}

bool
subs_keys_restore(const SubsKeyDump *dump, SubsKeys **out, Error *err)
{
    size_t count = dump->count;
    SubsKeys *keys;

    if (count == 0 || count > SUBS_KEYS_MAX || dump->seeds[count - 1].retired_ms != 0) {
        return error_set(err, ERR_CORRUPT, "no stored webhook key signs");
    }
    keys = mem_zalloc(sizeof(*keys));
    memcpy(keys->secret, dump->secret, SUBS_SECRET_BYTES);
    for (; keys->count < count; keys->count++) {
        keys->keys[keys->count].seed = dump->seeds[keys->count];
    }
    *out = keys;
    return true;
}

void
subs_keys_free(SubsKeys *keys)
{
    if (keys != NULL) {
        for (size_t i = 0; i < keys->count; i++) {
            key_done(&keys->keys[i]);
        }
        explicit_bzero(keys->secret, sizeof(keys->secret));
        free(keys);
    }
}

static bool
is_published(const SubsKey *key, int64_t now_ms)
{
    return key->seed.retired_ms == 0 || now_ms - key->seed.retired_ms < SUBS_KEY_PUBLISHED_MS;
}

static void
forget(SubsKeys *keys, size_t at)
{
    key_done(&keys->keys[at]);
    memmove(&keys->keys[at], &keys->keys[at + 1], (keys->count - at - 1) * sizeof(SubsKey));
    keys->count--;
}

void
subs_keys_rotate(SubsKeys *keys, int64_t now_ms)
{
    /* A time of 0 would say that it signs. */
    keys->keys[keys->count - 1].seed.retired_ms = DS_MAX(now_ms, INT64_C(1));
    for (size_t i = keys->count; i > 0; i--) {
        if (!is_published(&keys->keys[i - 1], now_ms)) {
            forget(keys, i - 1);
        }
    }
    if (keys->count == SUBS_KEYS_MAX) {
        forget(keys, 0);
    }
    key_make(&keys->keys[keys->count++], now_ms);
}

void
subs_keys_dump(const SubsKeys *keys, SubsKeyDump *out)
{
    *out = (SubsKeyDump){.count = keys->count};
    memcpy(out->secret, keys->secret, SUBS_SECRET_BYTES);
    for (size_t i = 0; i < keys->count; i++) {
        out->seeds[i] = keys->keys[i].seed;
    }
}

const char *
subs_keys_id(SubsKeys *keys)
{
    return signing_key(keys)->id;
}

bool
subs_keys_jwks(SubsKeys *keys, int64_t now_ms, Buf *out, Error *err)
{
    const char *comma = "";

    if (!buf_append(out, STR("{\"keys\":["), err)) {
        return false;
    }
    for (size_t i = 0; i < keys->count; i++) {
        const SubsKey *key;

        if (!is_published(&keys->keys[i], now_ms)) {
            continue;
        }
        key = key_open(&keys->keys[i]);
        if (!buf_printf(out, err,
                        "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\",\"use\":\"sig\","
                        "\"alg\":\"EdDSA\",\"x\":\"%s\"}",
                        comma, key->id, key->x)) {
            return false;
        }
        comma = ",";
    }
    return buf_append(out, STR("]}"), err);
}

bool
subs_keys_sign(SubsKeys *keys, Str body, int64_t now_s, Buf *out, Error *err)
{
    const SubsKey *key = signing_key(keys);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[SIGNATURE_BYTES];
    size_t len = sizeof(signature);
    Buf input;
    bool ok = false;

    buf_init(&input, body.len + TEXT_BYTES_MAX);
    if (!buf_printf(&input, err, "%" PRId64 ".", now_s) || !buf_append(&input, body, err)) {
        goto done;
    }
    DS_ASSERT(EVP_DigestSignInit(context, NULL, NULL, NULL, key->pair) == 1);
    DS_ASSERT(EVP_DigestSign(context, signature, &len, (const unsigned char *)input.data,
                             input.len) == 1);
    ok = buf_printf(out, err, "t=%" PRId64 ",kid=%s,ed25519=", now_s, key->id) &&
         base64url_encode(out, str_n(signature, len), err);

done:
    buf_done(&input);
    EVP_MD_CTX_free(context);
    return ok;
}

/* ---- tokens ---- */

static const Str token_header = STR("{\"alg\":\"HS256\",\"typ\":\"JWT\"}");

static bool
append_mac(const SubsKeys *keys, Str input, Buf *out, Error *err)
{
    unsigned char mac[SHA256_BYTES];
    unsigned len = sizeof(mac);

    DS_ASSERT(HMAC(EVP_sha256(), keys->secret, sizeof(keys->secret),
                   (const unsigned char *)input.ptr, input.len, mac, &len) != NULL);
    return base64url_encode(out, str_n(mac, len), err);
}

bool
subs_token_make(const SubsKeys *keys, const SubsToken *token, int64_t now_ms, Buf *out, Error *err)
{
    Buf payload;
    Buf text;
    bool ok;

    buf_init(&payload, SUBS_TOKEN_BYTES_MAX);
    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    ok = buf_append(&payload, STR("{\"sub\":"), err) &&
         json_escape(token->subscription, &payload, err) &&
         buf_printf(&payload, err,
                    ",\"serial\":%" PRIu64 ",\"gen\":%" PRIu64 ",\"wake\":\"%.*s\",\"exp\":%" PRId64
                    "}",
                    token->serial, token->generation, STR_ARG(token->wake_id),
                    (now_ms + SUBS_TOKEN_LIFE_MS) / 1000) &&
         base64url_encode(&text, token_header, err) && buf_append_char(&text, '.', err) &&
         base64url_encode(&text, buf_str(&payload), err) && buf_append(out, buf_str(&text), err) &&
         buf_append_char(out, '.', err) && append_mac(keys, buf_str(&text), out, err);
    buf_done(&payload);
    buf_done(&text);
    return ok;
}

/* The payload of a token that we made; NULL for any other. */
static json_t *
open_token(const SubsKeys *keys, Str text)
{
    json_t *payload = NULL;
    Buf scratch;
    Str header;
    Str body;
    Str mac;
    Str rest;
    Error err;

    buf_init(&scratch, SUBS_TOKEN_BYTES_MAX);
    if (text.len <= SUBS_TOKEN_BYTES_MAX && str_cut(text, '.', &header, &rest) &&
        str_cut(rest, '.', &body, &mac) &&
        append_mac(keys, str_head(text, header.len + 1 + body.len), &scratch, &err) &&
        scratch.len == mac.len && CRYPTO_memcmp(scratch.data, mac.ptr, mac.len) == 0) {
        buf_reset(&scratch);
        if (base64url_decode(&scratch, body, &err)) {
            payload = json_loadb(buf_str(&scratch).ptr, scratch.len, 0, NULL);
        }
    }
    buf_done(&scratch);
    return payload;
}

SubsTokenVerdict
subs_token_check(const SubsKeys *keys, Str text, const SubsToken *expected, int64_t now_ms)
{
    json_t *payload = open_token(keys, text);
    const char *subscription = NULL;
    const char *wake = NULL;
    json_int_t serial = 0;
    json_int_t generation = 0;
    json_int_t expires_s = 0;
    SubsTokenVerdict verdict = SUBS_TOKEN_GOOD;

    if (payload == NULL ||
        json_unpack(payload, "{s:s,s:I,s:I,s:s,s:I}", "sub", &subscription, "serial", &serial,
                    "gen", &generation, "wake", &wake, "exp", &expires_s) != 0 ||
        !str_eq(str_c(subscription), expected->subscription) ||
        (uint64_t)serial != expected->serial) {
        verdict = SUBS_TOKEN_INVALID;
    } else if (expires_s <= now_ms / 1000) {
        verdict = SUBS_TOKEN_EXPIRED;
    } else if ((uint64_t)generation != expected->generation ||
               !str_eq(str_c(wake), expected->wake_id)) {
        verdict = SUBS_TOKEN_STALE;
    }
    json_decref(payload);
    return verdict;
}
