/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/directory_model.h"

#include <bsd/sys/tree.h>
#include <stdlib.h>

#include "common/mem.h"

typedef struct DirectoryEntry {
    RB_ENTRY(DirectoryEntry) link;
    const Server *server;
    char *name;
    bool exists;        /* as far as its server told */
    bool listed;        /* by the listing that runs */
    bool known;         /* it has existed */
    uint64_t era;       /* of its offsets, at last; 0: not said */
    int64_t created_ms; /* wall; 0: nobody knows */
    int64_t gone_ms;    /* since when it is not there */
    Route **wanted;     /* references; told to be wanted */
    size_t wanted_count;
} Entry;

typedef RB_HEAD(DirectoryEntries, DirectoryEntry) Entries;

/* How many of its streams are kept. */
typedef struct ServerCount {
    const Server *server;
    size_t streams;
} ServerCount;

struct DirectoryModel {
    size_t streams_max;
    const DirectoryModelCallbacks *callbacks;
    void *arg;
    Route **routes;
    size_t route_count;
    Entries entries;
    size_t entry_count;
    ServerCount *counts; /* of every server that had any */
    size_t count_count;
    size_t names_refused;
};

static int
entry_compare(const Entry *a, const Entry *b)
{
    if (a->server != b->server) {
        return strcmp(a->server->name, b->server->name) < 0 ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

RB_GENERATE_INTERNAL(DirectoryEntries, DirectoryEntry, link, entry_compare, DS_UNUSED static)

DirectoryModel *
directory_model_new(size_t streams_max, const DirectoryModelCallbacks *callbacks, void *arg)
{
    DirectoryModel *model = mem_zalloc(sizeof(*model));

    model->streams_max = streams_max;
    model->callbacks = callbacks;
    model->arg = arg;
    RB_INIT(&model->entries);
    return model;
}

static void
routes_drop(Route **routes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        route_unref(routes[i]);
    }
    free(routes);
}

static ServerCount *
server_count(DirectoryModel *model, const Server *server)
{
    for (size_t i = 0; i < model->count_count; i++) {
        if (model->counts[i].server == server) {
            return &model->counts[i];
        }
    }
    model->counts = mem_regrow(model->counts, model->count_count + 1, sizeof(*model->counts));
    model->counts[model->count_count] = (ServerCount){.server = server};
    return &model->counts[model->count_count++];
}

static void
entry_free(DirectoryModel *model, Entry *entry)
{
    RB_REMOVE(DirectoryEntries, &model->entries, entry);
    model->entry_count--;
    server_count(model, entry->server)->streams--;
    routes_drop(entry->wanted, entry->wanted_count);
    free(entry->name);
    free(entry);
}

void
directory_model_free(DirectoryModel *model)
{
    if (model == NULL) {
        return;
    }
    for (Entry *entry = RB_MIN(DirectoryEntries, &model->entries); entry != NULL;) {
        Entry *next = RB_NEXT(DirectoryEntries, &model->entries, entry);

        entry_free(model, entry);
        entry = next;
    }
    routes_drop(model->routes, model->route_count);
    free(model->counts);
    free(model);
}

static Entry *
entry_find(DirectoryModel *model, const Server *server, Str name)
{
    char *text = str_dup(name);
    Entry wanted = {.server = server, .name = text};
    Entry *found = RB_FIND(DirectoryEntries, &model->entries, &wanted);

    free(text);
    return found;
}

static Entry *
entry_add(DirectoryModel *model, const Server *server, Str name)
{
    if (!directory_model_has_room(model)) {
        return NULL;
    }
    Entry *entry = mem_zalloc(sizeof(*entry));
    entry->server = server;
    entry->name = str_dup(name);
    RB_INSERT(DirectoryEntries, &model->entries, entry);
    model->entry_count++;
    server_count(model, server)->streams++;
    return entry;
}

/* Whether the stream is the route's, should it exist, or in any case. */
static bool
route_takes(const Route *route, const Server *server, Str name, bool exists)
{
    return route->server == server &&
           (exists ? route_spec_matches(&route->spec, name) : route_names(route, name));
}

static StreamKey
entry_key(const Entry *entry, const Route *route)
{
    return (StreamKey){.source = str_c(entry->server->name),
                       .name = str_c(entry->name),
                       .route = str_c(route->spec.name)};
}

static void
entry_want(DirectoryModel *model, const Entry *entry, Route *route)
{
    StreamKey key = entry_key(entry, route);
    char *url = server_stream_url(entry->server, str_c(entry->name));
    StreamPlan plan = {
        .url = url,
        .route = route,
        .told = entry->exists,
        .from_start = entry->created_ms != 0 && entry->created_ms >= route->applied_ms,
    };

    model->callbacks->want(model->arg, &key, &plan);
    free(url);
}

static bool
routes_hold_name(Route *const *routes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(routes[i]->spec.name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
routes_hold(Route *const *routes, size_t count, const Route *route)
{
    for (size_t i = 0; i < count; i++) {
        if (routes[i] == route) {
            return true;
        }
    }
    return false;
}

/* Tells the difference between what is wanted of the stream and what was.  A stream that nobody
 * wants is forgotten: false. */
static bool
entry_update(DirectoryModel *model, Entry *entry)
{
    Route **before = entry->wanted;
    size_t before_count = entry->wanted_count;
    bool exists = entry->exists || entry->gone_ms > 0; /* or not for long enough */

    entry->wanted = mem_array(DS_MAX(model->route_count, (size_t)1), sizeof(Route *));
    entry->wanted_count = 0;
    for (size_t i = 0; i < model->route_count; i++) {
        Route *route = model->routes[i];

        if (route_takes(route, entry->server, str_c(entry->name), exists)) {
            entry->wanted[entry->wanted_count++] = route_ref(route);
        }
    }
    entry->wanted =
        mem_regrow(entry->wanted, DS_MAX(entry->wanted_count, (size_t)1), sizeof(Route *));
    for (size_t i = 0; i < before_count; i++) {
        if (!routes_hold_name(entry->wanted, entry->wanted_count, before[i]->spec.name)) {
            StreamKey key = entry_key(entry, before[i]);

            model->callbacks->unwant(model->arg, &key);
        }
    }
    for (size_t i = 0; i < entry->wanted_count; i++) {
        if (!routes_hold(before, before_count, entry->wanted[i])) {
            entry_want(model, entry, entry->wanted[i]);
        }
    }
    routes_drop(before, before_count);
    if (entry->wanted_count == 0) {
        entry_free(model, entry);
        return false;
    }
    return true;
}

void
directory_model_set_routes(DirectoryModel *model, Route *const *routes, size_t count)
{
    Route **held = mem_array(DS_MAX(count, (size_t)1), sizeof(Route *));
    Route **before = model->routes;
    size_t before_count = model->route_count;

    for (size_t i = 0; i < count; i++) {
        held[i] = route_ref(routes[i]);
    }
    model->routes = held;
    model->route_count = count;
    for (Entry *entry = RB_MIN(DirectoryEntries, &model->entries); entry != NULL;) {
        Entry *next = RB_NEXT(DirectoryEntries, &model->entries, entry);

        (void)entry_update(model, entry); /* forgotten or not */
        entry = next;
    }
    directory_model_take_names(model);
    routes_drop(before, before_count);
}

void
directory_model_take_names(DirectoryModel *model)
{
    model->names_refused = 0;
    for (size_t i = 0; i < model->route_count; i++) {
        const Route *route = model->routes[i];

        for (size_t j = 0; j < route->spec.stream_count; j++) {
            Str name = str_c(route->spec.streams[j]);

            if (!route_names(route, name) || entry_find(model, route->server, name) != NULL) {
                continue;
            }
            Entry *entry = entry_add(model, route->server, name);
            if (entry == NULL) {
                model->names_refused++;
            } else {
                (void)entry_update(model, entry); /* a route names it: it stays */
            }
        }
    }
}

size_t
directory_model_names_refused(const DirectoryModel *model)
{
    return model->names_refused;
}

static bool
somebody_takes(const DirectoryModel *model, const Server *server, Str name)
{
    for (size_t i = 0; i < model->route_count; i++) {
        if (route_takes(model->routes[i], server, name, true)) {
            return true;
        }
    }
    return false;
}

static void
entry_gone(DirectoryModel *model, Entry *entry, int64_t now_ms)
{
    if (entry->exists) {
        entry->exists = false;
        entry->created_ms = 0;
        entry->gone_ms = DS_MAX(now_ms, INT64_C(1)); /* 0 is never */
        (void)entry_update(model, entry);
    }
}

/* Two eras are two lives of the stream; where none is said, it is told when one begins. */
static bool
is_another(const Entry *entry, const ListingStream *stream)
{
    if (entry->era != 0 && stream->era != 0) {
        return entry->era != stream->era;
    }
    return entry->known && stream->kind == LISTING_CREATED;
}

/* False: as it was, for all that is known. */
static bool
entry_told(Entry *entry, const ListingStream *stream)
{
    bool fresh = !entry->exists || is_another(entry, stream);
    bool first = entry->created_ms == 0 && stream->created_ms != 0;
    bool surer = first || (stream->kind == LISTING_EXISTS && stream->era != 0);

    entry->listed = true;
    entry->known = true;
    entry->exists = true;
    entry->gone_ms = 0;
    entry->era = stream->era != 0 ? stream->era : entry->era;
    if (fresh || (surer && stream->created_ms != 0)) {
        entry->created_ms = stream->created_ms;
    }
    return fresh || first;
}

bool
directory_model_tell(DirectoryModel *model, const Server *server, const ListingStream *stream,
                     int64_t now_ms)
{
    Entry *entry = entry_find(model, server, stream->name);

    if (stream->kind == LISTING_DELETED) {
        if (entry != NULL && !is_another(entry, stream)) {
            entry_gone(model, entry, now_ms);
        }
        return true;
    }
    if (entry == NULL) {
        if (!somebody_takes(model, server, stream->name)) {
            return true;
        }
        entry = entry_add(model, server, stream->name);
        if (entry == NULL) {
            return false;
        }
    }
    size_t wanted_count = entry->wanted_count; /* by those who named it before it was told */
    if (entry_told(entry, stream)) {
        (void)entry_update(model, entry); /* somebody takes it */
        for (size_t i = 0; wanted_count > 0 && i < entry->wanted_count; i++) {
            entry_want(model, entry, entry->wanted[i]);
        }
    }
    return true;
}

void
directory_model_list_begin(DirectoryModel *model, const Server *server)
{
    Entry *entry;

    RB_FOREACH(entry, DirectoryEntries, &model->entries)
    {
        if (entry->server == server) {
            entry->listed = false;
        }
    }
}

void
directory_model_list_end(DirectoryModel *model, const Server *server, int64_t now_ms)
{
    for (Entry *entry = RB_MIN(DirectoryEntries, &model->entries); entry != NULL;) {
        Entry *next = RB_NEXT(DirectoryEntries, &model->entries, entry);

        if (entry->server == server && !entry->listed) {
            entry_gone(model, entry, now_ms);
        }
        entry = next;
    }
}

void
directory_model_sweep(DirectoryModel *model, int64_t now_ms)
{
    for (Entry *entry = RB_MIN(DirectoryEntries, &model->entries); entry != NULL;) {
        Entry *next = RB_NEXT(DirectoryEntries, &model->entries, entry);

        if (entry->gone_ms > 0 && now_ms - entry->gone_ms >= DIRECTORY_GONE_MS) {
            entry->gone_ms = 0;
            (void)entry_update(model, entry); /* forgotten, unless a route names it */
        }
        entry = next;
    }
}

size_t
directory_model_streams(const DirectoryModel *model)
{
    return model->entry_count;
}

bool
directory_model_has_room(const DirectoryModel *model)
{
    return model->entry_count < model->streams_max;
}

size_t
directory_model_streams_of(const DirectoryModel *model, const Server *server)
{
    for (size_t i = 0; i < model->count_count; i++) {
        if (model->counts[i].server == server) {
            return model->counts[i].streams;
        }
    }
    return 0;
}
