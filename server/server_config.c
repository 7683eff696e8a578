/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server_config.h"

#include <sys/resource.h>

#include "common/mem.h"
#include "server/cors.h"
#include "server/listener.h"

#define SIZE_MAX_SETTING  ((int64_t)1 << 50)
#define BODY_MAX_SETTING  ((int64_t)1 << 30) /* far below CHUNK_APPEND_BYTES_MAX */
#define HOUR_MS           3600000
#define STREAM_FILES      4096 /* open at once, if the process may have that many */
#define STREAM_FILES_PART 8    /* or this part of what it may */
#define ACID_SHARD_FILES  12
#define WAL_SEGMENT_UNIT  4096 /* of the disk */

static const char *const long_poll_aliases[] = {"DS_SERVER__LONG_POLL_TIMEOUT_SECS",
                                                "LONG_POLL_TIMEOUT_SECS", NULL};
static const char *const sse_aliases[] = {"DS_SERVER__SSE_RECONNECT_INTERVAL_SECS", NULL};
static const char *const port_aliases[] = {"PORT", NULL};
static const char *const cert_aliases[] = {"DS_TRANSPORT__TLS__CERT_PATH", NULL};
static const char *const key_aliases[] = {"DS_TRANSPORT__TLS__KEY_PATH", NULL};
static const char *const client_ca_aliases[] = {"DS_TRANSPORT__TLS__CLIENT_CA_PATH", NULL};
static const char *const tls_min_aliases[] = {"DS_TRANSPORT__TLS__MIN_VERSION", NULL};
static const char *const tls_max_aliases[] = {"DS_TRANSPORT__TLS__MAX_VERSION", NULL};
static const char *const transport_modes[] = {"auto", "http", "tls", "mtls", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const log_aliases[] = {"RUST_LOG", "DS_OBSERVABILITY__RUST_LOG", NULL};
static const char *const storage_modes[] = {"memory", "file-fast", "file-durable", "acid", NULL};
static const ChoiceAlias storage_words[] = {
    {"fast", STORAGE_FILE_FAST},
    {"file", STORAGE_FILE_DURABLE},
    {"durable", STORAGE_FILE_DURABLE},
    {"redb", STORAGE_ACID},
    {.word = NULL},
};
static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const log_outputs[] = {"stdout", "stderr", NULL};

#define FIELD(member) .field = offsetof(ServerConfig, member)

static const Setting settings[] = {
    {.name = "DS_SERVER__BIND_ADDRESS",
     .flag = "listen",
     .type = SETTING_STRING,
     FIELD(bind_address),
     .fallback = "0.0.0.0:4437",
     .help = "Address and port of the protocol; port 0 takes a free one."},
    {.name = "DS_SERVER__PORT",
     .aliases = port_aliases,
     .flag = "port",
     .type = SETTING_INT,
     FIELD(port),
     .max = 65535,
     .help = "Port alone; it wins over the one in the address. 0 leaves that one."},
    {.name = "DS_ADMIN__LISTEN",
     .flag = "admin-listen",
     .type = SETTING_STRING,
     FIELD(admin_listen),
     .fallback = "127.0.0.1:4439",
     .help = "Address and port of /admin/* and /metrics, or `off`. Not for the public."},
    {.name = "DS_SERVER__THREADS",
     .type = SETTING_INT,
     FIELD(threads),
     .fallback = "0",
     .max = 256,
     .unit = "threads",
     .help = "Network threads; 0 is one per core."},
    {.name = "DS_TRANSPORT__MODE",
     .type = SETTING_CHOICE,
     FIELD(tls.mode),
     .fallback = "auto",
     .choices = transport_modes,
     .help = "What the main listener must speak: the start fails when the DS_TLS__ paths say "
             "otherwise."},
    {.name = "DS_TLS__CERT_PATH",
     .aliases = cert_aliases,
     .flag = "tls-cert",
     .type = SETTING_STRING,
     FIELD(tls.cert_path),
     .help = "PEM file: the certificate, then those between it and the root. With the key it turns "
             "TLS on."},
    {.name = "DS_TLS__KEY_PATH",
     .aliases = key_aliases,
     .flag = "tls-key",
     .type = SETTING_STRING,
     FIELD(tls.key_path),
     .help = "PEM file: the private key, without a passphrase."},
    {.name = "DS_TLS__CLIENT_CA_PATH",
     .aliases = client_ca_aliases,
     .type = SETTING_STRING,
     FIELD(tls.client_ca_path),
     .help = "PEM file: only clients with a certificate signed by one of these are served."},
    {.name = "DS_TLS__MIN_VERSION",
     .aliases = tls_min_aliases,
     .type = SETTING_CHOICE,
     FIELD(tls.version_min),
     .fallback = "1.2",
     .choices = tls_versions,
     .help = "The oldest TLS that is spoken."},
    {.name = "DS_TLS__MAX_VERSION",
     .aliases = tls_max_aliases,
     .type = SETTING_CHOICE,
     FIELD(tls.version_max),
     .fallback = "1.3",
     .choices = tls_versions,
     .help = "The newest TLS that is spoken."},
    {.name = "DS_TLS__HANDSHAKE_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.handshake_ms),
     .fallback = "10s",
     .min = 10,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "From a connection's begin to the end of its TLS handshake."},
    {.name = "DS_STORAGE__MODE",
     .flag = "storage",
     .type = SETTING_CHOICE,
     FIELD(storage_mode),
     .fallback = "memory",
     .choices = storage_modes,
     .choice_aliases = storage_words,
     .help =
         "Where streams are kept. `file-durable` and `acid` lose nothing that was acknowledged; "
         "`file-fast` may, when the machine stops."},
    {.name = "DS_STORAGE__DATA_DIR",
     .flag = "data-dir",
     .type = SETTING_STRING,
     FIELD(storage.data_dir),
     .fallback = "./data/streams",
     .help = "Folder of every mode but `memory`; made at the first start. One server at a time."},
    {.name = "DS_STORAGE__ACID_SHARD_COUNT",
     .type = SETTING_INT,
     FIELD(storage.acid_shard_count),
     .fallback = "16",
     .min = 1,
     .max = 256,
     .unit = "shards",
     .help = "Databases of the mode `acid`; a power of two, fixed for the life of the data."},
    {.name = "DS_STORAGE__WAL_SHARD_COUNT",
     .type = SETTING_INT,
     FIELD(storage.wal_shard_count),
     .fallback = "0",
     .max = 64,
     .unit = "shards",
     .help = "Write-ahead logs, each with a thread, of the file modes; a power of two, fixed for "
             "the life of the data. 0 is what the data has, and for new data 1 on one or two "
             "cores, else 2."},
    {.name = "DS_STORAGE__WAL_SEGMENT_BYTES",
     .type = SETTING_SIZE,
     FIELD(storage.wal_segment_bytes),
     .fallback = "64MiB",
     .min = 65536,
     .max = (int64_t)1 << 30,
     .unit = "bytes",
     .help = "Size of one file of a write-ahead log."},
    {.name = "DS_STORAGE__CHECKPOINT_INTERVAL",
     .type = SETTING_DURATION,
     FIELD(storage.checkpoint_ms),
     .fallback = "10s",
     .min = 10,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "How often the file modes move what the write-ahead log holds to the streams' files; "
             "earlier when a segment is full."},
    {.name = "DS_STORAGE__UPGRADE_DATA",
     .flag = "upgrade-data",
     .type = SETTING_BOOL,
     FIELD(storage.upgrade_data),
     .fallback = "false",
     .help = "Bring the data directory to the format of this release, and end. Only as a flag."},
    {.name = "DS_HTTP__STREAM_BASE_PATH",
     .type = SETTING_STRING,
     FIELD(stream_base_path),
     .fallback = "/v1/stream",
     .help = "What the path of every stream begins with."},
    {.name = "DS_HTTP__CORS_ORIGINS",
     .type = SETTING_STRING,
     FIELD(cors_origins),
     .fallback = "*",
     .help = "Origins whose scripts may read replies: `*`, or a comma list of exact origins."},
    {.name = "DS_HTTP__ALLOW_WILDCARD_CORS",
     .type = SETTING_BOOL,
     FIELD(allow_wildcard_cors),
     .fallback = "true",
     .help = "When false, the start fails while DS_HTTP__CORS_ORIGINS is `*`."},
    {.name = "DS_HTTP__ALLOW_INSECURE_WEBHOOKS",
     .type = SETTING_BOOL,
     FIELD(subscriptions.allow_insecure_webhooks),
     .fallback = "false",
     .help = "Let webhooks go to loopback addresses, by http too. For development."},
    {.name = "DS_HTTP__ALLOW_UNAUTHENTICATED_CLAIMS",
     .type = SETTING_BOOL,
     FIELD(subscriptions.allow_unauthenticated_claims),
     .fallback = "false",
     .help = "Let workers claim pull-wake subscriptions without a token. For development."},
    {.name = "DS_SUBSCRIPTIONS__SERVICE_JWKS_PATH",
     .type = SETTING_STRING,
     FIELD(subscriptions.jwks_path),
     .help = "JWK Set with the public keys of the tokens that claims need (RS256, ES256, EdDSA); "
             "read at the start. Without it no claim is accepted."},
    {.name = "DS_SUBSCRIPTIONS__SERVICE_AUDIENCE",
     .type = SETTING_STRING,
     FIELD(subscriptions.audience),
     .help = "The aud that those tokens must have; needed with the JWK Set."},
    {.name = "DS_SUBSCRIPTIONS__WEBHOOK_CA_PATH",
     .type = SETTING_STRING,
     FIELD(subscriptions.webhook_ca_path),
     .help = "Certificates to trust when webhooks are sent, instead of the system's."},
    {.name = "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS",
     .aliases = long_poll_aliases,
     .type = SETTING_DURATION,
     FIELD(long_poll_ms),
     .fallback = "30s",
     .min = 1,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "How long a long-poll waits for data."},
    {.name = "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS",
     .aliases = sse_aliases,
     .type = SETTING_DURATION,
     FIELD(sse_reconnect_ms),
     .fallback = "60s",
     .max = 24 * HOUR_MS,
     .bare_unit_ms = 1000,
     .help =
         "Life of an SSE response (+-15 %), after which the client comes again; 0 is for ever."},

    {.name = "DS_LIMITS__MAX_MEMORY_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.memory_bytes),
     .fallback = "104857600",
     .min = 1,
     .max = SIZE_MAX_SETTING,
     .unit = "bytes",
     .help = "Payload of all streams together."},
    {.name = "DS_LIMITS__MAX_STREAM_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.stream_bytes),
     .fallback = "10485760",
     .min = 1,
     .max = SIZE_MAX_SETTING,
     .unit = "bytes",
     .help = "Payload of one stream."},
    {.name = "DS_LIMITS__MAX_REQUEST_BODY_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.request_body_bytes),
     .fallback = "10485760",
     .min = 1,
     .max = BODY_MAX_SETTING,
     .unit = "bytes",
     .help = "Body of one request."},
    {.name = "DS_LIMITS__MAX_INFLIGHT_BODY_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.inflight_body_bytes),
     .fallback = "268435456",
     .min = 65536,
     .max = SIZE_MAX_SETTING,
     .unit = "bytes",
     .help = "Memory of all request bodies that are being received."},
    {.name = "DS_LIMITS__MAX_STREAM_NAME_BYTES",
     .type = SETTING_INT,
     FIELD(limits.stream_name_bytes),
     .fallback = "1024",
     .min = 1,
     .max = 4096,
     .unit = "bytes",
     .help = "Length of a stream's name, percent-decoded."},
    {.name = "DS_LIMITS__MAX_STREAM_NAME_SEGMENTS",
     .type = SETTING_INT,
     FIELD(limits.stream_name_segments),
     .fallback = "8",
     .min = 1,
     .max = 64,
     .unit = "segments",
     .help = "Parts of a stream's name between slashes."},
    {.name = "DS_LIMITS__MAX_STREAMS",
     .type = SETTING_INT,
     FIELD(limits.streams),
     .fallback = "1000000",
     .min = 1,
     .max = 100000000,
     .unit = "streams",
     .help = "Streams that exist at once."},
    {.name = "DS_LIMITS__MAX_PRODUCERS_PER_STREAM",
     .type = SETTING_INT,
     FIELD(limits.producers_per_stream),
     .fallback = "1024",
     .min = 1,
     .max = 1000000,
     .unit = "producers",
     .help = "Idempotent producers that a stream remembers."},
    {.name = "DS_LIMITS__MAX_CONNECTIONS",
     .type = SETTING_INT,
     FIELD(limits.connections),
     .fallback = "12288",
     .min = 1,
     .max = 1000000,
     .unit = "connections",
     .help = "Client connections at once, both listeners together."},
    {.name = "DS_LIMITS__MAX_TLS_HANDSHAKES",
     .type = SETTING_INT,
     FIELD(limits.handshakes),
     .fallback = "4096",
     .min = 1,
     .max = 1000000,
     .unit = "connections",
     .help = "TLS handshakes under way at once; one takes up to 50 KiB."},
    {.name = "DS_LIMITS__MAX_REQUESTS_PER_CONNECTION",
     .type = SETTING_INT,
     FIELD(limits.requests_per_connection),
     .fallback = "0",
     .max = INT64_MAX,
     .unit = "requests",
     .help = "After so many a connection is closed with its reply; 0 is no limit."},
    {.name = "DS_LIMITS__MAX_READ_PAGE_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.read_page_bytes),
     .fallback = "4MiB",
     .min = 1024,
     .max = (int64_t)1 << 30,
     .unit = "bytes",
     .help = "Payload of one reply; the next page begins at its end."},
    {.name = "DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.subscriber_backlog_bytes),
     .fallback = "1MiB",
     .min = 4096,
     .max = (int64_t)1 << 30,
     .unit = "bytes",
     .help = "What an SSE client may leave untaken before it is cut."},
    {.name = "DS_LIMITS__MAX_CACHE_BYTES",
     .type = SETTING_SIZE,
     FIELD(limits.cache_bytes),
     .fallback = "64MiB",
     .max = SIZE_MAX_SETTING,
     .unit = "bytes",
     .help = "Payload that a durable mode keeps in memory besides what is not in its files yet."},
    {.name = "DS_LIMITS__MAX_OPEN_FILES",
     .type = SETTING_INT,
     FIELD(limits.open_files),
     .fallback = "0",
     .max = 10000000,
     .unit = "files",
     .help = "Files of streams that are open at once; 0 is what the process's limit leaves beside "
             "the connections."},
    {.name = "DS_LIMITS__MAX_SUBSCRIPTIONS",
     .type = SETTING_INT,
     FIELD(limits.subscriptions),
     .fallback = "1000",
     .min = 1,
     .max = 100000,
     .unit = "subscriptions",
     .help = "Subscriptions that exist at once."},
    {.name = "DS_LIMITS__MAX_STREAMS_PER_SUBSCRIPTION",
     .type = SETTING_INT,
     FIELD(limits.streams_per_subscription),
     .fallback = "10000",
     .min = 1,
     .max = 100000,
     .unit = "streams",
     .help = "Streams that one subscription follows, by name or by pattern."},

    {.name = "DS_HTTP__HEAD_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.head_ms),
     .fallback = "10s",
     .min = 10,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "From the first byte of a request to the end of its head."},
    {.name = "DS_HTTP__BODY_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.body_ms),
     .fallback = "30s",
     .min = 10,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "For a request's body, besides what DS_HTTP__BODY_RATE grants its bytes."},
    {.name = "DS_HTTP__BODY_RATE",
     .type = SETTING_SIZE,
     FIELD(timeouts.body_rate),
     .fallback = "16KiB",
     .min = 1,
     .max = (int64_t)1 << 30,
     .unit = "bytes/s",
     .help = "The slowest at which a request's body may come."},
    {.name = "DS_HTTP__IDLE_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.idle_ms),
     .fallback = "75s",
     .min = 10,
     .max = 24 * HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "Between two requests on a connection."},
    {.name = "DS_HTTP__WRITE_STALL_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.write_stall_ms),
     .fallback = "30s",
     .min = 10,
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "A client that takes no byte of its reply for so long is cut."},
    {.name = "DS_HTTP__SEND_RATE",
     .type = SETTING_SIZE,
     FIELD(timeouts.send_rate),
     .fallback = "1KiB",
     .min = 1,
     .max = (int64_t)1 << 30,
     .unit = "bytes/s",
     .help = "The slowest at which a client may take what waits for it, besides "
             "DS_HTTP__WRITE_STALL_TIMEOUT, before it is cut."},
    {.name = "DS_SERVER__DRAIN_TIMEOUT",
     .type = SETTING_DURATION,
     FIELD(timeouts.drain_ms),
     .fallback = "30s",
     .max = HOUR_MS,
     .bare_unit_ms = 1000,
     .help = "After SIGTERM: how long open requests may still take."},

    {.name = "DS_LOG__RUST_LOG",
     .aliases = log_aliases,
     .flag = "log",
     .type = SETTING_STRING,
     FIELD(log_filter),
     .fallback = "info",
     .help = "Log level, or levels by scope: `info,server.http=debug`."},
    {.name = "DS_LOG__FORMAT",
     .flag = "log-format",
     .type = SETTING_CHOICE,
     FIELD(log_format),
     .fallback = "logfmt",
     .choices = log_formats,
     .help = "Shape of a log line."},
    {.name = "DS_LOG__OUTPUT",
     .flag = "log-output",
     .type = SETTING_CHOICE,
     FIELD(log_output),
     .fallback = "stdout",
     .choices = log_outputs,
     .help = "Where log lines go."},
    {.name = NULL},
};

static const char *const owned_prefixes[] = {"DS_*__", NULL};

const ConfigTable server_config_table = {
    .program = "ds-server",
    .summary = "Durable Streams server",
    .settings = settings,
    .owned_prefixes = owned_prefixes,
    .retired = server_retired_settings,
};

const char *
server_config_mode_name(int mode)
{
    return storage_modes[mode];
}

int64_t
server_config_stream_files(const ServerConfig *config)
{
    struct rlimit limit;

    if (config->storage_mode == STORAGE_MEMORY) {
        return 0;
    }
    if (config->storage_mode == STORAGE_ACID) {
        return config->storage.acid_shard_count * ACID_SHARD_FILES;
    }
    if (config->limits.open_files > 0) {
        return config->limits.open_files;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_max / STREAM_FILES_PART > STREAM_FILES) {
        return STREAM_FILES;
    }
    return (int64_t)(limit.rlim_max / STREAM_FILES_PART);
}

/* ---- checks that one setting alone cannot make ---- */

static bool
check_power_of_two(const char *name, int64_t count, Error *err)
{
    if ((count & (count - 1)) != 0) {
        return error_set(err, ERR_CONFIG, "%s: %lld is not a power of two", name, (long long)count);
    }
    return true;
}

static bool
check_storage(const ServerConfig *config, Error *err)
{
    const ServerStorage *storage = &config->storage;

    if (config->storage_mode != STORAGE_MEMORY && storage->data_dir == NULL) {
        return error_set(err, ERR_CONFIG, "DS_STORAGE__DATA_DIR must not be empty");
    }
    if (storage->wal_segment_bytes % WAL_SEGMENT_UNIT != 0) {
        return error_set(err, ERR_CONFIG,
                         "DS_STORAGE__WAL_SEGMENT_BYTES: %lld is not a multiple of %d",
                         (long long)storage->wal_segment_bytes, WAL_SEGMENT_UNIT);
    }
    return check_power_of_two("DS_STORAGE__ACID_SHARD_COUNT", storage->acid_shard_count, err) &&
           check_power_of_two("DS_STORAGE__WAL_SHARD_COUNT", storage->wal_shard_count, err);
}

static bool
check_subscriptions(const ServerSubscriptions *subscriptions, Error *err)
{
    if ((subscriptions->jwks_path == NULL) != (subscriptions->audience == NULL)) {
        return error_set(err, ERR_CONFIG,
                         "DS_SUBSCRIPTIONS__SERVICE_JWKS_PATH and _AUDIENCE go together");
    }
    return true;
}

/* "/v1/stream": segments of unreserved characters, no slash at the end. */
static bool
check_base_path(ServerConfig *config, Error *err)
{
    static const char legal[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    Str path = str_c(config->stream_base_path);

    if (path.len < 2 || path.ptr[0] != '/' || path.ptr[path.len - 1] == '/' ||
        strspn(path.ptr, legal) != path.len || strstr(path.ptr, "//") != NULL) {
        return error_set(err, ERR_CONFIG,
                         "DS_HTTP__STREAM_BASE_PATH: \"%.100s\" is not a path such as /v1/stream, "
                         "without a slash at its end",
                         config->stream_base_path == NULL ? "" : config->stream_base_path);
    }
    return true;
}

static bool
check_origins(const ServerConfig *config, Error *err)
{
    Cors *cors = NULL;

    if (!config->allow_wildcard_cors && strcmp(config->cors_origins, "*") == 0) {
        return error_set(
            err, ERR_CONFIG,
            "DS_HTTP__CORS_ORIGINS is * and DS_HTTP__ALLOW_WILDCARD_CORS is false: name "
            "the origins");
    }
    if (!cors_new(str_c(config->cors_origins), &cors, err)) {
        return false;
    }
    cors_free(cors);
    return true;
}

static bool
check_addresses(const ServerConfig *config, Error *err)
{
    if (config->bind_address == NULL || config->admin_listen == NULL) {
        return error_set(err, ERR_CONFIG, "%s must not be empty",
                         config->bind_address == NULL ? "DS_SERVER__BIND_ADDRESS"
                                                      : "DS_ADMIN__LISTEN (`off` turns it off)");
    }
    if (!listener_check_address(config->bind_address, err)) {
        return error_wrap(err, "DS_SERVER__BIND_ADDRESS");
    }
    if (strcmp(config->admin_listen, "off") != 0 &&
        !listener_check_address(config->admin_listen, err)) {
        return error_wrap(err, "DS_ADMIN__LISTEN");
    }
    return true;
}

/* What the operator says it is must be what the paths make it. */
static bool
check_transport_mode(const ServerTls *tls, Error *err)
{
    bool has_tls = tls->cert_path != NULL;
    bool has_clients = tls->client_ca_path != NULL;

    if (tls->mode == TRANSPORT_MODE_HTTP && has_tls) {
        return error_set(
            err, ERR_CONFIG,
            "DS_TRANSPORT__MODE=http: but DS_TLS__CERT_PATH is set; remove one of them");
    }
    if (tls->mode >= TRANSPORT_MODE_TLS && !has_tls) {
        return error_set(err, ERR_CONFIG,
                         "DS_TRANSPORT__MODE=%s: set DS_TLS__CERT_PATH and DS_TLS__KEY_PATH",
                         transport_modes[tls->mode]);
    }
    if (tls->mode == TRANSPORT_MODE_TLS && has_clients) {
        return error_set(err, ERR_CONFIG,
                         "DS_TRANSPORT__MODE=tls: but DS_TLS__CLIENT_CA_PATH is set; remove it, or "
                         "set the mode to mtls");
    }
    if (tls->mode == TRANSPORT_MODE_MTLS && !has_clients) {
        return error_set(err, ERR_CONFIG, "DS_TRANSPORT__MODE=mtls: set DS_TLS__CLIENT_CA_PATH");
    }
    return true;
}

static bool
check_tls(const ServerTls *tls, Error *err)
{
    if ((tls->cert_path == NULL) != (tls->key_path == NULL)) {
        return error_set(err, ERR_CONFIG, "%s is set and %s is not: TLS needs both",
                         tls->key_path == NULL ? "DS_TLS__CERT_PATH" : "DS_TLS__KEY_PATH",
                         tls->key_path == NULL ? "DS_TLS__KEY_PATH" : "DS_TLS__CERT_PATH");
    }
    if (tls->client_ca_path != NULL && tls->cert_path == NULL) {
        return error_set(
            err, ERR_CONFIG,
            "DS_TLS__CLIENT_CA_PATH is set without DS_TLS__CERT_PATH: clients can show "
            "certificates over TLS alone");
    }
    if (tls->version_min > tls->version_max) {
        return error_set(err, ERR_CONFIG, "DS_TLS__MIN_VERSION is above DS_TLS__MAX_VERSION");
    }
    return check_transport_mode(tls, err);
}

bool
server_config_load(ServerConfig *out, ConfigLoad *load, Error *err)
{
    ServerConfig config = {0};

    if (config_load(&server_config_table, &config, load, err) && (load->help || load->version)) {
        *out = config;
        return true;
    }
    config_note(load, check_addresses(&config, err), err);
    config_note(load, check_storage(&config, err), err);
    config_note(load, check_subscriptions(&config.subscriptions, err), err);
    config_note(load, check_base_path(&config, err), err);
    config_note(load, check_origins(&config, err), err);
    config_note(load, check_tls(&config.tls, err), err);
    if (!config_is_good(load, err)) {
        config_done(&server_config_table, &config);
        return false;
    }
    *out = config;
    return true;
}

void
server_config_done(ServerConfig *config)
{
    config_done(&server_config_table, config);
}
