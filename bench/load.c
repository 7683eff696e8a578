/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load.c -- load for an HTTP server, of one kind or another; bench/run drives it.
 *
 * usage: bench-load create PORT STREAMS CONTENT_TYPE
 *        bench-load append PORT CONNECTIONS SECONDS BODY_BYTES STREAMS [producers]
 *        bench-load read PORT CONNECTIONS SECONDS PATH [offsets]
 *        bench-load subscribe PORT SUBSCRIBERS EVENTS_PER_SECOND SECONDS
 *
 * Each kind is a file of its own, which says what it does.  The last line is JSON.
 */
#include "bench/load.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} kinds[] = {
    {"create", load_run_create},
    {"append", load_run_append},
    {"read", load_run_read},
    {"subscribe", load_run_subscribe},
};

int
main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < DS_COUNT(kinds); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0) {
            return kinds[i].run(argc - 2, argv + 2);
        }
    }
    (void)fprintf(stderr,
                  "usage: bench-load create|append|read|subscribe ARGUMENTS (see load.c)\n");
    return 2;
}
