/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_sign.h -- the keys of subscriptions: webhook signatures, and the tokens of wakes.
 *
 * Webhooks are signed with Ed25519 (protocol 6.5, 7.1); receivers find the public keys in a JWK
 * Set. A key's id is "ds_" and its RFC 7638 thumbprint.  The newest key signs; after a rotation the
 * old one is published for SUBS_KEY_PUBLISHED_MS more, far longer than any receiver's replay
 * window.
 *
 * A wake's token (protocol 12.9) is a JWT under a secret of the server's own: subscription, the
 * number of that subscription, generation, wake id and expiry.  It proves that we made it; whether
 * the wake is still the current one is for the state machine to say.
 *
 * No I/O: who owns it stores what subs_keys_dump gives.  One thread at a time.
 */
#pragma once

#include "common/buf.h"

#define SUBS_KEYS_MAX         8
#define SUBS_KEY_SEED_BYTES   32
#define SUBS_KEY_ID_SIZE      48
#define SUBS_KEY_PUBLISHED_MS (INT64_C(24) * 3600 * 1000)
#define SUBS_SECRET_BYTES     32
#define SUBS_TOKEN_BYTES_MAX  2048
#define SUBS_TOKEN_LIFE_MS    (INT64_C(7) * 24 * 3600 * 1000) /* a wake that is held for longer */

typedef struct SubsKeys SubsKeys;

/* A key as it is stored. */
typedef struct SubsKeySeed {
    uint8_t seed[SUBS_KEY_SEED_BYTES];
    int64_t created_ms; /* wall clock */
    int64_t retired_ms; /* 0: it signs */
} SubsKeySeed;

/* All that has to be stored. */
typedef struct SubsKeyDump {
    uint8_t secret[SUBS_SECRET_BYTES];
    size_t count;
    SubsKeySeed seeds[SUBS_KEYS_MAX]; /* the last one signs */
} SubsKeyDump;

SubsKeys *subs_keys_new(void); /* with a new secret and a new key */
/* ERR_CORRUPT: no key of them signs. */
DS_MUST_CHECK bool subs_keys_restore(const SubsKeyDump *dump, SubsKeys **out, Error *err);
void subs_keys_free(SubsKeys *keys); /* accepts NULL */

/* A new key signs from now on; keys that were retired long enough ago are forgotten. */
void subs_keys_rotate(SubsKeys *keys, int64_t now_ms);
void subs_keys_dump(const SubsKeys *keys, SubsKeyDump *out);

const char *subs_keys_id(SubsKeys *keys); /* of the key that signs */
/* {"keys": [...]}: the public parts of those to be published at now_ms. */
DS_MUST_CHECK bool subs_keys_jwks(SubsKeys *keys, int64_t now_ms, Buf *out, Error *err);
/* "t=<now>,kid=<id>,ed25519=<signature over "<now>.<body>">" */
DS_MUST_CHECK bool subs_keys_sign(SubsKeys *keys, Str body, int64_t now_s, Buf *out, Error *err);

typedef struct SubsToken {
    Str subscription;
    uint64_t serial;
    uint64_t generation;
    Str wake_id;
} SubsToken;

typedef enum SubsTokenVerdict {
    SUBS_TOKEN_GOOD,
    SUBS_TOKEN_INVALID, /* not ours, or of another subscription */
    SUBS_TOKEN_EXPIRED,
    SUBS_TOKEN_STALE, /* of another wake of this subscription */
} SubsTokenVerdict;

DS_MUST_CHECK bool subs_token_make(const SubsKeys *keys, const SubsToken *token, int64_t now_ms,
                                   Buf *out, Error *err);
/* Whether text is a token of exactly that wake. */
SubsTokenVerdict subs_token_check(const SubsKeys *keys, Str text, const SubsToken *expected,
                                  int64_t now_ms);
