/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/directory.h -- finds the streams of the routes on all servers, and says which are wanted.
 *
 * A DirectoryModel that a ServerWatch for each server feeds.  New streams are found within seconds;
 * while a server cannot be asked, what is known stays wanted.
 */
#pragma once

#include "syncd/directory_model.h"
#include "syncd/servers.h"

typedef struct Directory Directory;

typedef struct DirectoryConfig {
    Servers *servers;
    int64_t idle_ms_max; /* see ServerWatchConfig */
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
} DirectoryConfig;

Directory *directory_new(Loop *loop, const DirectoryConfig *config,
                         const DirectoryModelCallbacks *callbacks, void *arg);
void directory_free(Directory *directory); /* accepts NULL; tells nothing */

/* All routes that are to run, from now on.  Tells at once what they name. */
void directory_set_routes(Directory *directory, Route *const *routes, size_t count);
