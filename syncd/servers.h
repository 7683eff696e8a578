/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/servers.h -- the stream servers of this instance, each with its own HTTP client.
 *
 * They live as long as the program, and longer than sessions; a Server is borrowed everywhere else.
 */
#pragma once

#include "common/http_client.h"
#include "syncd/gate.h"
#include "syncd/outage.h"
#include "syncd/server_list.h"

typedef struct Server {
    const char *name;
    const char *url;          /* an origin */
    const char *admin_url;    /* NULL: none */
    HttpClient *client;       /* with the server's token */
    HttpClient *admin_client; /* without; NULL when there is no admin_url */
    Gate *gate;               /* of the requests that open its streams */
    unsigned token_version;   /* another one each time that the file held another token */
    bool token_told;          /* that its file cannot be read */
    Outage *outage;           /* what is told of reads of its streams that fail */
} Server;

typedef struct ServersConfig {
    ServerList *list; /* borrowed; its tokens are read again here */
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    size_t openings_max; /* requests that one server has not begun to answer; at least 1 */
    int64_t idle_ms_max; /* how long a server may be silent */
    int64_t backoff_ms_max;
} ServersConfig;

typedef struct Servers Servers;

Servers *servers_new(Loop *loop, const ServersConfig *config);
void servers_free(Servers *servers); /* accepts NULL; cancels all requests */

size_t servers_count(const Servers *servers);
const Server *servers_at(const Servers *servers, size_t index); /* 0 is that of DS_SERVER_URL */
const Server *servers_find(const Servers *servers, Str name);   /* NULL: none */

/* A server refused us, or an operator asked: tokens may have been renewed on disk.  A file that
 * cannot be read is told once until it can, and to whoever asks. */
void servers_reload_tokens(Servers *servers, bool asked);
/* fn is called by servers_reload_tokens when one was. */
void servers_on_renewed(Servers *servers, LoopFn fn, void *arg);

/* {origin}/v1/stream/<name>; owned by the caller.  The name is at most DS_STREAM_NAME_BYTES_MAX. */
char *server_stream_url(const Server *server, Str name);
