/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/directory.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"

#define SWEEP_MS            5000
#define AGAIN_MS_PER_STREAM 1 /* at least so long between two listings for want of room */

static const LogScope scope = {.name = "syncd.directory"};

struct Directory {
    Loop *loop;
    DirectoryConfig config;
    DirectoryModel *model;
    ServerWatch **watches; /* in the order of the servers */
    size_t *refused;       /* likewise: by its last listing, and since */
    LoopTimer *sweep;
    int64_t again_ms; /* nothing is listed again before */
    bool full_said;
};

static size_t
directory_index(const Directory *directory, const Server *server)
{
    return (size_t)(server - servers_at(directory->config.servers, 0));
}

static size_t
directory_refused(const Directory *directory)
{
    size_t refused = directory_model_names_refused(directory->model);

    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        refused += directory->refused[i];
    }
    return refused;
}

/* Once, until there was room for all. */
static void
directory_say_full(Directory *directory, Str server, Str name)
{
    if (!directory->full_said) {
        directory->full_said = true;
        log_warn(&scope, EVENT_DIRECTORY_FULL,
                 LOG_FIELDS(log_str("server", server), log_str("stream", name)),
                 "more than %lld streams belong to routes (SYNCD_DIRECTORY_STREAMS_MAX); those for "
                 "which there is no room are taken in when there is",
                 (long long)directory->config.streams_max);
    }
}

static void
directory_check_room(Directory *directory)
{
    if (directory->full_said && directory_refused(directory) == 0) {
        directory->full_said = false;
        log_info(&scope, LOG_FIELDS(), "there is room for all streams of routes again");
    }
}

static void
directory_on_begin(void *arg, const Server *server)
{
    Directory *directory = arg;

    directory->refused[directory_index(directory, server)] = 0;
    directory_model_list_begin(directory->model, server);
}

static void
directory_on_tell(void *arg, const Server *server, const ListingStream *stream)
{
    Directory *directory = arg;

    if (!directory_model_tell(directory->model, server, stream, loop_now_ms(directory->loop))) {
        directory->refused[directory_index(directory, server)]++;
        directory_say_full(directory, str_c(server->name), stream->name);
    }
}

static void
directory_on_end(void *arg, const Server *server)
{
    Directory *directory = arg;

    directory_model_list_end(directory->model, server, loop_now_ms(directory->loop));
    log_debug(&scope, LOG_FIELDS(log_str("server", str_c(server->name))), "streams wanted: %zu",
              directory_model_streams(directory->model));
    directory_check_room(directory);
}

static void
directory_on_refused(void *arg)
{
    Directory *directory = arg;

    servers_reload_tokens(directory->config.servers, false);
}

/* Streams had to stay out, and there is room: they are asked for again, not too often. */
static void
directory_fill(Directory *directory)
{
    int64_t now_ms = loop_now_ms(directory->loop);

    if (!directory_model_has_room(directory->model) || now_ms < directory->again_ms) {
        return;
    }
    if (directory_model_names_refused(directory->model) > 0) {
        directory_model_take_names(directory->model);
        directory_check_room(directory);
    }
    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        if (directory->refused[i] > 0) {
            server_watch_again(directory->watches[i]);
            directory->again_ms =
                now_ms + (int64_t)directory_model_streams(directory->model) * AGAIN_MS_PER_STREAM;
        }
    }
}

static void
directory_on_sweep(void *arg)
{
    Directory *directory = arg;

    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        server_watch_sweep(directory->watches[i]);
    }
    directory_model_sweep(directory->model, loop_now_ms(directory->loop));
    directory_fill(directory);
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
    directory->model = directory_model_new((size_t)config->streams_max, callbacks, arg);
    directory->watches = mem_array(count, sizeof(ServerWatch *));
    directory->refused = mem_array(count, sizeof(size_t));
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
    free(directory->refused);
    timer_free(directory->sweep);
    directory_model_free(directory->model);
    free(directory);
}

/* What the server is asked about for these routes. */
static void
directory_watch(Directory *directory, size_t index, Route *const *routes, size_t count)
{
    const Server *server = servers_at(directory->config.servers, index);
    const char **looked_for = NULL;
    size_t looked_for_count = 0;

    for (size_t i = 0; i < count; i++) {
        if (routes[i]->server != server) {
            continue;
        }
        route_add_patterns(routes[i], &looked_for, &looked_for_count);
        if (server->admin_url != NULL) {
            route_add_names(routes[i], &looked_for, &looked_for_count);
        }
    }
    if (looked_for_count == 0) {
        directory->refused[index] = 0;
    }
    server_watch_set(directory->watches[index], looked_for, looked_for_count);
    free(looked_for);
}

void
directory_set_routes(Directory *directory, Route *const *routes, size_t count)
{
    directory_model_set_routes(directory->model, routes, count);
    if (directory_model_names_refused(directory->model) > 0) {
        directory_say_full(directory, STR_EMPTY, STR_EMPTY);
    }
    for (size_t i = 0; i < servers_count(directory->config.servers); i++) {
        directory_watch(directory, i, routes, count);
    }
    directory_check_room(directory);
}

size_t
directory_servers(const Directory *directory)
{
    return servers_count(directory->config.servers);
}

DirectoryView
directory_view(const Directory *directory, size_t index)
{
    const Server *server = servers_at(directory->config.servers, index);

    return (DirectoryView){
        .server = server->name,
        .watch = server_watch_view(directory->watches[index]),
        .streams = directory_model_streams_of(directory->model, server),
        .refused = directory->refused[index],
    };
}
