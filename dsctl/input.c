/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/input.h"

#include <errno.h>

FILE *
input_open(const char *path, Error *err)
{
    if (path == NULL || strcmp(path, "-") == 0) {
        return stdin;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(err, ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    }
    return file;
}

void
input_close(FILE *file)
{
    if (file != NULL && file != stdin) {
        (void)fclose(file);
    }
}

bool
input_read(FILE *file, Buf *out, Error *err)
{
    char chunk[65536];
    size_t n = 0;

    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        if (!buf_append(out, str_n(chunk, n), err)) {
            return false;
        }
    }
    return ferror(file) == 0 ||
           error_set(err, ERR_CONFIG, "cannot read the input: %s", strerror(errno));
}
