/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load_create.c -- makes the streams that the other kinds use, on a few connections.
 *
 * create PORT STREAMS CONTENT_TYPE
 *
 * Bursts of requests on each connection would be faster, but not every server answers those in
 * order; several connections keep a server busy whose appends wait for a disk.
 */
#include <pthread.h>
#include <unistd.h>

#include "bench/load.h"

#define CREATORS 16

typedef struct Creator {
    pthread_t thread;
    int port;
    uint64_t first;
    uint64_t streams;
    const char *content_type;
} Creator;

static void *
create_share(void *arg)
{
    const Creator *creator = arg;
    int fd = load_connect(creator->port);

    for (uint64_t i = creator->first; i < creator->streams; i += CREATORS) {
        load_create(fd, creator->port, i, creator->content_type);
    }
    (void)close(fd);
    return NULL;
}

int
load_run_create(int argc, char **argv)
{
    Creator creators[CREATORS];

    if (argc != 3) {
        (void)fprintf(stderr, "usage: bench-load create PORT STREAMS CONTENT_TYPE\n");
        return 2;
    }
    for (uint64_t i = 0; i < CREATORS; i++) {
        creators[i] = (Creator){
            .port = (int)load_number(argv[0], 1, 65535, "PORT"),
            .first = i,
            .streams = load_number(argv[1], 1, LOAD_STREAMS_MAX, "STREAMS"),
            .content_type = argv[2],
        };
        DS_ASSERT(pthread_create(&creators[i].thread, NULL, create_share, &creators[i]) == 0);
    }
    for (size_t i = 0; i < CREATORS; i++) {
        DS_ASSERT(pthread_join(creators[i].thread, NULL) == 0);
    }
    (void)printf("{\"streams\": %s}\n", argv[1]);
    return 0;
}
