/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/directory.h -- finds the streams of the routes on all servers, and says which are wanted.
 *
 * A DirectoryModel that a ServerWatch for each server feeds.  New streams are found within seconds;
 * while a server cannot be asked, what is known stays wanted.  Where a server has an admin
 * listener, streams that routes name are watched as well, so that it is heard of when one is made
 * anew.  What there is no room for is looked for again once there is.
 */
#pragma once

#include "syncd/directory_model.h"
#include "syncd/server_watch.h"

typedef struct Directory Directory;

typedef struct DirectoryConfig {
    Servers *servers;
    int64_t streams_max; /* more are not kept */
    int64_t idle_ms_max; /* see ServerWatchConfig */
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
} DirectoryConfig;

Directory *directory_new(Loop *loop, const DirectoryConfig *config,
                         const DirectoryModelCallbacks *callbacks, void *arg);
void directory_free(Directory *directory); /* accepts NULL; tells nothing */

/* All routes that are to run, from now on.  Tells at once what they name. */
void directory_set_routes(Directory *directory, Route *const *routes, size_t count);

/* Of one server. */
typedef struct DirectoryView {
    const char *server;
    ServerWatchView watch;
    size_t streams; /* that some route wants */
    size_t refused; /* for which there is no room, at the last look */
} DirectoryView;

size_t directory_servers(const Directory *directory);
DirectoryView directory_view(const Directory *directory, size_t index);
