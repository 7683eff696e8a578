/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/server_config.h -- the settings of ds-server: one table fills one struct.
 *
 * Durations are milliseconds, sizes bytes.  Nothing here changes after the start.
 */
#pragma once

#include "common/config.h"

typedef enum StorageMode {
    STORAGE_MEMORY,
    STORAGE_FILE_FAST,
    STORAGE_FILE_DURABLE,
    STORAGE_ACID,
} StorageMode;

/* The one registry of limits that an operator can set; the fixed ones are in limits.c. */
typedef struct ServerLimits {
    int64_t memory_bytes; /* payload of all streams */
    int64_t stream_bytes; /* payload of one stream */
    int64_t request_body_bytes;
    int64_t inflight_body_bytes; /* request bodies being received, all connections */
    int64_t stream_name_bytes;
    int64_t stream_name_segments;
    int64_t streams;
    int64_t producers_per_stream;
    int64_t connections;
    int64_t handshakes;              /* of TLS, under way */
    int64_t requests_per_connection; /* 0: no limit */
    int64_t read_page_bytes;
    int64_t subscriber_backlog_bytes;
    int64_t cache_bytes; /* payload that a durable mode keeps in memory */
    int64_t open_files;  /* of streams, at once; 0: from the process's limit */
    int64_t subscriptions;
    int64_t streams_per_subscription;
} ServerLimits;

/* Of subscriptions (protocol 6, 7). */
typedef struct ServerSubscriptions {
    bool allow_insecure_webhooks;
    bool allow_unauthenticated_claims;
    char *jwks_path; /* keys of the tokens that claims need; NULL: none are accepted */
    char *audience;
    char *webhook_ca_path; /* NULL: the system's */
} ServerSubscriptions;

/* Of the modes that keep something. */
typedef struct ServerStorage {
    char *data_dir;
    int64_t acid_shard_count; /* powers of two */
    int64_t wal_shard_count;  /* 0: as many as the data has */
    int64_t wal_segment_bytes;
    int64_t checkpoint_ms;
    bool upgrade_data; /* bring the data to the format of this release, and end */
} ServerStorage;

typedef struct ServerTimeouts {
    int64_t handshake_ms;   /* of TLS */
    int64_t head_ms;        /* from the first byte of a request to the end of its head */
    int64_t body_ms;        /* to receive a body, plus the time body_rate allows for its bytes */
    int64_t body_rate;      /* bytes a second */
    int64_t idle_ms;        /* between two requests of a connection */
    int64_t write_stall_ms; /* a client that takes no byte */
    int64_t send_rate;      /* bytes a second that a client must take, besides that time */
    int64_t drain_ms;       /* after SIGTERM */
} ServerTimeouts;

/* Paths to PEM files; all NULL: the main listener speaks plain HTTP. */
typedef struct ServerTls {
    int mode; /* TransportMode: what the operator says it is */
    char *cert_path;
    char *key_path;
    char *client_ca_path;
    int version_min; /* TlsVersion */
    int version_max;
} ServerTls;

typedef enum TransportMode {
    TRANSPORT_MODE_AUTO, /* what follows from the paths */
    TRANSPORT_MODE_HTTP,
    TRANSPORT_MODE_TLS,
    TRANSPORT_MODE_MTLS,
} TransportMode;

typedef struct ServerConfig {
    char *bind_address; /* "0.0.0.0:4437" */
    int64_t port;       /* 0: the one in bind_address */
    char *admin_listen; /* "127.0.0.1:4439" or "off" */
    int64_t threads;    /* 0: one per core */
    ServerLimits limits;
    ServerTimeouts timeouts;
    ServerTls tls;
    int64_t long_poll_ms;
    int64_t sse_reconnect_ms; /* 0: never */
    char *stream_base_path;   /* "/v1/stream", no trailing slash */
    char *cors_origins;       /* "*" or a comma list */
    bool allow_wildcard_cors;
    int storage_mode; /* StorageMode */
    ServerStorage storage;
    ServerSubscriptions subscriptions;
    char *log_filter;
    int log_format; /* 0 logfmt, 1 json */
    int log_output; /* 0 stdout, 1 stderr */
} ServerConfig;

extern const ConfigTable server_config_table;
extern const RetiredSetting server_retired_settings[]; /* for the table */

/* Loads and checks what one setting alone cannot say.  On success free with server_config_done. */
DS_MUST_CHECK bool server_config_load(ServerConfig *out, ConfigLoad *load, Error *err);
void server_config_done(ServerConfig *config);
/* "memory", "file-fast", ... */
const char *server_config_mode_name(int mode);
/* How many files the streams may keep open: as it is set, or a part of what the process may. */
int64_t server_config_stream_files(const ServerConfig *config);
