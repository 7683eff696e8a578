/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_pointer.h -- several JSON pointers (RFC 6901) looked up in a document at once.
 *
 * They are compiled into a tree of their tokens, so members that several of them pass through are
 * searched once.  Nothing of the document is copied: what is found are views into it, as
 * common/json_scan.h gives them.  Immutable after json_pointers_new.  Pure.
 */
#pragma once

#include "common/json_scan.h"

#define JSON_POINTERS_MAX       64
#define JSON_POINTER_TOKENS_MAX 32
#define JSON_POINTER_BYTES_MAX  4096

typedef struct JsonPointers JsonPointers;

/* ERR_INPUT: one is no pointer; ERR_LIMIT: too many, too long or too deep. */
DS_MUST_CHECK bool json_pointers_new(const Str *pointers, size_t count, JsonPointers **out,
                                     Error *err);
void json_pointers_free(JsonPointers *pointers); /* accepts NULL */

/* The document must be valid JSON without white space around it.  out[i] is of pointers[i]; its
 * text.ptr is NULL when there is nothing there.  Of members with one name the last one counts, as
 * in jsonb. */
void json_pointers_get(const JsonPointers *pointers, Str document, JsonValue *out);
