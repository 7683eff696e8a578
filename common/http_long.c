/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_long.c -- long reads over plain HTTP: libcurl connects, asks and reads the head, then
 * the connection becomes ours and all that libcurl held for it is freed.
 *
 * Ten thousand quiet SSE reads are ten thousand sockets and little else this way.  It begins with
 * the first bytes of the body, though it is paused: libcurl hands them over undecoded and then has
 * nothing in its buffers.  What libcurl keeps it walks over for each request, so a thousand reads
 * that wait for their turn would make each of them dearer.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http_client_internal.h"
#include "common/mem.h"
#include "common/parse.h"

#define LONG_READS_MAX (HTTP_TURN_BYTES_MAX / HTTP_READ_BYTES_MAX) /* in a turn of the loop */

typedef enum BodyVerdict { BODY_MORE, BODY_DONE, BODY_BAD, BODY_CANCELLED } BodyVerdict;

void
http_long_init(HttpTransfer *transfer, const HttpRequest *request)
{
    transfer->read.fd = -1;
    buf_init(&transfer->read.held, CURL_MAX_WRITE_SIZE);
    transfer->read.wanted = request->is_long && !transfer->client->has_proxy &&
                            str_starts_nocase(str_c(request->url), STR("http://"));
}

void
http_long_head(HttpTransfer *transfer, const HttpHead *head)
{
    HttpLong *read = &transfer->read;
    long version = CURL_HTTP_VERSION_NONE;
    Str value;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
    if (!read->wanted || head->status != 200 || version != CURL_HTTP_VERSION_1_1) {
        return;
    }
    if (http_head_get(head, "Transfer-Encoding", &value)) {
        read->framing = HTTP_FRAMING_CHUNKS;
        read->raw = str_eq_nocase(value, STR("chunked"));
    } else if (http_head_get(head, "Content-Length", &value)) {
        read->framing = HTTP_FRAMING_LENGTH;
        read->raw = parse_u64(value, INT64_MAX, &read->left);
    } else {
        read->framing = HTTP_FRAMING_CLOSE;
        read->raw = true;
    }
    if (read->raw) {
        (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTP_TRANSFER_DECODING, 0L);
    }
}

/* False when the callback cancelled the transfer. */
static bool
body_tell(HttpTransfer *transfer, Str bytes)
{
    if (bytes.len > 0 && transfer->callbacks.on_body != NULL) {
        transfer->callbacks.on_body(transfer->arg, bytes);
    }
    return transfer->state == HTTP_TRANSFER_ACTIVE;
}

static BodyVerdict
chunks_feed(HttpTransfer *transfer, Str bytes)
{
    while (true) {
        HttpParseFault fault;
        Str data;
        Error err;

        switch (http_chunks_next(&transfer->read.chunks, &bytes, &data, &fault)) {
        case HTTP_PARSE_MORE:
            return BODY_MORE;
        case HTTP_PARSE_DONE:
            return BODY_DONE;
        case HTTP_PARSE_BAD:
            (void)error_set(&err, ERR_RETRY, "chunked body: %s", fault.text);
            http_transfer_fail(transfer, &err);
            return BODY_BAD;
        case HTTP_PARSE_DATA:
            if (!body_tell(transfer, data)) {
                return BODY_CANCELLED;
            }
            break;
        }
    }
}

static BodyVerdict
body_feed(HttpTransfer *transfer, Str bytes)
{
    HttpLong *read = &transfer->read;

    if (read->framing == HTTP_FRAMING_CHUNKS) {
        return chunks_feed(transfer, bytes);
    }
    if (read->framing == HTTP_FRAMING_LENGTH) {
        bytes = str_head(bytes, (size_t)DS_MIN((uint64_t)bytes.len, read->left));
        read->left -= bytes.len;
    }
    if (!body_tell(transfer, bytes)) {
        return BODY_CANCELLED;
    }
    return read->framing == HTTP_FRAMING_LENGTH && read->left == 0 ? BODY_DONE : BODY_MORE;
}

/* --- the connection is ours --- */

static void
long_fail(HttpTransfer *transfer, const char *what, const char *why)
{
    Error err;

    (void)error_set(&err, ERR_RETRY, "%s%s", what, why);
    http_transfer_fail(transfer, &err);
    http_transfer_finish(transfer, CURLE_RECV_ERROR);
}

/* False when it is over. */
static bool
long_take(HttpTransfer *transfer, Str bytes)
{
    switch (body_feed(transfer, bytes)) {
    case BODY_MORE:
        return true;
    case BODY_DONE:
        http_transfer_finish(transfer, CURLE_OK);
        return false;
    case BODY_BAD:
        http_transfer_finish(transfer, CURLE_RECV_ERROR);
        return false;
    case BODY_CANCELLED:
        return false;
    }
    DS_UNREACHABLE("no such verdict");
}

/* False when there is nothing more to do in this turn. */
static bool
long_read(HttpTransfer *transfer)
{
    char *buffer = transfer->client->long_buffer;
    ssize_t count = recv(transfer->read.fd, buffer, HTTP_READ_BYTES_MAX, MSG_DONTWAIT);

    if (count < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            long_fail(transfer, "Recv failure: ", strerror(errno));
        }
        return false;
    }
    if (count == 0) {
        if (transfer->read.framing == HTTP_FRAMING_CLOSE) {
            http_transfer_finish(transfer, CURLE_OK);
        } else {
            long_fail(transfer, "transfer closed with outstanding read data remaining", "");
        }
        return false;
    }
    transfer->last_byte_ms = loop_now_ms(transfer->client->loop);
    return long_take(transfer, str_n(buffer, (size_t)count)) && count == HTTP_READ_BYTES_MAX &&
           !transfer->paused;
}

static void
on_long_event(void *arg, unsigned events DS_UNUSED)
{
    HttpTransfer *transfer = arg;

    if (transfer->state == HTTP_TRANSFER_ACTIVE && !transfer->paused) {
        for (int reads = 0; reads < LONG_READS_MAX && long_read(transfer); reads++) {
        }
    }
}

/* Takes the connection, and lets libcurl forget the transfer. */
static void
on_adopt(void *arg)
{
    HttpTransfer *transfer = arg;
    HttpClient *client = transfer->client;

    if (transfer->state != HTTP_TRANSFER_ACTIVE) {
        return; /* ended meanwhile */
    }
    /* The connection of a transfer that is not over cannot serve another: it is closed first of
     * all. Which one it is libcurl does not say before, for an answer that is there at once is read
     * without asking to watch the socket. */
    client->kept_fd = -1;
    client->keeps = true;
    client->in_curl++;
    (void)curl_multi_remove_handle(client->multi, transfer->easy);
    client->in_curl--;
    client->keeps = false;
    transfer->in_multi = false;
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
    http_headers_free(transfer->headers);
    transfer->headers = NULL;
    if (client->kept_fd < 0) {
        long_fail(transfer, "libcurl closed the connection", "");
        return;
    }
    if (client->long_buffer == NULL) {
        client->long_buffer = mem_alloc(HTTP_READ_BYTES_MAX);
    }
    transfer->curl_paused = false;
    transfer->read.fd = client->kept_fd;
    transfer->read.watch = fd_new(client->loop, transfer->read.fd, on_long_event, transfer);
    http_long_pause(transfer);
}

/* The bytes are ours: libcurl just must not read any more. */
static size_t
adopt(HttpTransfer *transfer)
{
    transfer->read.adopting = true;
    loop_defer(transfer->client->loop, on_adopt, transfer);
    return CURL_WRITEFUNC_PAUSE;
}

size_t
http_long_first(HttpTransfer *transfer, Str bytes)
{
    Error err;

    DS_ASSERT(!transfer->read.adopting); /* libcurl was told to pause: these would be lost */
    if (transfer->paused) {
        bool held = buf_append(&transfer->read.held, bytes, &err);

        DS_ASSERT(held); /* libcurl promises that there are no more */
        return adopt(transfer);
    }
    switch (body_feed(transfer, bytes)) {
    case BODY_DONE:
        return bytes.len; /* libcurl sees that, too */
    case BODY_MORE:
        return adopt(transfer);
    case BODY_BAD:
    case BODY_CANCELLED:
        break;
    }
    return 0;
}

/* Tells what came while it was paused. */
static void
on_held(void *arg)
{
    HttpTransfer *transfer = arg;
    Buf held = transfer->read.held;

    if (transfer->state != HTTP_TRANSFER_ACTIVE || transfer->paused || held.len == 0) {
        return; /* ended or paused meanwhile, or told already */
    }
    buf_init(&transfer->read.held, held.max);
    if (long_take(transfer, buf_str(&held))) {
        http_long_pause(transfer);
    }
    buf_done(&held);
}

void
http_long_pause(HttpTransfer *transfer)
{
    bool holds = transfer->read.held.len > 0;

    if (transfer->read.watch == NULL) {
        return;
    }
    fd_watch(transfer->read.watch, transfer->paused || holds ? 0 : LOOP_READABLE);
    if (!transfer->paused && holds) {
        loop_defer(transfer->client->loop, on_held, transfer);
    }
}

void
http_long_done(HttpTransfer *transfer)
{
    if (transfer->easy == NULL && transfer->read.fd >= 0) {
        fd_free(transfer->read.watch);
        (void)close(transfer->read.fd);
    }
    buf_done(&transfer->read.held);
}
