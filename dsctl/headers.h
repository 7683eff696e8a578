/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/headers.h -- the few header lines of one request.
 */
#pragma once

#include "common/error.h"

#define HEADERS_MAX            8
#define HEADERS_LINE_BYTES_MAX 8192

typedef struct Headers {
    char *lines[HEADERS_MAX + 1]; /* "Name: value", NULL behind the last */
    size_t count;
} Headers;

/* ERR_CONFIG for a value with control characters: it could add headers of its own. */
DS_MUST_CHECK bool headers_add(Headers *headers, const char *name, const char *value, Error *err);
DS_MUST_CHECK bool headers_add_number(Headers *headers, const char *name, int64_t value,
                                      Error *err);
void headers_done(Headers *headers);
