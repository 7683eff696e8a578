/* SPDX-License-Identifier: Apache-2.0 */
#include "server/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <time.h>

#define CHAIN_DEPTH_MAX   8
#define SESSION_SECONDS   3600
#define TICKETS           1
#define CLIENT_CERT_BYTES 32768 /* of a client's certificates, all together */
#define REASON_BYTES_MAX  160

/* What OpenSSL said first is what went wrong; the rest are its consequences. */
static bool
refuse(Error *err, const char *what, const char *path)
{
    char reason[REASON_BYTES_MAX] = "unknown";
    unsigned long code = ERR_get_error();

    if (code != 0 && ERR_SYSTEM_ERROR(code)) {
        (void)snprintf(reason, sizeof(reason), "%s", strerror(ERR_GET_REASON(code)));
    } else if (code != 0 && ERR_reason_error_string(code) != NULL) {
        (void)snprintf(reason, sizeof(reason), "%s", ERR_reason_error_string(code));
    }
    ERR_clear_error();
    return error_set(err, ERR_CONFIG, "%s %.300s: %s", what, path, reason);
}

/* Nobody is there to be asked for a passphrase. */
static int
no_passphrase(char *room DS_UNUSED, int size DS_UNUSED, int writing DS_UNUSED, void *arg DS_UNUSED)
{
    return -1;
}

/* A client that names protocols and not ours would send us what we do not speak. */
static int
choose_protocol(SSL *tls DS_UNUSED, const unsigned char **out, unsigned char *out_len,
                const unsigned char *offered, unsigned offered_len, void *arg DS_UNUSED)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void
set_rules(SSL_CTX *context, const TlsOptions *options)
{
    static const int versions[] = {
        [TLS_VERSION_1_2] = TLS1_2_VERSION,
        [TLS_VERSION_1_3] = TLS1_3_VERSION,
    };
    static const unsigned char session_context[] = "ds-server";

    DS_ASSERT(SSL_CTX_set_min_proto_version(context, versions[options->version_min]) == 1);
    DS_ASSERT(SSL_CTX_set_max_proto_version(context, versions[options->version_max]) == 1);
    DS_ASSERT(SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
    /* Requests say how long they are, so a client that ends without close_notify cuts nothing. */
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
    /* A client that sends nothing but key updates must not keep a read from returning. */
    (void)SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_timeout(context, SESSION_SECONDS);
    (void)SSL_CTX_set_num_tickets(context, TICKETS);
    (void)SSL_CTX_set_max_cert_list(context, CLIENT_CERT_BYTES);
    DS_ASSERT(
        SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context) - 1) == 1);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
}

static bool
load_clients(SSL_CTX *context, const char *path, Error *err)
{
    if (SSL_CTX_load_verify_file(context, path) != 1) {
        return refuse(err, "cannot use the client CA", path);
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (names == NULL) {
        return refuse(err, "cannot use the client CA", path);
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(context, CHAIN_DEPTH_MAX);
    return true;
}

bool
tls_context_new(const TlsOptions *options, SSL_CTX **out, Error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    DS_ASSERT(context != NULL); /* no memory */
    ERR_clear_error();
    set_rules(context, options);
    if (SSL_CTX_use_certificate_chain_file(context, options->cert_path) != 1) {
        refuse(err, "cannot use the certificate", options->cert_path);
        goto fail;
    }
    /* This also compares the two. */
    if (SSL_CTX_use_PrivateKey_file(context, options->key_path, SSL_FILETYPE_PEM) != 1) {
        refuse(err, "cannot use the key", options->key_path);
        goto fail;
    }
    if (options->client_ca_path != NULL && !load_clients(context, options->client_ca_path, err)) {
        goto fail;
    }
    *out = context;
    return true;

fail:
    SSL_CTX_free(context);
    return false;
}

void
tls_context_free(SSL_CTX *context)
{
    SSL_CTX_free(context);
}

int64_t
tls_context_expires_s(const SSL_CTX *context)
{
    struct tm utc;

    DS_ASSERT(ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context)), &utc) == 1);
    return (int64_t)timegm(&utc);
}

bool
tls_key_is_exposed(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && (status.st_mode & (S_IRWXO | S_IWGRP)) != 0;
}
