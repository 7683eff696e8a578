/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_tls.h"

#include "common/clock.h"
#include "common/log.h"
#include "server/http_server.h"
#include "server/tls_context.h"

#define RELOAD_MS          43200000     /* twice a day */
#define EXPIRES_SOON_S     (14 * 86400) /* a certificate's end is announced so long before */
#define HANDSHAKE_QUIET_MS 10000        /* one warning in this time */

static const LogScope scope = {.name = "server.tls"};

static bool
load(const ServerTls *settings, SSL_CTX **out, Error *err)
{
    TlsOptions options = {
        .cert_path = settings->cert_path,
        .key_path = settings->key_path,
        .client_ca_path = settings->client_ca_path,
        .version_min = (TlsVersion)settings->version_min,
        .version_max = (TlsVersion)settings->version_max,
    };

    return tls_context_new(&options, out, err);
}

static void
warn_of(const HttpServer *server)
{
    const ServerTls *settings = &server->config->tls;
    int64_t left_s = tls_context_expires_s(server->tls) - clock_wall_ms() / 1000;

    if (tls_key_is_exposed(settings->key_path)) {
        log_warn(&scope, EVENT_SERVER_KEY_EXPOSED,
                 LOG_FIELDS(log_str("path", str_c(settings->key_path))),
                 "the private key can be read by everybody, or changed by others than its owner");
    }
    if (left_s < EXPIRES_SOON_S) {
        log_warn(&scope, EVENT_SERVER_CERTIFICATE_EXPIRES,
                 LOG_FIELDS(log_str("path", str_c(settings->cert_path)),
                            log_i64("seconds_left", left_s)),
                 left_s <= 0 ? "the certificate has expired" : "the certificate expires soon");
    }
}

static void
use(HttpServer *server, SSL_CTX *context)
{
    tls_context_free(server->tls); /* connections hold what they need of it */
    server->tls = context;
    metric_set(server->metrics.certificate_expires, tls_context_expires_s(context));
    warn_of(server);
}

static void
on_reload_timer(void *arg)
{
    http_server_reload(arg);
}

static void
make_metrics(HttpServer *server)
{
    HttpServerMetrics *m = &server->metrics;

    m->handshakes_failed = metrics_counter(server->registry, "ds_tls_handshakes_failed_total", NULL,
                                           "TLS handshakes that failed or did not end in time.");
    m->handshakes_refused =
        metrics_counter(server->registry, "ds_tls_handshakes_refused_total", NULL,
                        "Connections refused because too many handshakes were under way.");
    m->certificate_expires =
        metrics_gauge(server->registry, "ds_tls_certificate_expires_seconds", NULL,
                      "When the certificate ends, in seconds since 1970.");
}

bool
http_tls_start(HttpServer *server, Error *err)
{
    SSL_CTX *context;

    make_metrics(server);
    if (server->config->tls.cert_path == NULL) {
        return true;
    }
    if (!load(&server->config->tls, &context, err)) {
        return false;
    }
    use(server, context);
    server->reload_timer = timer_new(server->main, on_reload_timer, server);
    timer_repeat(server->reload_timer, RELOAD_MS);
    return true;
}

void
http_tls_stop(HttpServer *server)
{
    timer_free(server->reload_timer);
    tls_context_free(server->tls);
    server->reload_timer = NULL;
    server->tls = NULL;
}

void
http_server_reload(HttpServer *server)
{
    SSL_CTX *context;
    Error err;

    if (server->tls == NULL || server->stopping) {
        return;
    }
    if (!load(&server->config->tls, &context, &err)) {
        log_error(&scope, EVENT_SERVER_CERTIFICATE_INVALID,
                  LOG_FIELDS(log_str("reason", str_c(err.text))),
                  "the certificate was not loaded anew; the old one is used");
        return;
    }
    use(server, context);
    log_info(&scope, LOG_FIELDS(log_str("path", str_c(server->config->tls.cert_path))),
             "the certificate was loaded anew");
}

bool
http_tls_has_room(HttpServer *server)
{
    int64_t limit = server->config->limits.handshakes;
    int64_t now_ms = loop_now_ms(server->main);

    if (atomic_load_explicit(&server->handshakes, memory_order_relaxed) < limit) {
        return true;
    }
    metric_add(server->metrics.handshakes_refused, 1);
    if (server->handshakes_said_ms == 0 ||
        now_ms - server->handshakes_said_ms > HANDSHAKE_QUIET_MS) {
        server->handshakes_said_ms = now_ms;
        log_warn(&scope, EVENT_SERVER_HANDSHAKES_FULL, LOG_FIELDS(log_i64("limit", limit)),
                 "connections are refused: too many TLS handshakes are under way");
    }
    return false;
}

bool
http_tls_check(const ServerTls *settings, Error *err)
{
    SSL_CTX *context;

    if (settings->cert_path == NULL) {
        return true;
    }
    if (!load(settings, &context, err)) {
        return false;
    }
    tls_context_free(context);
    return true;
}
