/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/before.h -- --before: a point in time, or an age by the clock of Postgres.
 */
#pragma once

#include "dsctl/call.h"

#define BEFORE_HELP "older than this: 2026-01-31T00:00:00Z, or an age like 30d or 12h"

/* before: as it was given, NULL: not at all.  *out has one cell, the time as Postgres writes it,
 * and is the caller's.  ERR_CONFIG: no time, or one in the future. */
DS_MUST_CHECK bool before_find(Call *call, const char *before, CallRows *out, Error *err);
