/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/transport.h -- the bytes of one connection, as they are or through TLS.
 *
 * The socket never blocks, and nothing here waits.  An idle TLS connection keeps no record buffers
 * (OpenSSL gives them back).  A connection whose TLS failed is BROKEN: it can only be closed.
 */
#pragma once

#include <sys/uio.h>

#include "common/base.h"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;

#define TRANSPORT_RECORD_BYTES_MAX 16384 /* sent through TLS at a time */

typedef struct Transport {
    SSL *tls; /* NULL: plain */
    int fd;
    bool wants_write; /* reading goes on when the socket can be written */
} Transport;

typedef enum TransportResult {
    TRANSPORT_OK,
    TRANSPORT_AGAIN, /* when the socket is ready */
    TRANSPORT_END,   /* the other side will send no more */
    TRANSPORT_BROKEN,
} TransportResult;

/* TLS with a socket that was just accepted; never NULL. */
SSL *transport_tls_new(SSL_CTX *context, int fd);

/* The socket and the TLS are the transport's from now on. */
void transport_init(Transport *transport, int fd, SSL *tls);
/* Says goodbye, unless the other side must see a cut, and closes. */
void transport_close(Transport *transport, bool cut);

/* Until OK nothing else is legal but transport_close.  When it is BROKEN, *out_reason says why;
 * static text. */
TransportResult transport_handshake(Transport *transport, const char **out_reason);

/* *out_n is set with OK alone, and then above 0. */
TransportResult transport_receive(Transport *transport, char *room, size_t size, size_t *out_n);
/* Bytes are there that the socket does not show as readable. */
bool transport_has_more(const Transport *transport);
/* Takes from the socket without looking: for what nobody will read. */
TransportResult transport_drop(Transport *transport, char *room, size_t size, size_t *out_n);

/* What was offered first and not taken must be offered first again, with no less behind it. */
TransportResult transport_send(Transport *transport, const struct iovec *vectors, size_t count,
                               size_t *out_n);
/* Nothing more will be sent.  AGAIN: call again when the socket can be written. */
TransportResult transport_end(Transport *transport);
