/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_glob.h -- which streams a subscription's pattern matches (protocol 6.2).
 *
 * A segment "**" stands for any number of segments, none included.  In any other segment '*' stands
 * for any run of bytes but '/', so the segment "*" alone is exactly one segment.  Nothing else is
 * special.  Matching takes at most the product of both lengths.  Pure.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define SUBS_PATTERN_BYTES_MAX    1024
#define SUBS_PATTERN_SEGMENTS_MAX 64

/* ERR_INPUT says what is wrong with it. */
DS_MUST_CHECK bool subs_glob_check(Str pattern, Error *err);
bool subs_glob_match(Str pattern, Str path);
/* What every path that matches begins with. */
Str subs_glob_prefix(Str pattern);
