/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/check.h"

#include <errno.h>
#include <unistd.h>

#include "common/ds_proto.h"
#include "common/http_client.h"
#include "syncd/startup.h"
#include "syncd/status.h"

#define CHECK_MS_MAX  15000
#define URL_BYTES_MAX 8192

typedef struct Check {
    Loop *loop;
    unsigned open; /* ends that have not answered */
    bool postgres_ok;
    bool source_ok;
    Startup *startup;
} Check;

static bool
check_file(const char *setting, const char *path, Error *err)
{
    return path == NULL || access(path, R_OK) == 0 ||
           error_set(err, ERR_CONFIG, "%s: %s: %s", setting, path, strerror(errno));
}

bool
check_settings(const SyncdConfig *config, Error *err)
{
    return status_listen_check(config->listen, err) &&
           check_file("SYNCD_DS_CA_FILE", config->ca_file, err) &&
           check_file("SYNCD_DS_CERT_FILE", config->cert_file, err) &&
           check_file("SYNCD_DS_KEY_FILE", config->key_file, err);
}

static void
check_end_done(Check *check)
{
    if (--check->open == 0) {
        loop_stop(check->loop);
    }
}

static void
check_on_startup(void *arg, const StartupResult *result)
{
    Check *check = arg;

    check->postgres_ok = result->ok;
    if (result->ok) {
        printf("postgres: ok, schema version %d\n", result->schema_version);
    } else {
        printf("postgres: %s%s%s\n", result->err.text,
               result->err.sqlstate[0] != '\0' ? ", SQLSTATE " : "", result->err.sqlstate);
    }
    check_end_done(check);
}

static void
check_on_done(void *arg, const HttpResult *result)
{
    Check *check = arg;

    check->source_ok = result->ok && (result->status == 200 || result->status == 404);
    if (!result->ok) {
        printf("stream server: %s\n", result->err.text);
    } else if (result->status == 200) {
        printf("stream server: ok\n");
    } else if (result->status == 404) {
        printf("stream server: ok, but the first stream does not exist yet\n");
    } else {
        printf("stream server: it answers %d\n", result->status);
    }
    check_end_done(check);
}

static bool
check_url(const SyncdConfig *config, Buf *url, Error *err)
{
    const char *name = config->stream_count > 0 ? config->streams[0] : "syncd-check";

    return buf_printf(url, err, "%s%s/", config->servers.servers[0].url, DS_STREAM_ROOT) &&
           http_url_encode(url, str_c(name), "/", err);
}

ExitCode
check_run(SyncdConfig *config)
{
    static const HttpCallbacks callbacks = {.on_done = check_on_done};
    Check check = {.loop = loop_new(), .open = 2};
    HttpClient *client =
        http_client_new(check.loop, &(HttpClientConfig){
                                        .user_agent = "syncd/" DS_VERSION,
                                        .ca_file = config->ca_file,
                                        .cert_file = config->cert_file,
                                        .key_file = config->key_file,
                                        .bearer = &config->servers.servers[0].token,
                                    });
    Error err;
    Buf url;

    config->migrate = false;
    buf_init(&url, URL_BYTES_MAX);
    bool built = check_url(config, &url, &err);
    DS_ASSERT(built); /* the name is bounded */
    check.startup = startup_new(check.loop, config, 1, check_on_startup, &check);
    (void)http_start(
        client,
        &(HttpRequest){.method = "HEAD", .url = buf_cstr(&url), .total_ms_max = CHECK_MS_MAX},
        &callbacks, &check); /* it ends in check_on_done */
    loop_run(check.loop);
    startup_free(check.startup);
    http_client_free(client);
    buf_done(&url);
    loop_free(check.loop);
    if (!check.postgres_ok) {
        return EXIT_POSTGRES;
    }
    return check.source_ok ? EXIT_OK : EXIT_SOURCE;
}
