/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/limits.h -- the one list of what is bounded, by what, and what happens at the bound.
 *
 * The values are enforced where they apply; this list names them all, for docs/server.md and for
 * the test that holds the page to it.
 */
#pragma once

#include "common/buf.h"

typedef struct Limit {
    const char *what;
    const char *setting; /* its default is the settings table's; NULL: fixed */
    uint64_t fixed;
    const char *unit;
    const char *beyond; /* what a client sees */
} Limit;

extern const Limit limits_table[]; /* ends with what NULL */

DS_MUST_CHECK bool limits_markdown(Buf *out, Error *err);
