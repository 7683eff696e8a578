/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/check.h"

#include <errno.h>
#include <unistd.h>

#include "common/log.h"
#include "syncd/check_postgres.h"
#include "syncd/error_class.h"
#include "syncd/servers.h"
#include "syncd/status.h"

#define CHECK_MS_MAX  15000
#define URL_BYTES_MAX 8192

static bool
check_file(const char *setting, const char *path, Error *err)
{
    return path == NULL || access(path, R_OK) == 0 ||
           error_set(err, ERR_CONFIG, "%s: %s: %s", setting, path, strerror(errno));
}

/* Leaves it as it was at the start, for what is not legal is to be seen. */
static bool
check_log_filter(const char *filter, Error *err)
{
    return (log_set_filter(filter, err) && log_set_filter(NULL, err)) ||
           error_wrap(err, "SYNCD_LOG");
}

void
check_settings(const SyncdConfig *config, ConfigLoad *load)
{
    Error err = {0};

    config_note(load, status_listen_check(config->listen, &err), &err);
    config_note(load, check_file("SYNCD_DS_CA_FILE", config->ca_file, &err), &err);
    config_note(load, check_file("SYNCD_DS_CERT_FILE", config->cert_file, &err), &err);
    config_note(load, check_file("SYNCD_DS_KEY_FILE", config->key_file, &err), &err);
    config_note(load, check_log_filter(config->log_filter, &err), &err);
}

/* ---- --check ---- */

typedef struct Check Check;

/* A stream server, or its admin listener. */
typedef struct CheckServer {
    Check *check;
    const Server *server;
    bool is_admin;
    const char *first_stream; /* of SYNCD_STREAMS, which is asked for; NULL: a name of our own */
    char finding[768];        /* shown when all have answered, in the order of the settings */
} CheckServer;

struct Check {
    Loop *loop;
    LoopTimer *deadline;
    CheckPostgres *postgres;
    Servers *servers;
    CheckServer ends[2 * SERVERS_MAX];
    size_t end_count;
    unsigned open; /* ends that have not answered, Postgres among them */
    bool postgres_done;
    bool postgres_ok;
    bool source_ok;
};

static void
check_end_done(Check *check)
{
    if (--check->open == 0) {
        loop_stop(check->loop);
    }
}

static void
check_on_postgres(void *arg, bool ok)
{
    Check *check = arg;

    check->postgres_done = true;
    check->postgres_ok = ok;
    check_end_done(check);
}

static void
check_on_deadline(void *arg)
{
    Check *check = arg;

    if (!check->postgres_done) {
        printf("postgres: no answer within %d s\n", CHECK_MS_MAX / 1000);
    }
    loop_stop(check->loop); /* requests have the same limit, and are over */
}

static const char *
mend_of(const CheckServer *end, int status)
{
    switch (error_class_of_status(status)) {
    case ERROR_CLASS_SOURCE_REFUSED:
        return "it does not accept our credentials; renew the token in its file";
    case ERROR_CLASS_SOURCE_RETRY:
        return "it or a proxy before it is not well";
    default:
        return end->is_admin ? "correct SYNCD_ADMIN_URLS"
                             : "is this a stream server? correct its URL";
    }
}

static const char *
mend_of_failure(const CheckServer *end, const HttpResult *result)
{
    const char *url = end->is_admin ? end->server->admin_url : end->server->url;
    bool tls = str_starts(str_c(url), STR("https:"));

    if (result->err.code == ERR_CONFIG) {
        return ": correct its URL, SYNCD_DS_CA_FILE or the client certificate";
    }
    if (result->connected && tls) {
        return ": if it asks for a certificate, it must trust that of SYNCD_DS_CERT_FILE, and "
               "that must not have expired";
    }
    return result->connected ? ": is this a stream server? correct its URL" : "";
}

/* Any server says 404 of what it does not know, so one that has nothing to do with streams, too. */
static void
check_say_good(CheckServer *end, bool missing)
{
    if (missing && end->first_stream != NULL) {
        (void)snprintf(end->finding, sizeof(end->finding),
                       "ok, but it has no stream %.200s yet (404): if it should, correct its URL",
                       end->first_stream);
    } else {
        (void)snprintf(end->finding, sizeof(end->finding), "ok");
    }
}

static void
check_on_done(void *arg, const HttpResult *result)
{
    CheckServer *end = arg;
    Check *check = end->check;
    bool missing = result->ok && result->status == 404 && !end->is_admin;

    bool good = missing || (result->ok && result->status == 200);

    if (good) {
        check_say_good(end, missing);
    } else if (result->ok) {
        (void)snprintf(end->finding, sizeof(end->finding), "it answers %d: %s", result->status,
                       mend_of(end, result->status));
    } else {
        (void)snprintf(end->finding, sizeof(end->finding), "%s%s", result->err.text,
                       mend_of_failure(end, result));
    }
    check->source_ok = check->source_ok && good;
    check_end_done(check);
}

static void
check_ask(Check *check, const CheckServer *end, const char *method, const char *url)
{
    static const HttpCallbacks callbacks = {.on_done = check_on_done};
    CheckServer *own = &check->ends[check->end_count++];

    *own = *end;
    check->open++;
    (void)http_start(end->is_admin ? end->server->admin_client : end->server->client,
                     &(HttpRequest){.method = method, .url = url, .total_ms_max = CHECK_MS_MAX},
                     &callbacks, own); /* it ends in check_on_done */
}

static void
check_servers(Check *check, const SyncdConfig *config)
{
    for (size_t i = 0; i < config->servers.count; i++) {
        const Server *server = servers_at(check->servers, i);
        CheckServer end = {.check = check,
                           .server = server,
                           .first_stream =
                               i == 0 && config->stream_count > 0 ? config->streams[0] : NULL};
        char *url = server_stream_url(
            server, str_c(end.first_stream != NULL ? end.first_stream : "syncd-check"));

        check_ask(check, &end, "HEAD", url);
        free(url);
        if (server->admin_url != NULL) {
            Buf admin;
            Error err;

            buf_init(&admin, URL_BYTES_MAX);
            bool built = buf_printf(&admin, &err, "%s/admin/streams?limit=1", server->admin_url);
            DS_ASSERT(built); /* the settings are bounded */
            end.is_admin = true;
            check_ask(check, &end, "GET", buf_cstr(&admin));
            buf_done(&admin);
        }
    }
}

static void
check_show(const Check *check)
{
    for (size_t i = 0; i < check->end_count; i++) {
        const CheckServer *end = &check->ends[i];

        printf("%s %s: %s\n", end->is_admin ? "admin listener of" : "stream server",
               end->server->name, end->finding);
    }
}

ExitCode
check_run(SyncdConfig *config)
{
    Check check = {.loop = loop_new(), .open = 1, .source_ok = true};

    check.deadline = timer_new(check.loop, check_on_deadline, &check);
    check.servers = servers_new(check.loop, &(ServersConfig){.list = &config->servers,
                                                             .ca_file = config->ca_file,
                                                             .cert_file = config->cert_file,
                                                             .key_file = config->key_file,
                                                             .openings_max = 1});
    check.postgres = check_postgres_new(check.loop, config, check_on_postgres, &check);
    check_servers(&check, config);
    timer_start(check.deadline, CHECK_MS_MAX + 1000);
    loop_run(check.loop);
    check_show(&check);
    check_postgres_free(check.postgres);
    servers_free(check.servers);
    timer_free(check.deadline);
    loop_free(check.loop);
    if (!check.postgres_ok) {
        return EXIT_POSTGRES;
    }
    return check.source_ok ? EXIT_OK : EXIT_SOURCE;
}
