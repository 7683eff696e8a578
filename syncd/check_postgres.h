/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/check_postgres.h -- Postgres's half of "syncd --check": login, database, encoding, schema,
 * rights, WAL.
 *
 * Changes nothing.  Says each thing that is wrong in a line of its own, with what mends it, and
 * goes on as far as that is possible.
 */
#pragma once

#include "common/loop.h"
#include "syncd/syncd_config.h"

typedef struct CheckPostgres CheckPostgres;

/* fn is called once, from the loop: all was well or not. */
typedef void (*CheckPostgresFn)(void *arg, bool ok);

CheckPostgres *check_postgres_new(Loop *loop, const SyncdConfig *config, CheckPostgresFn fn,
                                  void *arg);
void check_postgres_free(CheckPostgres *check); /* accepts NULL; legal inside fn */
