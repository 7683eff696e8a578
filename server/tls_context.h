/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/tls_context.h -- certificate, key and rules of the TLS listener, loaded from files.
 *
 * TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3; no renegotiation, no
 * compression, no early data.  Sessions are resumed by tickets alone, whose keys live as long as
 * the context.  ALPN: http/1.1, or none named.  A context does not change: to reload, load another
 * one; connections keep theirs alive.
 */
#pragma once

#include "common/error.h"

typedef struct ssl_ctx_st SSL_CTX;

typedef enum TlsVersion { TLS_VERSION_1_2, TLS_VERSION_1_3 } TlsVersion;

typedef struct TlsOptions {
    const char *cert_path;      /* PEM: the certificate, then those between it and the root */
    const char *key_path;       /* PEM, without a passphrase */
    const char *client_ca_path; /* PEM: who may sign clients; NULL: clients show nothing */
    TlsVersion version_min;
    TlsVersion version_max;
} TlsOptions;

/* ERR_CONFIG says which file is wrong and how. */
DS_MUST_CHECK bool tls_context_new(const TlsOptions *options, SSL_CTX **out, Error *err);
void tls_context_free(SSL_CTX *context); /* accepts NULL */

/* When the certificate ends, in seconds since 1970. */
int64_t tls_context_expires_s(const SSL_CTX *context);
/* Whether others than owner and group may read the file, or others than the owner write it. */
bool tls_key_is_exposed(const char *path);
