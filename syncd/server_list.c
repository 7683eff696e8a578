/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/server_list.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

/* One entry of "name=value,name=value". */
typedef bool (*EntryFn)(ServerList *list, Str name, Str value, Error *err);

bool
server_origin_check(Str url, const char *setting, Str *out, Error *err)
{
    while (str_ends(url, STR("/"))) {
        url.len--;
    }
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://"))) {
        return error_set(err, ERR_CONFIG,
                         "%s must begin with http:// or https://, like http://host:4437", setting);
    }
    if (str_ends(url, STR("/v1/stream"))) {
        return error_set(err, ERR_CONFIG,
                         "%s must end before /v1/stream, which is appended with the stream's name",
                         setting);
    }
    if (memchr(url.ptr, '@', url.len) != NULL || memchr(url.ptr, '?', url.len) != NULL ||
        str_contains_ctl(url)) {
        return error_set(
            err, ERR_CONFIG,
            "%s must be an origin like http://host:4437, without user or query; a token goes "
            "into a file: SYNCD_DS_TOKEN_FILE, SYNCD_SERVER_TOKEN_FILES",
            setting);
    }
    *out = url;
    return true;
}

const ServerConfig *
server_list_find(const ServerList *list, Str name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (str_eq(name, str_c(list->servers[i].name))) {
            return &list->servers[i];
        }
    }
    return NULL;
}

static ServerConfig *
list_find(ServerList *list, Str name)
{
    const ServerConfig *found = server_list_find(list, name);

    return found == NULL ? NULL : &list->servers[found - list->servers];
}

/* Under two names, each would let go of streams that the other has not loaded. */
static bool
origin_is_new(const ServerList *list, Str name, Str origin, Error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        if (str_eq(origin, str_c(list->servers[i].url))) {
            return error_set(err, ERR_CONFIG,
                             "SYNCD_SERVERS: %.*s is the server %s already is: one name for each",
                             STR_ARG(name), list->servers[i].name);
        }
    }
    return true;
}

static void
list_add(ServerList *list, Str name, Str origin)
{
    list->servers = mem_regrow(list->servers, list->count + 1, sizeof(*list->servers));
    list->servers[list->count++] = (ServerConfig){.name = str_dup(name), .url = str_dup(origin)};
}

static bool
name_is_legal(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '-' || c == '.';

        if (!plain) {
            return false;
        }
    }
    return name.len > 0 && name.len <= SERVER_NAME_BYTES_MAX;
}

static bool
add_server(ServerList *list, Str name, Str value, Error *err)
{
    Str origin;

    if (!name_is_legal(name)) {
        return error_set(err, ERR_CONFIG,
                         "SYNCD_SERVERS: \"%.*s\" is no name of a server: letters, digits and "
                         "\"_-.\", at most %d",
                         STR_ARG(str_head(name, 64)), SERVER_NAME_BYTES_MAX);
    }
    if (list_find(list, name) != NULL) {
        return error_set(err, ERR_CONFIG, "SYNCD_SERVERS: %.*s is the name of two servers%s",
                         STR_ARG(name),
                         str_eq(name, str_c(list->servers[0].name))
                             ? "; it is that of DS_SERVER_URL (SYNCD_SOURCE)"
                             : "");
    }
    if (list->count == SERVERS_MAX) {
        return error_set(err, ERR_CONFIG, "SYNCD_SERVERS: more than %d servers", SERVERS_MAX);
    }
    if (!server_origin_check(value, "SYNCD_SERVERS", &origin, err) ||
        !origin_is_new(list, name, origin, err)) {
        return false;
    }
    list_add(list, name, origin);
    return true;
}

static bool
set_admin_url(ServerList *list, Str name, Str value, Error *err)
{
    ServerConfig *server = list_find(list, name);
    Str origin;

    if (server == NULL || server->admin_url != NULL) {
        return error_set(err, ERR_CONFIG, "SYNCD_ADMIN_URLS: %s \"%.*s\"",
                         server == NULL ? "there is no server" : "it names twice",
                         STR_ARG(str_head(name, 64)));
    }
    if (!server_origin_check(value, "SYNCD_ADMIN_URLS", &origin, err)) {
        return false;
    }
    server->admin_url = str_dup(origin);
    return true;
}

static bool
set_token_file(ServerList *list, Str name, Str value, Error *err)
{
    ServerConfig *server = list_find(list, name);

    if (server == NULL || server->token_file != NULL || value.len == 0) {
        return error_set(err, ERR_CONFIG, "SYNCD_SERVER_TOKEN_FILES: %s \"%.*s\"",
                         server == NULL               ? "there is no server"
                         : server->token_file != NULL ? "there are two files for"
                                                      : "there is no file for",
                         STR_ARG(str_head(name, 64)));
    }
    server->token_file = str_dup(value);
    if (!secret_read_file(&server->token, server->token_file, err)) {
        return error_wrap(err, "SYNCD_SERVER_TOKEN_FILES");
    }
    return true;
}

static bool
entry_take(ServerList *list, Str entry, const char *setting, EntryFn fn, Error *err)
{
    Str name;
    Str value;

    if (!str_cut(entry, '=', &name, &value)) {
        return error_set(err, ERR_CONFIG, "%s: \"%.*s\" is not of the form name=value, like %s=...",
                         setting, STR_ARG(str_head(entry, 64)), list->servers[0].name);
    }
    return fn(list, str_trim(name), str_trim(value), err);
}

static void
entries_walk(ServerList *list, const char *text, const char *setting, EntryFn fn, ConfigLoad *load)
{
    Str rest = str_trim(str_c(text));
    bool more = rest.len > 0;
    Error problem = {0};

    while (more) {
        Str entry;

        more = str_cut(rest, ',', &entry, &rest);
        config_note(load, entry_take(list, str_trim(entry), setting, fn, &problem), &problem);
    }
}

static bool
first_name_check(Str name, Error *err)
{
    return name_is_legal(name) ||
           error_set(err, ERR_CONFIG,
                     "SYNCD_SOURCE: \"%.*s\" is no name of a server: letters, digits and "
                     "\"_-.\", at most %d",
                     STR_ARG(str_head(name, 64)), SERVER_NAME_BYTES_MAX);
}

static bool
first_token_read(ServerConfig *server, const char *path, Error *err)
{
    if (path == NULL) {
        return true;
    }
    server->token_file = mem_strdup(path);
    return secret_read_file(&server->token, path, err) || error_wrap(err, "SYNCD_DS_TOKEN_FILE");
}

void
server_list_load(ServerList *out, const ServerTexts *texts, ConfigLoad *load)
{
    Str origin = str_c(texts->url);
    Error problem = {0};

    config_note(load, first_name_check(str_c(texts->name), &problem), &problem);
    config_note(load, server_origin_check(origin, "DS_SERVER_URL", &origin, &problem), &problem);
    list_add(out, str_c(texts->name), origin);
    config_note(load, first_token_read(&out->servers[0], texts->token_file, &problem), &problem);
    entries_walk(out, texts->more, "SYNCD_SERVERS", add_server, load);
    entries_walk(out, texts->admin_urls, "SYNCD_ADMIN_URLS", set_admin_url, load);
    entries_walk(out, texts->token_files, "SYNCD_SERVER_TOKEN_FILES", set_token_file, load);
}

void
server_list_done(ServerList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        ServerConfig *server = &list->servers[i];

        free(server->name);
        free(server->url);
        free(server->admin_url);
        free(server->token_file);
        secret_done(&server->token);
    }
    free(list->servers);
    *list = (ServerList){0};
}
