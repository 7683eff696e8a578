/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load.h -- what the kinds of load share: connections, answers, latencies, marks for the
 * driver.
 *
 * Everything here ends the program when the load cannot go on as it was asked for: the numbers
 * would mean nothing.  One thread; loopback only.
 */
#pragma once

#include <sys/epoll.h>

#include "common/buf.h"

#define LOAD_CONNECTIONS_MAX 20000
#define LOAD_STREAMS_MAX     1000000
#define LOAD_NAME_DIGITS     7 /* streams are /v1/stream/bench-0000000 and up */
#define LOAD_PATH            "/v1/stream/bench-"
#define LOAD_EVENTS_PER_TURN 512
#define LOAD_SECONDS_MAX     600

DS_NORETURN void load_die(const char *what);
uint64_t load_number(const char *text, uint64_t min, uint64_t max, const char *what);

/* A connected socket, without delays; blocking, as long as nobody passes MSG_DONTWAIT. */
int load_connect(int port);
void load_watch(int epoll, int operation, int fd, void *ptr, uint32_t events);
void load_send_all(int fd, Str bytes);

/* The head of an answer that lies at the front of `bytes`; false when it is not whole yet. */
typedef struct LoadAnswer {
    int status;
    size_t head_bytes;
    uint64_t body_bytes; /* Content-Length, or 0 */
    Str next_offset;     /* borrowed; empty when the answer has none */
    bool up_to_date;
} LoadAnswer;
bool load_answer(Str bytes, LoadAnswer *out);
bool load_head(Str bytes, LoadAnswer *out); /* of any message: the status is not looked at */

/* PUT of one stream, on a blocking connection; ends the program unless it is created or there. */
void load_create(int fd, int port, uint64_t stream, const char *content_type);

/* Latencies, in steps of an eighth of their size. */
#define LOAD_LATENCY_STEPS 512
typedef struct LoadLatencies {
    uint64_t steps[LOAD_LATENCY_STEPS];
    uint64_t count;
} LoadLatencies;
void load_latency_add(LoadLatencies *latencies, int64_t ns);
double load_latency_ms(const LoadLatencies *latencies, double share); /* 0.99: the p99 */

/* A line on stdout, "begin" or "end"; goes on when the driver has answered with a line on stdin:
 * meanwhile it reads what the server used so far. */
void load_mark(const char *what);

/* The kinds: arguments behind the name of the kind. */
int load_run_create(int argc, char **argv);
int load_run_append(int argc, char **argv);
int load_run_read(int argc, char **argv);
int load_run_subscribe(int argc, char **argv);
