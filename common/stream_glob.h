/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/stream_glob.h -- which streams a pattern matches: of a subscription (protocol 6.2), of a
 * route.
 *
 * A segment "**" stands for any number of segments, none included.  In any other segment '*' stands
 * for any run of bytes but '/', so the segment "*" alone is exactly one segment.  Nothing else is
 * special.  Time is at most the product of both lengths.  Pure.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define STREAM_GLOB_BYTES_MAX    1024
#define STREAM_GLOB_SEGMENTS_MAX 64

/* ERR_INPUT says what is wrong with it. */
DS_MUST_CHECK bool stream_glob_check(Str pattern, Error *err);
bool stream_glob_match(Str pattern, Str path);
/* What every path that matches begins with. */
Str stream_glob_prefix(Str pattern);
/* Whether some path matches both; for patterns that stream_glob_check took. */
bool stream_glob_overlap(Str a, Str b);
