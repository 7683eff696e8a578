/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_out.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Source {
    HttpHold hold;
    int released;
} Source;

static void
on_release(HttpHold *hold)
{
    DS_CONTAINER_OF(hold, Source, hold)->released++;
}

typedef struct Pair {
    HttpOut out;
    Transport transport;
    int ours;
    int theirs;
    Source source;
} Pair;

static void
pair_init(Pair *pair)
{
    int fds[2];
    int small = 4096;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    pair->ours = fds[0];
    transport_init(&pair->transport, fds[0], NULL);
    pair->theirs = fds[1];
    pair->source.released = 0;
    http_hold_init(&pair->source.hold, on_release);
    http_out_init(&pair->out);
}

static void
pair_done(Pair *pair)
{
    http_out_done(&pair->out);
    http_hold_drop(&pair->source.hold);
    cr_expect_eq(pair->source.released, 1, "every reference must have been dropped");
    close(pair->ours);
    close(pair->theirs);
}

static void
put_held(Pair *pair, Str bytes)
{
    http_out_piece(&pair->out, &(HttpPiece){.bytes = bytes, .hold = &pair->source.hold});
}

/* Sends and receives in turns until all is through; what came is appended to `got`. */
static void
pump(Pair *pair, Buf *got)
{
    HttpOutResult result;
    uint64_t sent = 0;
    Error err;

    do {
        char room[1500];
        ssize_t n;

        result = http_out_send(&pair->out, &pair->transport, &sent);
        cr_assert_neq(result, HTTP_OUT_BROKEN);
        while ((n = recv(pair->theirs, room, sizeof(room), 0)) > 0) {
            cr_assert(buf_append(got, str_n(room, (size_t)n), &err));
        }
    } while (result != HTTP_OUT_EMPTY);
    cr_expect_eq(sent, got->len);
}

static char large[300000];

static void
make_large(void)
{
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (char)('a' + i % 23);
    }
}

Test(http_out, copied_and_held_bytes_leave_in_order_through_a_small_socket)
{
    Pair pair;
    Buf got, want;
    Error err;

    make_large();
    pair_init(&pair);
    buf_init(&got, 1 << 24);
    buf_init(&want, 1 << 24);
    for (int i = 0; i < 200; i++) {
        Str small = str_n(large + i, (size_t)(i * 7 % 600));
        Str held = str_n(large + i * 3, (size_t)(i * 997 % 20000));

        http_out_copy(&pair.out, small);
        put_held(&pair, held);
        cr_assert(buf_append(&want, small, &err) && buf_append(&want, held, &err));
    }
    cr_expect_eq(pair.out.bytes, want.len);
    pump(&pair, &got);
    cr_expect(str_eq(buf_str(&got), buf_str(&want)));
    buf_done(&got);
    buf_done(&want);
    pair_done(&pair);
}

Test(http_out, bytes_may_be_added_while_others_are_half_sent)
{
    Pair pair;
    Buf got, want;
    Error err;
    uint64_t sent = 0;

    make_large();
    pair_init(&pair);
    buf_init(&got, 1 << 24);
    buf_init(&want, 1 << 24);
    for (int i = 0; i < 300; i++) {
        Str bytes = str_n(large + i, 3000);
        char room[2500];

        http_out_copy(&pair.out, bytes);
        cr_assert(buf_append(&want, bytes, &err));
        (void)http_out_send(&pair.out, &pair.transport, &sent);
        ssize_t n = recv(pair.theirs, room, sizeof(room), 0);
        if (n > 0) {
            cr_assert(buf_append(&got, str_n(room, (size_t)n), &err));
        }
    }
    sent = 0;
    while (http_out_send(&pair.out, &pair.transport, &sent) != HTTP_OUT_EMPTY) {
        char room[2500];
        ssize_t n = recv(pair.theirs, room, sizeof(room), 0);

        cr_assert_gt(n, 0);
        cr_assert(buf_append(&got, str_n(room, (size_t)n), &err));
    }
    char rest[4096];
    for (ssize_t n; (n = recv(pair.theirs, rest, sizeof(rest), 0)) > 0;) {
        cr_assert(buf_append(&got, str_n(rest, (size_t)n), &err));
    }
    cr_expect(str_eq(buf_str(&got), buf_str(&want)));
    buf_done(&got);
    buf_done(&want);
    pair_done(&pair);
}

Test(http_out, a_copy_larger_than_the_shared_memory_gets_its_own)
{
    Pair pair;
    Buf got;

    make_large();
    pair_init(&pair);
    buf_init(&got, 1 << 24);
    http_out_copy(&pair.out, STR("head"));
    http_out_copy(&pair.out, str_n(large, sizeof(large)));
    http_out_copy(&pair.out, STR("tail"));
    pump(&pair, &got);
    cr_expect_eq(got.len, sizeof(large) + 8);
    cr_expect_eq(memcmp(got.data + 4, large, sizeof(large)), 0);
    cr_expect(str_ends(buf_str(&got), STR("tail")));
    buf_done(&got);
    pair_done(&pair);
}

Test(http_out, empty_it_owns_no_memory)
{
    Pair pair;
    Buf got;

    pair_init(&pair);
    buf_init(&got, 1 << 20);
    http_out_copy(&pair.out, STR("something"));
    put_held(&pair, STR_EMPTY);
    pump(&pair, &got);
    cr_expect_null(pair.out.segments);
    cr_expect_null(pair.out.copied.data);
    cr_expect_eq(pair.out.bytes, 0);
    buf_done(&got);
    pair_done(&pair);
}

Test(http_out, a_reader_that_is_gone_is_reported)
{
    Pair pair;
    uint64_t sent = 0;

    pair_init(&pair);
    cr_assert_eq(shutdown(pair.theirs, SHUT_RDWR), 0);
    put_held(&pair, STR("lost"));
    cr_expect_eq(http_out_send(&pair.out, &pair.transport, &sent), HTTP_OUT_BROKEN);
    pair_done(&pair);
}
