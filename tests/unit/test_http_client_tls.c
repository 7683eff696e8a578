/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <unistd.h>

TestSuite(http_client_tls, .timeout = 60);

static const char plain_reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

static EVP_PKEY *key;
static X509 *certificate;
static char ca_file[] = "/tmp/ds-test-ca-XXXXXX";

/* A certificate that signs itself, for 127.0.0.1. */
static void
make_certificate(void)
{
    X509V3_CTX context;

    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    cr_assert(X509_set_version(certificate, 2));
    cr_assert(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
    cr_assert_not_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -60));
    cr_assert_not_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    cr_assert(X509_set_pubkey(certificate, key));
    cr_assert(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                         (const unsigned char *)"test", -1, -1, 0));
    cr_assert(X509_set_issuer_name(certificate, X509_get_subject_name(certificate)));
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *name =
        X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, "IP:127.0.0.1");
    cr_assert(X509_add_ext(certificate, name, -1));
    X509_EXTENSION_free(name);
    cr_assert(X509_sign(certificate, key, EVP_sha256()));
}

static void
set_up(void)
{
    FILE *file;

    make_certificate();
    file = fdopen(mkstemp(ca_file), "w");
    cr_assert(PEM_write_X509(file, certificate));
    cr_assert_eq(fclose(file), 0);
    (void)signal(SIGPIPE, SIG_IGN); /* for the peer's thread, whichever starts first */
}

static void
tear_down(void)
{
    cr_expect_eq(unlink(ca_file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

typedef void (*TlsFn)(Peer *peer, SSL *tls);

/* The handshake, and then what the test wants. */
static void
serve_tls(Peer *peer, int fd, TlsFn answer)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL *tls;

    DS_ASSERT(SSL_CTX_use_certificate(context, certificate) == 1);
    DS_ASSERT(SSL_CTX_use_PrivateKey(context, key) == 1);
    tls = SSL_new(context);
    DS_ASSERT(SSL_set_fd(tls, fd) == 1);
    if (SSL_accept(tls) == 1 && answer != NULL) {
        answer(peer, tls);
    }
    SSL_free(tls);
    SSL_CTX_free(context);
}

static void
answer_hello(Peer *peer, SSL *tls)
{
    if (SSL_read(tls, peer->request, sizeof(peer->request) - 1) > 0) {
        (void)SSL_write(tls, plain_reply, (int)strlen(plain_reply));
        (void)SSL_shutdown(tls);
    }
}

static void
serve_hello(Peer *peer, int fd, int index DS_UNUSED)
{
    serve_tls(peer, fd, answer_hello);
}

/* As a server does that does not like the client's certificate. */
static void
serve_and_leave(Peer *peer, int fd, int index DS_UNUSED)
{
    serve_tls(peer, fd, NULL);
}

static void
get(Outcome *outcome, const Peer *peer, const char *host, const char *trusted)
{
    char url[64];
    HttpRequest request = {.method = "GET", .url = url};

    outcome_init(outcome, NULL);
    http_client_free(outcome->client);
    outcome->client = http_client_new(outcome->loop, &(HttpClientConfig){.ca_file = trusted});
    (void)snprintf(url, sizeof(url), "https://%s:%d/", host, peer->port);
    (void)http_start(outcome->client, &request, &outcome_callbacks, outcome);
    outcome_wait(outcome);
}

Test(http_client_tls, a_server_is_believed_only_with_a_trusted_certificate_of_its_name,
     .init = set_up, .fini = tear_down)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_hello);

    get(&outcome, &peer, "127.0.0.1", NULL);
    cr_expect_not(outcome.result.ok);
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG, "%s", outcome.result.err.text);
    outcome_done(&outcome);

    get(&outcome, &peer, "127.0.0.1", ca_file);
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_str_eq(buf_cstr(&outcome.body), "hello");
    outcome_done(&outcome);

    get(&outcome, &peer, "localhost", ca_file);
    cr_expect_not(outcome.result.ok);
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG, "%s", outcome.result.err.text);
    outcome_done(&outcome);

    get(&outcome, &peer, "127.0.0.1", "/nonexistent/ca.pem");
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG, "%s", outcome.result.err.text);
    outcome_done(&outcome);

    peer_stop(&peer);
}

Test(http_client_tls, a_server_that_leaves_after_the_handshake_may_refuse_our_certificate,
     .init = set_up, .fini = tear_down)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_and_leave);
    get(&outcome, &peer, "127.0.0.1", ca_file);
    cr_expect_eq(outcome.result.err.code, ERR_RETRY);
    cr_expect_not_null(strstr(outcome.result.err.text, "ours is missing, has expired"), "%s",
                       outcome.result.err.text);
    outcome_done(&outcome);
    peer_stop(&peer);
}
