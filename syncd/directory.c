/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/directory.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "syncd/server_watch.h"

#define SWEEP_MS 5000

static const LogScope scope = {.name = "syncd.directory"};

struct Directory {
    Loop *loop;
    DirectoryConfig config;
    DirectoryModel *model;
    ServerWatch **watches; /* in the order of the servers */
    LoopTimer *sweep;
    bool full_said;
};

static void
directory_on_begin(void *arg, const Server *server)
{
    Directory *directory = arg;

    directory_model_list_begin(directory->model, server);
}

static void
directory_on_tell(void *arg, const Server *server, ListingKind kind, Str name)
{
    Directory *directory = arg;

    directory_model_tell(directory->model, server, kind, name, loop_now_ms(directory->loop));
    if (!directory->full_said && directory_model_refused(directory->model) > 0) {
        directory->full_said = true;
        log_error(&scope, EVENT_DIRECTORY_FULL,
                  LOG_FIELDS(log_str("server", str_c(server->name)), log_str("stream", name)),
                  "more than %d streams match the routes", DIRECTORY_STREAMS_MAX);
    }
}

static void
directory_on_end(void *arg, const Server *server)
{
    Directory *directory = arg;

    directory_model_list_end(directory->model, server, loop_now_ms(directory->loop));
    log_debug(&scope, LOG_FIELDS(log_str("server", str_c(server->name))), "streams wanted: %zu",
              directory_model_streams(directory->model));
}

static void
directory_on_refused(void *arg)
{
    Directory *directory = arg;

    servers_reload_tokens(directory->config.servers);
}

static void
directory_on_sweep(void *arg)
{
    Directory *directory = arg;

    directory_model_sweep(directory->model, loop_now_ms(directory->loop));
}

Directory *
directory_new(Loop *loop, const DirectoryConfig *config, const DirectoryModelCallbacks *callbacks,
              void *arg)
{
    static const ServerWatchCallbacks watch_callbacks = {.begin = directory_on_begin,
                                                         .tell = directory_on_tell,
                                                         .end = directory_on_end,
                                                         .on_refused = directory_on_refused};
    Directory *directory = mem_zalloc(sizeof(*directory));
    size_t count = servers_count(config->servers);

    directory->loop = loop;
    directory->config = *config;
    directory->model = directory_model_new(callbacks, arg);
    directory->watches = mem_array(count, sizeof(ServerWatch *));
    for (size_t i = 0; i < count; i++) {
        directory->watches[i] = server_watch_new(loop,
                                                 &(ServerWatchConfig){
                                                     .server = servers_at(config->servers, i),
                                                     .idle_ms_max = config->idle_ms_max,
                                                     .backoff_base_ms = config->backoff_base_ms,
                                                     .backoff_max_ms = config->backoff_max_ms,
                                                 },
                                                 &watch_callbacks, directory);
    }
    directory->sweep = timer_new(loop, directory_on_sweep, directory);
    timer_repeat(directory->sweep, SWEEP_MS);
    return directory;
}

void
directory_free(Directory *directory)
{
    if (directory == NULL) {
        return;
    }
    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        server_watch_free(directory->watches[i]);
    }
    free(directory->watches);
    timer_free(directory->sweep);
    directory_model_free(directory->model);
    free(directory);
}

void
directory_set_routes(Directory *directory, Route *const *routes, size_t count)
{
    directory_model_set_routes(directory->model, routes, count);
    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        const Server *server = servers_at(directory->config.servers, i);
        const char **patterns = NULL;
        size_t pattern_count = 0;

        for (size_t j = 0; j < count; j++) {
            if (routes[j]->server == server) {
                route_add_patterns(routes[j], &patterns, &pattern_count);
            }
        }
        server_watch_set(directory->watches[i], patterns, pattern_count);
        free(patterns);
    }
}
