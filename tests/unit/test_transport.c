/* SPDX-License-Identifier: Apache-2.0 */
/* Every test runs twice where both ways must do the same: plain, and through TLS. */
#include "server/transport.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>

#include "server/tls_context.h"
#include "tests/support/tls_files.h"

TestSuite(transport, .timeout = 60);

typedef struct Pair {
    Transport ours;
    SSL *theirs; /* NULL: plain */
    int theirs_fd;
    SSL_CTX *contexts[2];
} Pair;

/* Non-blocking on our side alone. */
static void
pair_init(Pair *pair, bool tls)
{
    int small = 4096;
    int fds[2];

    (void)signal(SIGPIPE, SIG_IGN);
    *pair = (Pair){0};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    pair->theirs_fd = fds[1];
    if (!tls) {
        transport_init(&pair->ours, fds[0], NULL);
        return;
    }
    TlsFiles files;
    Error err;
    tls_files_make(&files, 3600);
    TlsOptions options = {
        .cert_path = files.cert_path, .key_path = files.key_path, .version_max = TLS_VERSION_1_3};
    cr_assert(tls_context_new(&options, &pair->contexts[0], &err), "%s", err.text);
    tls_files_remove(&files);
    transport_init(&pair->ours, fds[0], transport_tls_new(pair->contexts[0], fds[0]));
    pair->contexts[1] = SSL_CTX_new(TLS_client_method());
    pair->theirs = SSL_new(pair->contexts[1]);
    cr_assert(SSL_set_fd(pair->theirs, fds[1]));
    SSL_set_connect_state(pair->theirs);
}

/* The client's side blocks only when ours has nothing more to say, so the two take turns. */
static void
shake_hands(Pair *pair)
{
    TransportResult result = TRANSPORT_AGAIN;
    const char *reason = "";
    int client = 0;

    if (pair->theirs == NULL) {
        return;
    }
    cr_assert_eq(fcntl(pair->theirs_fd, F_SETFL, O_NONBLOCK), 0);
    while (result == TRANSPORT_AGAIN || client != 1) {
        client = client == 1 ? 1 : SSL_do_handshake(pair->theirs);
        if (result == TRANSPORT_AGAIN) {
            result = transport_handshake(&pair->ours, &reason);
        }
        cr_assert_neq(result, TRANSPORT_BROKEN, "%s", reason);
    }
}

static void
pair_done(Pair *pair, bool cut)
{
    transport_close(&pair->ours, cut);
    SSL_free(pair->theirs);
    (void)close(pair->theirs_fd);
    SSL_CTX_free(pair->contexts[0]);
    SSL_CTX_free(pair->contexts[1]);
}

/* What came, 0 at a good end, -1 when nothing is there, -2 when it was cut. */
static ssize_t
client_read(Pair *pair, char *room, size_t size)
{
    if (pair->theirs == NULL) {
        return recv(pair->theirs_fd, room, size, MSG_DONTWAIT);
    }
    ERR_clear_error();
    int n = SSL_read(pair->theirs, room, (int)size);
    if (n > 0) {
        return n;
    }
    int error = SSL_get_error(pair->theirs, n);
    return error == SSL_ERROR_ZERO_RETURN ? 0 : error == SSL_ERROR_WANT_READ ? -1 : -2;
}

static void
client_write(Pair *pair, const char *bytes, size_t len)
{
    ssize_t n = pair->theirs == NULL ? send(pair->theirs_fd, bytes, len, 0)
                                     : SSL_write(pair->theirs, bytes, (int)len);

    cr_assert_eq(n, (ssize_t)len);
}

#define BIG_BYTES 100000

static char big[BIG_BYTES];
static char got[BIG_BYTES];

static void
fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)(i * 7 + i / 251);
    }
}

/* As http_out does: always everything that is left, in pieces. */
static size_t
vectors_from(size_t at, struct iovec *vectors, size_t count_max)
{
    static const size_t sizes[] = {1, 7, 300, 20000, 16384, 16383};
    size_t count = 0;
    size_t begin = 0;

    for (size_t i = 0; count < count_max && begin < sizeof(big); i++) {
        size_t end = DS_MIN(begin + sizes[i % DS_COUNT(sizes)], sizeof(big));

        if (end > at) {
            size_t from = DS_MAX(begin, at);

            vectors[count++] = (struct iovec){big + from, end - from};
        }
        begin = end;
    }
    return count;
}

static void
check_everything_arrives(bool tls)
{
    struct iovec vectors[8];
    size_t sent = 0;
    size_t came = 0;
    Pair pair;

    fill_big();
    pair_init(&pair, tls);
    shake_hands(&pair);
    while (came < sizeof(big)) {
        size_t n = 0;
        size_t count = vectors_from(sent, vectors, DS_COUNT(vectors));
        TransportResult result =
            count > 0 ? transport_send(&pair.ours, vectors, count, &n) : TRANSPORT_AGAIN;

        cr_assert_neq(result, TRANSPORT_BROKEN);
        sent += n;
        if (result == TRANSPORT_AGAIN) {
            ssize_t read = client_read(&pair, got + came, 1000);

            came += read > 0 ? (size_t)read : 0;
        }
    }
    cr_expect_eq(memcmp(big, got, sizeof(big)), 0);
    pair_done(&pair, false);
}

Test(transport, all_that_is_sent_arrives_however_often_the_socket_is_full)
{
    check_everything_arrives(false);
    check_everything_arrives(true);
}

Test(transport, what_is_read_in_small_pieces_is_not_forgotten)
{
    Pair pair;
    char room[10];
    size_t n = 0;

    pair_init(&pair, true);
    shake_hands(&pair);
    cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_AGAIN);
    client_write(&pair, "0123456789abcdefghij!", 21);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_OK);
        cr_expect_eq(n, sizeof(room));
        cr_expect(transport_has_more(&pair.ours));
    }
    cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_OK);
    cr_expect_eq(n, 1);
    cr_expect_eq(room[0], '!');
    cr_expect_not(transport_has_more(&pair.ours));
    pair_done(&pair, false);
}

static void
check_their_end(bool tls, bool goodbye)
{
    Pair pair;
    char room[10];
    size_t n = 0;

    pair_init(&pair, tls);
    shake_hands(&pair);
    client_write(&pair, "last", 4);
    if (goodbye) {
        cr_assert_eq(SSL_shutdown(pair.theirs), 0);
    } else {
        cr_assert_eq(shutdown(pair.theirs_fd, SHUT_WR), 0);
    }
    cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_OK);
    cr_expect_eq(n, 4);
    cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_END);
    /* We may still answer. */
    cr_expect_eq(transport_send(&pair.ours, &(struct iovec){(char *)"x", 1}, 1, &n), TRANSPORT_OK);
    pair_done(&pair, false);
}

Test(transport, a_client_that_sends_no_more_is_told_from_one_that_waits)
{
    check_their_end(false, false);
    check_their_end(true, false);
    check_their_end(true, true);
}

Test(transport, only_an_end_that_is_meant_looks_like_one)
{
    char room[16];
    Pair pair;

    for (int how = 0; how < 3; how++) {
        pair_init(&pair, true);
        shake_hands(&pair);
        if (how == 0) {
            cr_expect_eq(transport_end(&pair.ours), TRANSPORT_OK);
            cr_expect_eq(client_read(&pair, room, sizeof(room)), 0);
            pair_done(&pair, true);
            continue;
        }
        transport_close(&pair.ours, how == 2);
        cr_expect_eq(client_read(&pair, room, sizeof(room)), how == 1 ? 0 : -2);
        pair.ours = (Transport){.fd = -1};
        pair_done(&pair, true);
    }
}

Test(transport, bytes_that_are_no_record_break_the_connection)
{
    char room[16];
    size_t n = 0;
    Pair pair;

    pair_init(&pair, true);
    shake_hands(&pair);
    cr_assert_eq(send(pair.theirs_fd, "not a record", 12, 0), 12);
    cr_expect_eq(transport_receive(&pair.ours, room, sizeof(room), &n), TRANSPORT_BROKEN);
    pair_done(&pair, false);
}

Test(transport, a_handshake_that_fails_says_why)
{
    static const struct {
        const char *bytes;
        const char *reason;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "http request"},
        {"\x16\x03\x01\xff\xff", "packet length too long"},
        {"nonsense and more", "wrong version number"},
        {"", "the client left"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        const char *reason = NULL;
        Pair pair;

        pair_init(&pair, true);
        cr_expect_eq(transport_handshake(&pair.ours, &reason), TRANSPORT_AGAIN);
        cr_assert_geq(send(pair.theirs_fd, cases[i].bytes, strlen(cases[i].bytes), 0), 0);
        cr_assert_eq(shutdown(pair.theirs_fd, SHUT_WR), 0);
        cr_expect_eq(transport_handshake(&pair.ours, &reason), TRANSPORT_BROKEN);
        cr_expect_str_eq(reason, cases[i].reason);
        pair_done(&pair, false);
    }
}
