/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/route_layout.h -- a prefix as a range of stream names.
 *
 * In the collation "C" the names with a prefix lie between it and the next text of its length.  An
 * expression could not stand in a primary key, so a list of prefixes is ranges to Postgres.  Pure.
 */
#pragma once

#include "common/buf.h"

/* The first text behind all that begin with prefix (valid UTF-8, not empty), appended.  ERR_INPUT
 * when there is none. */
DS_MUST_CHECK bool route_prefix_end(Str prefix, Buf *out, Error *err);
