/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/cors.h -- which origins a browser may read our replies from (Fetch standard, 3.2).
 *
 * "*", or a list of exact origins: scheme://host[:port], lower case as browsers send it, or "null".
 * Pure; made at the start, then read by every thread.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define CORS_ORIGINS_MAX 256

typedef struct Cors Cors;

/* What the reply to a request says; small, so that it can be kept while an answer is awaited. */
typedef enum CorsKind { CORS_NONE, CORS_ANY, CORS_LISTED, CORS_UNLISTED } CorsKind;
typedef struct CorsVerdict {
    uint8_t kind;
    bool asked;     /* the request named an origin */
    uint16_t index; /* CORS_LISTED */
} CorsVerdict;

/* ERR_CONFIG names the entry that is not an origin. */
DS_MUST_CHECK bool cors_new(Str origins, Cors **out, Error *err);
void cors_free(Cors *cors);

/* origin: the request's Origin, or empty. */
CorsVerdict cors_judge(const Cors *cors, Str origin);

/* The lines for a reply, each with CR LF; `shared` for what a cache may keep (GET, HEAD), which
 * must not depend on whether this request named an origin.  Borrowed, static or as long as cors. */
Str cors_lines(const Cors *cors, CorsVerdict verdict, bool shared);
/* The further lines for an answer to OPTIONS. */
Str cors_preflight_lines(void);
