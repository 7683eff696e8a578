/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/route_diff.h -- what differs between two routes, member by member, as rows for output.h.
 *
 * Pure, over printed specs (common/route_spec.h).
 */
#pragma once

#include <jansson.h>

/* Appends {"route", "change", "what", "from", "to"} rows: change is "add" (before is NULL),
 * "change" or "same" (one row, and nothing else).  what is a member's path, like
 * "columns.user.type"; of a list each text that came or went is a row. */
void route_diff(const char *route, const json_t *before, const json_t *after, json_t *rows);
