/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/retired_settings.c -- settings of other Durable Streams servers that cannot be had here.
 *
 * Somebody who moves to this server must not find out later that it took no notice of one.
 */
#include "server/server_config.h"

#define NO_IDENTITY                                                                                \
    "this server knows no identities; let the proxy in front of it decide who may do what"
#define NO_PROXY                                                                                   \
    "remove it; of a proxy only X-Forwarded-Proto is believed, whoever sends it, and only for "    \
    "the "                                                                                         \
    "Location of a new stream"

const RetiredSetting server_retired_settings[] = {
    {"DS_ADMIN__BASE_PATH", "/admin",
     "remove it; admin requests are at /admin of DS_ADMIN__LISTEN"},
    {"DS_ADMIN__ENABLED", NULL,
     "admin requests have an address of their own: set DS_ADMIN__LISTEN to it, or to off"},
    {"DS_LIMITS__MAX_STORAGE_JOBS", NULL,
     "remove it; what waits for the storage is bounded by DS_LIMITS__MAX_INFLIGHT_BODY_BYTES"},
    {"DS_PROXY__ENABLED", "false", NO_PROXY},
    {"DS_PROXY__FORWARDED_HEADERS", "none", NO_PROXY},
    {"DS_PROXY__IDENTITY__HEADER_NAME", NULL, NO_IDENTITY},
    {"DS_PROXY__IDENTITY__MODE", "none", NO_IDENTITY},
    {"DS_PROXY__IDENTITY__REQUIRE_TLS", "true,false", NO_IDENTITY},
    {"DS_PROXY__TRUSTED_PROXIES", NULL, NO_PROXY},
    {"DS_STORAGE__ACID_BACKEND", "file", "set DS_STORAGE__MODE=memory to keep streams in memory"},
    {"DS_TRANSPORT__HTTP__VERSIONS", "http1",
     "set it to http1, or remove it; HTTP/2 is the business of a proxy"},
    {"DS_TRANSPORT__TLS__ALPN_PROTOCOLS", "http/1.1",
     "set it to http/1.1, or remove it; HTTP/2 is the business of a proxy"},
    {"SSE_IDLE_CLOSE_SECS", NULL,
     "set DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS, the life of an SSE response"},
    {.name = NULL},
};
