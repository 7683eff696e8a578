/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/options.h -- the options of every command, and what follows from them.
 *
 * Where the stream server is: --server, DSCTL_SERVER, STREAM_URL, DS_SERVER_URL, in this order; an
 * origin to which /v1/stream is appended.  Secrets come from the environment or files; --pg is for
 * strings without one.
 */
#pragma once

#include "common/cli.h"
#include "common/secret.h"

#define OPTIONS_URL_BYTES_MAX 8192

typedef enum OutputFormat {
    OUTPUT_TABLE,
    OUTPUT_JSON,
    OUTPUT_NDJSON,
    OUTPUT_CSV,
} OutputFormat;

extern const Option options_global[];

OutputFormat options_output(void);
int64_t options_timeout_ms(void);
const char *options_ca_file(void); /* NULL: the system's */

/* The stream server's origin; borrowed, for good.  ERR_CONFIG when it is no good. */
DS_MUST_CHECK bool options_server(Str *out, Error *err);
/* The URL of a stream: its name percent-encoded behind the server's root; a name that is itself an
 * http(s) URL is taken as it is.  ERR_CONFIG when the server's URL or the name is no good. */
DS_MUST_CHECK bool options_stream_url(const char *name, Buf *out, Error *err);
/* The same for a name that no operator typed: it is never a URL, so no token goes elsewhere. */
DS_MUST_CHECK bool options_name_url(const char *name, Buf *out, Error *err);
/* A URL on the admin listener: path begins with '/'.  Unless set, the server's host, port 4439. */
DS_MUST_CHECK bool options_admin_url(const char *path, Buf *out, Error *err);

/* Unset when there is no token. */
DS_MUST_CHECK bool options_token(Secret *out, Error *err);
/* Empty text when only libpq's own variables say where Postgres is. */
DS_MUST_CHECK bool options_postgres(Secret *out, Error *err);
