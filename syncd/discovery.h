/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/discovery.h -- from routes to streams that are wanted: the catalogue of routes feeds the
 * directory of streams, and that the supervisor.
 */
#pragma once

#include "syncd/directory.h"
#include "syncd/route_catalog.h"
#include "syncd/supervisor.h"

typedef struct Discovery Discovery;

/* The supervisor's servers and its connection are used; it outlives this. */
Discovery *discovery_new(Loop *loop, const SyncdConfig *config, Supervisor *supervisor);
void discovery_free(Discovery *discovery); /* accepts NULL; what is wanted stays so */
/* The schema is there.  The supervisor is started once the routes are known. */
void discovery_start(Discovery *discovery);

/* Whether the supervisor is ready, and a route is there that can run; a sentence why not. discovery
 * may be NULL: nothing is looked for. */
bool discovery_is_ready(const Discovery *discovery, const Supervisor *supervisor,
                        const char **out_why);
const Directory *discovery_directory(const Discovery *discovery);
const RouteCatalog *discovery_catalog(const Discovery *discovery);
