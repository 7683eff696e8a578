/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void
loader_die(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

void
loader_read_file(const char *path, Buf *out)
{
    FILE *file = fopen(path, "rb");
    Error err;
    char *room;
    size_t got;

    if (file == NULL) {
        loader_die("cannot read the file of what is to be loaded");
    }
    buf_init(out, LOADER_FILE_BYTES_MAX);
    do {
        if (!buf_reserve(out, 1u << 20, &room, &err)) {
            loader_die(err.text);
        }
        got = fread(room, 1, 1u << 20, file);
        buf_commit(out, got);
    } while (got > 0);
    (void)fclose(file);
}
