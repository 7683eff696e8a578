/* SPDX-License-Identifier: Apache-2.0 */
#include "server/transport.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- TLS ---- */

SSL *
transport_tls_new(SSL_CTX *context, int fd)
{
    SSL *tls = SSL_new(context);

    DS_ASSERT(tls != NULL && SSL_set_fd(tls, fd) == 1); /* else no memory */
    SSL_set_accept_state(tls);
    return tls;
}

/* What a call of OpenSSL that did not succeed means. */
static TransportResult
judge(Transport *transport, int returned)
{
    switch (SSL_get_error(transport->tls, returned)) {
    case SSL_ERROR_WANT_READ:
        return TRANSPORT_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        transport->wants_write = true;
        return TRANSPORT_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return TRANSPORT_END;
    default:
        /* From now on OpenSSL sends nothing more, whoever asks it to. */
        SSL_set_shutdown(transport->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        return TRANSPORT_BROKEN;
    }
}

static TransportResult
receive_tls(Transport *transport, char *room, size_t size, size_t *out_n)
{
    size_t n = 0;

    ERR_clear_error();
    transport->wants_write = false;
    int returned = SSL_read_ex(transport->tls, room, size, &n);
    if (returned != 1) {
        return judge(transport, returned);
    }
    *out_n = n;
    return TRANSPORT_OK;
}

/* Small pieces share a record. */
static const void *
gather(const struct iovec *vectors, size_t count, char *room, size_t *out_length)
{
    size_t length = 0;

    if (count == 1 || vectors[0].iov_len >= TRANSPORT_RECORD_BYTES_MAX) {
        *out_length = DS_MIN(vectors[0].iov_len, (size_t)TRANSPORT_RECORD_BYTES_MAX);
        return vectors[0].iov_base;
    }
    for (size_t i = 0; i < count && length < TRANSPORT_RECORD_BYTES_MAX; i++) {
        size_t take = DS_MIN(vectors[i].iov_len, TRANSPORT_RECORD_BYTES_MAX - length);

        memcpy(room + length, vectors[i].iov_base, take);
        length += take;
    }
    *out_length = length;
    return room;
}

static TransportResult
send_tls(Transport *transport, const struct iovec *vectors, size_t count, size_t *out_n)
{
    char room[TRANSPORT_RECORD_BYTES_MAX];
    size_t length;
    const void *bytes = gather(vectors, count, room, &length);
    bool reading = transport->wants_write;
    size_t n = 0;

    ERR_clear_error();
    int returned = SSL_write_ex(transport->tls, bytes, length, &n);
    if (returned != 1) {
        TransportResult result = judge(transport, returned);

        transport->wants_write = reading; /* that is for reads; a writer knows what to wait for */
        return result;
    }
    *out_n = n;
    return TRANSPORT_OK;
}

/* ---- plain ---- */

static TransportResult
receive_plain(const Transport *transport, char *room, size_t size, size_t *out_n)
{
    ssize_t n;

    do {
        n = recv(transport->fd, room, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *out_n = (size_t)n;
        return TRANSPORT_OK;
    }
    if (n == 0) {
        return TRANSPORT_END;
    }
    return errno == EAGAIN ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

static TransportResult
send_plain(const Transport *transport, const struct iovec *vectors, size_t count, size_t *out_n)
{
    /* sendmsg does not write to it */
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vectors, .msg_iovlen = count};
    ssize_t n;

    do {
        n = count == 1 ? send(transport->fd, vectors[0].iov_base, vectors[0].iov_len,
                              MSG_NOSIGNAL | MSG_DONTWAIT)
                       : sendmsg(transport->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
    }
    *out_n = (size_t)n;
    return TRANSPORT_OK;
}

/* ---- both ---- */

void
transport_init(Transport *transport, int fd, SSL *tls)
{
    *transport = (Transport){.tls = tls, .fd = fd};
}

void
transport_close(Transport *transport, bool cut)
{
    if (transport->tls != NULL && !cut && !SSL_in_init(transport->tls) &&
        (SSL_get_shutdown(transport->tls) & SSL_SENT_SHUTDOWN) == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(transport->tls); /* as far as one write gets */
    }
    SSL_free(transport->tls);
    (void)close(transport->fd);
}

/* Somebody speaks plain HTTP to a TLS port: the one mistake that is worth an answer. */
static void
answer_plain_client(const Transport *transport)
{
    static const char reply[] = "HTTP/1.1 400 Bad Request\r\n"
                                "Content-Type: text/plain; charset=utf-8\r\n"
                                "Content-Length: 28\r\n"
                                "Connection: close\r\n\r\n"
                                "this port speaks https only\n";
    char dropped[4096];

    (void)send(transport->fd, reply, sizeof(reply) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(transport->fd, SHUT_WR);
    (void)recv(transport->fd, dropped, sizeof(dropped), MSG_DONTWAIT); /* else it is reset */
}

TransportResult
transport_handshake(Transport *transport, const char **out_reason)
{
    ERR_clear_error();
    transport->wants_write = false;
    int returned = SSL_do_handshake(transport->tls);
    if (returned == 1) {
        return TRANSPORT_OK;
    }
    TransportResult result = judge(transport, returned);
    if (result == TRANSPORT_AGAIN) {
        return result;
    }
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    *out_reason = reason != NULL ? reason : "the client left";
    if (code != 0 && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST) {
        answer_plain_client(transport);
    }
    return TRANSPORT_BROKEN;
}

TransportResult
transport_receive(Transport *transport, char *room, size_t size, size_t *out_n)
{
    return transport->tls != NULL ? receive_tls(transport, room, size, out_n)
                                  : receive_plain(transport, room, size, out_n);
}

bool
transport_has_more(const Transport *transport)
{
    return transport->tls != NULL && SSL_pending(transport->tls) > 0;
}

TransportResult
transport_drop(Transport *transport, char *room, size_t size, size_t *out_n)
{
    return receive_plain(transport, room, size, out_n);
}

TransportResult
transport_send(Transport *transport, const struct iovec *vectors, size_t count, size_t *out_n)
{
    return transport->tls != NULL ? send_tls(transport, vectors, count, out_n)
                                  : send_plain(transport, vectors, count, out_n);
}

TransportResult
transport_end(Transport *transport)
{
    if (transport->tls != NULL) {
        ERR_clear_error();
        int returned = SSL_shutdown(transport->tls);

        if (returned < 0 && SSL_get_error(transport->tls, returned) == SSL_ERROR_WANT_WRITE) {
            return TRANSPORT_AGAIN;
        }
    }
    (void)shutdown(transport->fd, SHUT_WR);
    return TRANSPORT_OK;
}
