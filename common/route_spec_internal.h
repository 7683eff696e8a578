/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_spec_internal.h -- what route_spec.c, route_set.c and route_print.c share.
 */
#pragma once

#include <jansson.h>

#include "common/route_spec.h"

/* In the order of the enums, NULL-terminated. */
extern const char *const route_kind_words[];
extern const char *const route_payload_words[];
extern const char *const route_start_words[];
extern const char *const route_on_error_words[];
extern const char *const route_on_recreate_words[];
extern const char *const route_ttl_words[];
extern const char *const route_after_sync_words[];

/* As route_spec_parse, for an object within a document; false when it added problems. */
DS_MUST_CHECK bool route_spec_take(RouteSpec *out, const json_t *object, RouteProblems *problems);

/* Counts the problem, and keeps it if there is room, unless `good`, which it returns. */
bool route_problems_note(RouteProblems *problems, bool good, const Error *problem);
/* Puts "context: " before those that came since there were `before`. */
void route_problems_wrap(RouteProblems *problems, size_t before, const char *fmt, ...)
    DS_PRINTF(3, 4);
