/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/syncd_config.h -- the settings of syncd: one table fills one struct.
 *
 * Durations are milliseconds, sizes bytes.  Nothing here changes after the start, but for the
 * secrets, whose files are read again on SIGHUP and when they are refused.
 */
#pragma once

#include "common/config.h"
#include "syncd/server_list.h"

#define SYNCD_STREAMS_MAX 16384

typedef enum RecreatePolicy { RECREATE_STOP, RECREATE_NEW_GENERATION } RecreatePolicy;

typedef struct SyncdLimits {
    int64_t batch_rows;
    int64_t batch_bytes;
    int64_t queue_bytes;        /* read and not committed, all streams */
    int64_t stream_queue_bytes; /* of one stream */
    int64_t event_bytes;        /* one data event */
    int64_t message_bytes;      /* a larger message is a dead letter */
    int64_t openings;           /* requests that one server has not begun to answer */
    int64_t directory_streams;  /* that routes may have together */
} SyncdLimits;

typedef struct SyncdTimeouts {
    int64_t idle_ms; /* a read without a byte for this long is dead */
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
    int64_t patience_ms;  /* Postgres out of reach this long: reading stops */
    int64_t stop_ms;      /* after SIGTERM, for what is gathered */
    int64_t lease_ms;     /* of a work partition */
    int64_t statement_ms; /* of one statement of a transaction, at Postgres */
} SyncdTimeouts;

typedef struct SyncdConfig {
    char *server_url;
    char *source; /* the name of that server in ds_sync.stream */
    char *servers_text;
    char *admin_urls;
    char *token_files;
    ServerList servers; /* of these; the first is that of DS_SERVER_URL */
    Secret postgres_url;
    char *postgres_url_file;
    char *streams_text;
    char **streams; /* of streams_text; strings owned */
    size_t stream_count;
    char *listen;
    bool migrate;
    char *token_file;
    char *ca_file;
    char *cert_file;
    char *key_file;
    int64_t writers;
    SyncdLimits limits;
    SyncdTimeouts timeouts;
    int on_recreate; /* RecreatePolicy */
    char *instance;  /* never NULL after the load */
    char *electric_version;
    bool electric_pads;
    char *log_filter;
    int log_format; /* 0 logfmt, 1 json */
    int log_output; /* 0 stdout, 1 stderr */
} SyncdConfig;

extern const ConfigTable syncd_config_table;

/* Loads, and checks what one setting alone cannot say; reads the secrets' files.  `out` must be
 * zeroed. On success and failure alike free with syncd_config_done. */
DS_MUST_CHECK bool syncd_config_load(SyncdConfig *out, ConfigLoad *load, Error *err);
void syncd_config_done(SyncdConfig *config);

/* Reads POSTGRES_URL_FILE again; without it, or on failure, what was known stays. */
DS_MUST_CHECK bool syncd_config_read_postgres_url(SyncdConfig *config, Error *err);

/* "1.4.2" against 1.4.3: whether transactions must keep off multiples of 100.  Unset: they must. */
DS_MUST_CHECK bool electric_needs_pads(Str version, bool *out, Error *err);
