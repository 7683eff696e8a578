/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/syncd_config.h"

#include <unistd.h>

#include "common/ds_proto.h"
#include "common/mem.h"
#include "common/parse.h"
#include "syncd/lease_rules.h"

#define FIELD(member) offsetof(SyncdConfig, member)
#define MIB           (INT64_C(1) << 20)

static const char *const recreate_choices[] = {"stop", "new_generation", NULL};
static const char *const format_choices[] = {"logfmt", "json", NULL};
static const char *const output_choices[] = {"stdout", "stderr", NULL};
static const char *const log_aliases[] = {"RUST_LOG", NULL};

static const Setting settings[] = {
    {.name = "DS_SERVER_URL",
     .flag = "server",
     .type = SETTING_STRING,
     .field = FIELD(server_url),
     .fallback = "http://127.0.0.1:4437",
     .help = "Origin of the stream server; /v1/stream/<name> is appended."},
    {.name = "SYNCD_SOURCE",
     .type = SETTING_STRING,
     .field = FIELD(source),
     .fallback = "default",
     .help = "Name of that server in ds_sync.stream, so that its URL may change."},
    {.name = "SYNCD_SERVERS",
     .type = SETTING_STRING,
     .field = FIELD(servers_text),
     .help = "More stream servers for routes to name: name=origin,name=origin."},
    {.name = "SYNCD_ADMIN_URLS",
     .type = SETTING_STRING,
     .field = FIELD(admin_urls),
     .help = "Admin listeners of the servers, name=origin,...: patterns find their streams there, "
             "and streams are trimmed there."},
    {.name = "SYNCD_STREAMS",
     .flag = "streams",
     .type = SETTING_STRING,
     .field = FIELD(streams_text),
     .help = "Comma separated names of the streams to load."},
    {.name = "SYNCD_DS_TOKEN_FILE",
     .type = SETTING_STRING,
     .field = FIELD(token_file),
     .reloadable = true,
     .help = "File with a bearer token for the stream server; read again on SIGHUP and when it is "
             "refused."},
    {.name = "SYNCD_SERVER_TOKEN_FILES",
     .type = SETTING_STRING,
     .field = FIELD(token_files),
     .reloadable = true,
     .help = "The same for those of SYNCD_SERVERS: name=path,name=path."},
    {.name = "SYNCD_DS_CA_FILE",
     .type = SETTING_STRING,
     .field = FIELD(ca_file),
     .help = "CA certificates for the stream server instead of the system's."},
    {.name = "SYNCD_DS_CERT_FILE",
     .type = SETTING_STRING,
     .field = FIELD(cert_file),
     .help = "Client certificate for the stream server."},
    {.name = "SYNCD_DS_KEY_FILE",
     .type = SETTING_STRING,
     .field = FIELD(key_file),
     .help = "Key of the client certificate."},
    {.name = "POSTGRES_URL",
     .type = SETTING_SECRET,
     .field = FIELD(postgres_url),
     .help = "Connection string or URI; unset: libpq's own environment."},
    {.name = "POSTGRES_URL_FILE",
     .type = SETTING_STRING,
     .field = FIELD(postgres_url_file),
     .reloadable = true,
     .help = "File that holds POSTGRES_URL; read again on SIGHUP and when Postgres refuses the "
             "login."},
    {.name = "SYNCD_MIGRATE",
     .flag = "migrate",
     .type = SETTING_BOOL,
     .field = FIELD(migrate),
     .fallback = "false",
     .help = "Bring the schema up to date at the start; otherwise it is only checked."},
    {.name = "SYNCD_INSTANCE",
     .flag = "instance",
     .type = SETTING_STRING,
     .field = FIELD(instance),
     .help = "Name of this instance; unset: host name and process id."},
    {.name = "SYNCD_WRITERS",
     .type = SETTING_INT,
     .field = FIELD(writers),
     .fallback = "2",
     .min = 1,
     .max = 64,
     .unit = "connections",
     .help = "Postgres connections that write."},
    {.name = "SYNCD_BATCH_ROWS_MAX",
     .type = SETTING_INT,
     .field = FIELD(limits.batch_rows),
     .fallback = "5000",
     .min = 2,
     .max = 100000,
     .unit = "rows",
     .help = "Rows of a transaction."},
    {.name = "SYNCD_BATCH_BYTES_MAX",
     .type = SETTING_SIZE,
     .field = FIELD(limits.batch_bytes),
     .fallback = "8MiB",
     .min = 1024,
     .max = 128 * MIB,
     .unit = "bytes",
     .help = "Bytes of a transaction; a longer message goes alone."},
    {.name = "SYNCD_QUEUE_BYTES_MAX",
     .type = SETTING_SIZE,
     .field = FIELD(limits.queue_bytes),
     .fallback = "64MiB",
     .min = MIB,
     .max = 65536 * MIB,
     .unit = "bytes",
     .help = "What is read and not committed, of all streams; beyond it reading pauses."},
    {.name = "SYNCD_STREAM_QUEUE_BYTES_MAX",
     .type = SETTING_SIZE,
     .field = FIELD(limits.stream_queue_bytes),
     .fallback = "16MiB",
     .min = 65536,
     .max = 65536 * MIB,
     .unit = "bytes",
     .help = "The same of one stream."},
    {.name = "SYNCD_DIRECTORY_STREAMS_MAX",
     .type = SETTING_INT,
     .field = FIELD(limits.directory_streams),
     .fallback = "1000000",
     .min = 1,
     .max = 10000000,
     .unit = "streams",
     .help = "Streams that routes may have, of all servers together; more are not loaded until "
             "there is room."},
    {.name = "SYNCD_EVENT_BYTES_MAX",
     .type = SETTING_SIZE,
     .field = FIELD(limits.event_bytes),
     .fallback = "64MiB",
     .min = MIB,
     .max = 1024 * MIB,
     .unit = "bytes",
     .help = "One data event of the server; a larger one fails the stream."},
    {.name = "SYNCD_MESSAGE_BYTES_MAX",
     .type = SETTING_SIZE,
     .field = FIELD(limits.message_bytes),
     .fallback = "8MiB",
     .min = 1024,
     .max = 128 * MIB,
     .unit = "bytes",
     .help = "One message; a larger one becomes a dead letter."},
    {.name = "SYNCD_OPENINGS_MAX",
     .type = SETTING_INT,
     .field = FIELD(limits.openings),
     .fallback = "128",
     .min = 1,
     .max = 65536,
     .unit = "requests",
     .help = "Streams being opened at a time: requests that one server has not begun to answer; "
             "the others wait in line."},
    {.name = "SYNCD_IDLE_TIMEOUT",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.idle_ms),
     .fallback = "75s",
     .min = 100,
     .max = 3600000,
     .bare_unit_ms = 1000,
     .help = "A read without a byte for this long is given up and opened again."},
    {.name = "SYNCD_BACKOFF_BASE",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.backoff_base_ms),
     .fallback = "250ms",
     .min = 1,
     .max = 60000,
     .bare_unit_ms = 1000,
     .help = "Longest wait after a first failure; it doubles with each one."},
    {.name = "SYNCD_BACKOFF_MAX",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.backoff_max_ms),
     .fallback = "30s",
     .min = 1,
     .max = 3600000,
     .bare_unit_ms = 1000,
     .help = "Longest wait between two tries."},
    {.name = "SYNCD_POSTGRES_PATIENCE",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.patience_ms),
     .fallback = "10s",
     .min = 1,
     .max = 3600000,
     .bare_unit_ms = 1000,
     .help = "Postgres out of reach for this long: reading stops until it is back."},
    {.name = "SYNCD_STATEMENT_TIMEOUT",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.statement_ms),
     .fallback = "30s",
     .min = 100,
     .max = 3600000,
     .bare_unit_ms = 1000,
     .help = "How long one statement of a transaction may take; Postgres ends it then, and smaller "
             "ones are tried. An instance that was lost can hold locks as long."},
    {.name = "SYNCD_STOP_TIMEOUT",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.stop_ms),
     .fallback = "10s",
     .min = 0,
     .max = 3600000,
     .bare_unit_ms = 1000,
     .help = "After SIGTERM, how long what is gathered may take to be committed."},
    {.name = "SYNCD_LEASE",
     .type = SETTING_DURATION,
     .field = FIELD(timeouts.lease_ms),
     .fallback = "15s",
     .min = LEASE_MS_MIN,
     .max = LEASE_MS_MAX,
     .bare_unit_ms = 1000,
     .help = "How long work partitions stay with an instance that is no longer heard of; the same "
             "for all instances."},
    {.name = "SYNCD_ON_RECREATE",
     .type = SETTING_CHOICE,
     .field = FIELD(on_recreate),
     .fallback = "stop",
     .choices = recreate_choices,
     .help = "What a stream that was made anew or lost its end means: stop it, or read it from its "
             "start as a new generation."},
    {.name = "ELECTRIC_VERSION",
     .type = SETTING_STRING,
     .field = FIELD(electric_version),
     .help = "Version of Electric; before 1.4.3 (or unset) transactions keep off multiples of 100 "
             "published rows, which it would lose."},
    {.name = "SYNCD_LISTEN",
     .flag = "listen",
     .type = SETTING_STRING,
     .field = FIELD(listen),
     .fallback = "127.0.0.1:4438",
     .help = "Address of /livez, /readyz, /metrics and /status; off: none."},
    {.name = "SYNCD_LOG",
     .aliases = log_aliases,
     .flag = "log",
     .type = SETTING_STRING,
     .field = FIELD(log_filter),
     .fallback = "info",
     .help = "Level, also per scope: info,syncd.session=debug."},
    {.name = "SYNCD_LOG_FORMAT",
     .flag = "log-format",
     .type = SETTING_CHOICE,
     .field = FIELD(log_format),
     .fallback = "logfmt",
     .choices = format_choices,
     .help = "Form of the log lines."},
    {.name = "SYNCD_LOG_OUTPUT",
     .flag = "log-output",
     .type = SETTING_CHOICE,
     .field = FIELD(log_output),
     .fallback = "stdout",
     .choices = output_choices,
     .help = "Where the log goes."},
    {.name = NULL},
};

static const char *const owned_prefixes[] = {"SYNCD_", NULL};
static const char *const foreign[] = {"SYNCD_DB_PASSWORD", NULL};

const ConfigTable syncd_config_table = {
    .program = "syncd",
    .summary = "load Durable Streams into Postgres, exactly once",
    .flags_help =
        "  --check             try Postgres and the stream server, and say what is wrong\n"
        "  --print-errors      print what each error of Postgres and the server leads to\n"
        "  --print-states      print the state machines as a Mermaid diagram\n",
    .settings = settings,
    .owned_prefixes = owned_prefixes,
    .foreign = foreign,
};

/* The server's rules for names (protocol 5): non-empty segments, no dot segments. */
static bool
stream_name_check(Str name, Error *err)
{
    Str rest = name;
    bool more = true;

    if (name.len == 0 || name.len > DS_STREAM_NAME_BYTES_MAX || str_contains_ctl(name) ||
        !str_is_utf8(name)) {
        return error_set(err, ERR_CONFIG, "SYNCD_STREAMS: \"%.*s\" is no name of a stream",
                         STR_ARG(str_head(name, 64)));
    }
    while (more) {
        Str segment;

        more = str_cut(rest, '/', &segment, &rest);
        if (segment.len == 0 || str_eq(segment, STR(".")) || str_eq(segment, STR(".."))) {
            return error_set(err, ERR_CONFIG,
                             "SYNCD_STREAMS: \"%.*s\" has an empty, \".\" or \"..\" segment",
                             STR_ARG(str_head(name, 64)));
        }
    }
    return true;
}

static bool
streams_add(SyncdConfig *config, Str name, Error *err)
{
    if (!stream_name_check(name, err)) {
        return false;
    }
    if (config->stream_count == SYNCD_STREAMS_MAX) {
        return error_set(err, ERR_CONFIG, "SYNCD_STREAMS names more than %d streams",
                         SYNCD_STREAMS_MAX);
    }
    config->streams =
        mem_regrow(config->streams, config->stream_count + 1, sizeof(*config->streams));
    config->streams[config->stream_count++] = str_dup(name);
    return true;
}

static int
name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, since they may be thousands; their order means nothing. */
static bool
streams_differ(SyncdConfig *config, Error *err)
{
    if (config->stream_count > 0) {
        qsort(config->streams, config->stream_count, sizeof(*config->streams), name_order);
    }
    for (size_t i = 1; i < config->stream_count; i++) {
        if (strcmp(config->streams[i - 1], config->streams[i]) == 0) {
            return error_set(err, ERR_CONFIG, "SYNCD_STREAMS names %s twice", config->streams[i]);
        }
    }
    return true;
}

static void
streams_split(SyncdConfig *config, ConfigLoad *load)
{
    Str rest = str_trim(str_c(config->streams_text));
    bool more = rest.len > 0;
    Error problem = {0};

    while (more) {
        Str name;

        more = str_cut(rest, ',', &name, &rest);
        config_note(load, streams_add(config, str_trim(name), &problem), &problem);
    }
    config_note(load, streams_differ(config, &problem), &problem);
}

bool
electric_needs_pads(Str version, bool *out, Error *err)
{
    static const uint64_t mended[3] = {1, 4, 3};
    Str rest = version;

    *out = true;
    for (size_t i = 0; i < DS_COUNT(mended) && version.len > 0; i++) {
        Str part;
        uint64_t number;

        (void)str_cut(rest, '.', &part, &rest); /* a missing part is "", which is no number */
        if (!parse_u64(part, UINT32_MAX, &number)) {
            return error_set(err, ERR_CONFIG,
                             "ELECTRIC_VERSION is \"%.*s\"; it must be a version like 1.4.2",
                             STR_ARG(str_head(version, 32)));
        }
        if (number != mended[i]) {
            *out = number < mended[i];
            return true;
        }
    }
    *out = version.len == 0;
    return true;
}

static void
servers_load(SyncdConfig *config, ConfigLoad *load)
{
    ServerTexts texts = {.name = config->source,
                         .url = config->server_url,
                         .token_file = config->token_file,
                         .more = config->servers_text,
                         .admin_urls = config->admin_urls,
                         .token_files = config->token_files};

    server_list_load(&config->servers, &texts, load);
}

static void
instance_default(SyncdConfig *config)
{
    char host[64] = "host";
    char name[96];

    if (config->instance == NULL) {
        (void)gethostname(host, sizeof(host) - 1); /* without a name, "host" stays */
        (void)snprintf(name, sizeof(name), "%s-%ld", host, (long)getpid());
        config->instance = mem_strdup(name);
    }
}

/* The connection string or its file, whichever was set at the place that counts more, as with any
 * setting that is set twice.  At one place nobody can say which is meant. */
static bool
postgres_url_load(SyncdConfig *out, const ConfigLoad *load, Error *err)
{
    SettingOrigin *url = config_origin(&syncd_config_table, load, "POSTGRES_URL");
    SettingOrigin *file = config_origin(&syncd_config_table, load, "POSTGRES_URL_FILE");

    if (out->postgres_url_file == NULL) {
        return true;
    }
    if (secret_is_set(&out->postgres_url) && *url == *file) {
        return error_set(err, ERR_CONFIG,
                         "POSTGRES_URL and POSTGRES_URL_FILE are both set (%s): remove one of them",
                         config_origin_name(*url));
    }
    if (secret_is_set(&out->postgres_url) && *url > *file) {
        free(out->postgres_url_file);
        out->postgres_url_file = NULL;
        *file = ORIGIN_DEFAULT;
        return true;
    }
    *url = *file;
    return syncd_config_read_postgres_url(out, err);
}

bool
syncd_config_read_postgres_url(SyncdConfig *config, Error *err)
{
    return config->postgres_url_file == NULL ||
           secret_read_file(&config->postgres_url, config->postgres_url_file, err) ||
           error_wrap(err, "POSTGRES_URL_FILE");
}

static bool
client_certificate_is_whole(const SyncdConfig *config, Error *err)
{
    return (config->cert_file == NULL) == (config->key_file == NULL) ||
           error_set(err, ERR_CONFIG,
                     "SYNCD_DS_CERT_FILE and SYNCD_DS_KEY_FILE are set both or not at all");
}

static bool
backoff_is_ordered(const SyncdConfig *config, Error *err)
{
    return config->timeouts.backoff_base_ms <= config->timeouts.backoff_max_ms ||
           error_set(err, ERR_CONFIG, "SYNCD_BACKOFF_BASE is above SYNCD_BACKOFF_MAX");
}

bool
syncd_config_load(SyncdConfig *out, ConfigLoad *load, Error *err)
{
    if (config_load(&syncd_config_table, out, load, err) && (load->help || load->version)) {
        return true;
    }
    config_note(load, postgres_url_load(out, load, err), err);
    config_note(load, client_certificate_is_whole(out, err), err);
    config_note(load, backoff_is_ordered(out, err), err);
    servers_load(out, load);
    config_note(load, electric_needs_pads(str_c(out->electric_version), &out->electric_pads, err),
                err);
    streams_split(out, load);
    out->limits.stream_queue_bytes =
        DS_MIN(out->limits.stream_queue_bytes, out->limits.queue_bytes);
    instance_default(out);
    return config_is_good(load, err);
}

void
syncd_config_done(SyncdConfig *config)
{
    for (size_t i = 0; i < config->stream_count; i++) {
        free(config->streams[i]);
    }
    free(config->streams);
    config->streams = NULL;
    config->stream_count = 0;
    server_list_done(&config->servers);
    config_done(&syncd_config_table, config);
}
