/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/sync_server.h -- whether --server is the server that a stream is of.
 *
 * Streams are known by the name of their server, operators give URLs; instances of syncd say in
 * ds_sync.instance which is which.  They may reach a server by another URL than operators do, so
 * one that none of them says is of no server that is known.
 */
#pragma once

#include "dsctl/call.h"

typedef enum SyncServer {
    SYNC_SERVER_UNKNOWN,
    SYNC_SERVER_SAME,
    SYNC_SERVER_OTHER,
} SyncServer;

/* What instances say; the rows are the caller's. */
DS_MUST_CHECK bool sync_server_load(Call *call, CallRows *out, Error *err);
/* Of the server that --server leads to. */
DS_MUST_CHECK bool sync_server_is(const CallRows *said, const char *source, SyncServer *out,
                                  Error *err);

/* ERR_CONFLICT unless --server is that of the stream's source: instances say so, or none says
 * anything else and the operator named the source (is_named). */
DS_MUST_CHECK bool sync_server_check(Call *call, const char *stream, const char *source,
                                     bool is_named, Error *err);
