/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/http_peer.h -- an HTTP server for tests that does what a script says, and a client
 * side that keeps what came.
 *
 * Each connection gets a thread of its own that runs the test's handler; peer_stop joins them all.
 * Blocking sockets and no parser: a handler sends exactly the bytes it wants, sliced, stalled or
 * cut.
 */
#pragma once

#include "common/http_client.h"

#define PEER_CONNECTIONS_MAX 64

typedef struct Peer Peer;

/* The connection closes when this returns. */
typedef void (*PeerFn)(Peer *peer, int fd, int index);

struct Peer {
    PeerFn handler;
    int listener;
    int port;
    int connections;     /* so far; read it after peer_stop, or when nothing runs */
    char request[65536]; /* the last one read by peer_read; terminated */
    void *thread_state;
};

void peer_start(Peer *peer, PeerFn handler);
void peer_stop(Peer *peer); /* ends holds, waits for all handlers */

/* One request, with its body by Content-Length, into peer->request; false at the end. */
bool peer_read(Peer *peer, int fd);
void peer_send(int fd, Str bytes); /* ignores a client that left */
void peer_send_slices(int fd, Str bytes, size_t slice);
void peer_hold(Peer *peer, int fd); /* blocks until the client leaves or peer_release, peer_stop */
void peer_release(Peer *peer);

/* What a transfer brought.  The trace has 'h' for a head, 'b' for body bytes, 'd' for done. */
typedef struct Outcome {
    Loop *loop;
    HttpClient *client;
    HttpTransfer *transfer;
    char trace[64]; /* equal letters in a row are kept once */
    int status;
    char content_type[64];
    Buf body;
    HttpResult result;
    int done;
    /* What to do in the first callback of that letter; NULL: nothing. */
    void (*on_first)(struct Outcome *outcome, char letter);
} Outcome;

extern const HttpCallbacks outcome_callbacks;

void outcome_init(Outcome *outcome, const Secret *bearer);
void outcome_done(Outcome *outcome); /* frees client (if still there) and loop */
/* request->url is a path here; the peer's address is put before it. */
void outcome_start(Outcome *outcome, const Peer *peer, HttpRequest request);
void outcome_wait(Outcome *outcome); /* until on_done */
void outcome_run_ms(Outcome *outcome, int64_t ms);
