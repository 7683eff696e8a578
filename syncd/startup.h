/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/startup.h -- sees to the schema before anything is loaded: waits for Postgres, then
 * migrates or only checks.
 */
#pragma once

#include "common/loop.h"
#include "syncd/syncd_config.h"

typedef struct Startup Startup;

typedef struct StartupResult {
    bool ok;
    Error err; /* when !ok: no retry can mend it */
    int schema_version;
} StartupResult;

typedef void (*StartupFn)(void *arg, const StartupResult *result);

/* config: its connection string is read anew when the login is refused.  Tries until it is done or
 * no retry can mend it; fn is called once, from the loop. */
Startup *startup_new(Loop *loop, SyncdConfig *config, StartupFn fn, void *arg);
void startup_free(Startup *startup); /* accepts NULL; legal inside fn */
