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
        return error_set(err, ERR_CONFIG, "%s must begin with http:// or https://", setting);
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
entries_walk(ServerList *list, const char *text, const char *setting, EntryFn fn, Error *err)
{
    Str rest = str_trim(str_c(text));
    bool more = rest.len > 0;

    while (more) {
        Str entry;
        Str name;
        Str value;

        more = str_cut(rest, ',', &entry, &rest);
        if (!str_cut(str_trim(entry), '=', &name, &value)) {
            return error_set(err, ERR_CONFIG, "%s: \"%.*s\" is not of the form name=value", setting,
                             STR_ARG(str_head(entry, 64)));
        }
        if (!fn(list, str_trim(name), str_trim(value), err)) {
            return false;
        }
    }
    return true;
}

bool
server_list_load(ServerList *out, const ServerTexts *texts, Error *err)
{
    Str origin;

    if (!name_is_legal(str_c(texts->name))) {
        return error_set(err, ERR_CONFIG,
                         "SYNCD_SOURCE: \"%s\" is no name of a server: letters, digits and "
                         "\"_-.\", at most %d",
                         texts->name, SERVER_NAME_BYTES_MAX);
    }
    if (!server_origin_check(str_c(texts->url), "DS_SERVER_URL", &origin, err)) {
        return false;
    }
    list_add(out, str_c(texts->name), origin);
    if (texts->token_file != NULL) {
        out->servers[0].token_file = mem_strdup(texts->token_file);
        if (!secret_read_file(&out->servers[0].token, texts->token_file, err)) {
            return error_wrap(err, "SYNCD_DS_TOKEN_FILE");
        }
    }
    return entries_walk(out, texts->more, "SYNCD_SERVERS", add_server, err) &&
           entries_walk(out, texts->admin_urls, "SYNCD_ADMIN_URLS", set_admin_url, err) &&
           entries_walk(out, texts->token_files, "SYNCD_SERVER_TOKEN_FILES", set_token_file, err);
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
