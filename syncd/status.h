/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/status.h -- /livez /readyz /metrics /status for operators, on SYNCD_LISTEN.
 *
 * GET and HEAD only, one request per connection, no credentials: bind it to where only operators
 * and their tools get.  /livez: the loop turns.  /readyz: both ends answer.  Bounded in
 * connections, head bytes and time.
 */
#pragma once

#include "common/metrics.h"
#include "syncd/discovery.h"

#define STATUS_CONNECTIONS_MAX 64
#define STATUS_HEAD_BYTES_MAX  8192
#define STATUS_CONNECTION_MS   10000

typedef struct Status Status;

typedef struct StatusConfig {
    const char *listen; /* "127.0.0.1:4438"; port 0: any free one */
    const Supervisor *supervisor;
    Discovery *const *discovery; /* points to NULL once nothing is looked for any more */
    Metrics *metrics;
    const char *instance;
} StatusConfig;

/* ERR_CONFIG when it is neither an address with a port nor "off". */
DS_MUST_CHECK bool status_listen_check(const char *listen, Error *err);

/* Listens, and logs where.  NULL with *err (ERR_CONFIG): the address is bad or taken. */
DS_MUST_CHECK Status *status_new(Loop *loop, const StatusConfig *config, Error *err);
void status_free(Status *status); /* accepts NULL */

/* The body of /status.  discovery may be NULL. */
DS_MUST_CHECK bool status_json(const Supervisor *supervisor, const Discovery *discovery,
                               const char *instance, Buf *out, Error *err);
