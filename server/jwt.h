/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/jwt.h -- verify tokens that others signed (RFC 7515, 7518, 7519, 8037), strictly.
 *
 * Keys come from a JWK Set and say themselves what they may verify: an RSA key RS256, a P-256 key
 * ES256, an Ed25519 key EdDSA.  The token's alg has to be that one, so neither "none" nor HS256
 * with a public key as its secret gets anywhere.  A token must have an exp that lies ahead and the
 * audience asked for; nbf is honoured; crit is refused.  JSON with a repeated member is refused.
 *
 * Immutable once made: any thread.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define JWT_BYTES_MAX    8192
#define JWKS_BYTES_MAX   ((size_t)256 * 1024)
#define JWKS_KEYS_MAX    64
#define JWT_NOT_BEFORE_S 60   /* how far a signer's clock may be ahead */
#define JWT_RSA_BITS_MIN 2048 /* weaker keys are refused */

typedef struct JwtKeys JwtKeys;

typedef enum JwtVerdict {
    JWT_GOOD,
    JWT_INVALID, /* err says why */
    JWT_EXPIRED,
} JwtVerdict;

/* Keys for other uses (use other than "sig") and of kinds not listed above are skipped; ERR_CONFIG
 * when none is left, or the document is none. */
DS_MUST_CHECK bool jwt_keys_parse(Str document, JwtKeys **out, Error *err);
DS_MUST_CHECK bool jwt_keys_load(const char *path, JwtKeys **out, Error *err);
void jwt_keys_free(JwtKeys *keys); /* accepts NULL */

/* now_s: seconds since 1970. */
DS_MUST_CHECK JwtVerdict jwt_verify(const JwtKeys *keys, Str token, Str audience, int64_t now_s,
                                    Error *err);
