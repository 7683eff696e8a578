/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/server_list.h -- the stream servers that the settings name: where each is, where its
 * admin requests go, and its token.
 *
 * The first is DS_SERVER_URL under the name of SYNCD_SOURCE; the others come from SYNCD_SERVERS.
 * Tokens go to the server they were given for and to no other, and never to an admin listener.
 */
#pragma once

#include "common/config.h"
#include "common/secret.h"
#include "common/str.h"

#define SERVERS_MAX           64
#define SERVER_NAME_BYTES_MAX 63

typedef struct ServerConfig {
    char *name;
    char *url;       /* an origin, without a slash at the end */
    char *admin_url; /* likewise, or NULL: no admin listener within reach */
    char *token_file;
    Secret token;
} ServerConfig;

typedef struct ServerList {
    ServerConfig *servers;
    size_t count;
} ServerList;

/* What the settings say, as they say it; NULL: not set. */
typedef struct ServerTexts {
    const char *name; /* of the first */
    const char *url;
    const char *token_file;
    const char *more;        /* "name=url,name=url" */
    const char *admin_urls;  /* likewise, of any of them */
    const char *token_files; /* "name=path,...", not of the first */
} ServerTexts;

/* Reads the token files, too.  What is not good is noted in `load`, each of it; *out is to be freed
 * with server_list_done either way, and was zeroed before. */
void server_list_load(ServerList *out, const ServerTexts *texts, ConfigLoad *load);
void server_list_done(ServerList *list);

/* NULL: no server of that name. */
const ServerConfig *server_list_find(const ServerList *list, Str name);

/* Without slashes at its end; ERR_CONFIG names the setting. */
DS_MUST_CHECK bool server_origin_check(Str url, const char *setting, Str *out, Error *err);
