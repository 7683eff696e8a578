/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/options.h"

#include "common/ds_proto.h"
#include "common/http_client.h"

static const char default_server[] = "http://127.0.0.1:4437";

static const char *const output_names[] = {"table", "json", "ndjson", "csv", NULL};

static const char *arg_server;
static const char *arg_admin;
static const char *arg_pg;
static const char *arg_token_file;
static const char *arg_ca_file;
static int64_t arg_timeout_ms = 30000;
static int arg_output = OUTPUT_TABLE;

const Option options_global[] = {
    OPT_CHOICE('o', "output", &arg_output, output_names,
               "form of the output; a table is tab-separated without titles when piped"),
    OPT_STRING_ENV(0, "server", &arg_server, "URL", "DSCTL_SERVER",
                   "stream server; else STREAM_URL, DS_SERVER_URL, http://127.0.0.1:4437"),
    OPT_STRING_ENV(0, "admin", &arg_admin, "URL", "DSCTL_ADMIN",
                   "its admin listener; else port 4439 of the server's host"),
    OPT_STRING_ENV(0, "token-file", &arg_token_file, "FILE", "DSCTL_TOKEN_FILE",
                   "file with the bearer token for the stream server; else STREAM_AUTH"),
    OPT_STRING_ENV(0, "ca-file", &arg_ca_file, "FILE", "DSCTL_CA_FILE",
                   "certificates to trust instead of the system's"),
    OPT_STRING(0, "pg", &arg_pg, "URL",
               "Postgres, without a password; else POSTGRES_URL, POSTGRES_URL_FILE, PGHOST ..."),
    OPT_DURATION(0, "timeout", &arg_timeout_ms, "DURATION",
                 "give up on a request or statement after this long (30s)"),
    OPT_END(),
};

OutputFormat
options_output(void)
{
    return (OutputFormat)arg_output;
}

int64_t
options_timeout_ms(void)
{
    return arg_timeout_ms;
}

const char *
options_ca_file(void)
{
    return arg_ca_file;
}

static const char *
environment(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

static bool
is_http(Str url)
{
    return str_starts(url, STR("http://")) || str_starts(url, STR("https://"));
}

/* Without the slashes at its end, and without /v1/stream: both are easily given too. */
bool
options_server(Str *out, Error *err)
{
    const char *text = arg_server;

    text = text != NULL ? text : environment("STREAM_URL");
    text = text != NULL ? text : environment("DS_SERVER_URL");
    Str url = text != NULL ? str_c(text) : str_c(default_server);
    if (!is_http(url) || str_contains_ctl(url) || memchr(url.ptr, '?', url.len) != NULL) {
        char *shown = secret_redact_url(url);
        error_set(err, ERR_CONFIG,
                  "the stream server's URL \"%.200s\" is not like http://127.0.0.1:4437", shown);
        free(shown);
        return false;
    }
    while (str_ends(url, STR("/"))) {
        url.len--;
    }
    if (str_ends(url, STR(DS_STREAM_ROOT))) {
        url.len -= sizeof(DS_STREAM_ROOT) - 1;
    }
    *out = url;
    return true;
}

bool
options_name_url(const char *name, Buf *out, Error *err)
{
    Str origin = STR_EMPTY;

    return options_server(&origin, err) && buf_append(out, origin, err) &&
           buf_append(out, STR(DS_STREAM_ROOT "/"), err) &&
           http_url_encode(out, str_c(name), "/", err);
}

bool
options_stream_url(const char *name, Buf *out, Error *err)
{
    if (is_http(str_c(name))) {
        return buf_append(out, str_c(name), err);
    }
    while (*name == '/') {
        name++;
    }
    if (*name == '\0') {
        return error_set(err, ERR_CONFIG, "a stream's name cannot be empty");
    }
    return options_name_url(name, out, err);
}

/* "http://host:4437/x" is "http://host". */
static Str
origin_without_port(Str origin)
{
    size_t scheme = str_starts(origin, STR("https://")) ? 8 : 7;
    Str host = str_skip(origin, scheme);
    size_t end = 0;

    if (host.len > 0 && host.ptr[0] == '[' && str_find(host, ']', &end)) {
        return str_head(origin, scheme + end + 1);
    }
    for (end = 0; end < host.len && host.ptr[end] != ':' && host.ptr[end] != '/'; end++) {
    }
    return str_head(origin, scheme + end);
}

bool
options_admin_url(const char *path, Buf *out, Error *err)
{
    Str origin = str_c(arg_admin);

    if (origin.len > 0) {
        if (!is_http(origin) || str_contains_ctl(origin)) {
            return error_set(err, ERR_CONFIG,
                             "the admin listener's URL is not like http://127.0.0.1:%d",
                             DS_ADMIN_PORT_DEFAULT);
        }
        while (str_ends(origin, STR("/"))) {
            origin.len--;
        }
        return buf_append(out, origin, err) && buf_append(out, str_c(path), err);
    }
    if (!options_server(&origin, err)) {
        return false;
    }
    return buf_append(out, origin_without_port(origin), err) &&
           buf_printf(out, err, ":%d%s", DS_ADMIN_PORT_DEFAULT, path);
}

bool
options_token(Secret *out, Error *err)
{
    const char *value = environment("STREAM_AUTH");
    Str token = str_c(value);

    if (arg_token_file != NULL) {
        return secret_read_file(out, arg_token_file, err);
    }
    if (value == NULL) {
        return true;
    }
    if (str_starts_nocase(token, STR("Bearer "))) {
        token = str_trim(str_skip(token, 7));
    }
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] <= ' ' || token.ptr[i] == 0x7f) {
            return error_set(err, ERR_CONFIG,
                             "STREAM_AUTH must be a bearer token, with or without \"Bearer \"");
        }
    }
    secret_set(out, token);
    return true;
}

bool
options_postgres(Secret *out, Error *err)
{
    const char *url = arg_pg != NULL ? arg_pg : environment("POSTGRES_URL");

    if (url == NULL && environment("POSTGRES_URL_FILE") != NULL) {
        return secret_read_file(out, environment("POSTGRES_URL_FILE"), err);
    }
    if (arg_pg != NULL) {
        char *redacted = secret_redact_url(str_c(arg_pg));
        if (strcmp(redacted, arg_pg) != 0) {
            (void)fprintf(stderr,
                          "dsctl: the password in --pg is visible to everybody on this machine; "
                          "use POSTGRES_URL, POSTGRES_URL_FILE or PGPASSFILE\n");
        }
        free(redacted);
    }
    secret_set(out, str_c(url));
    return true;
}
