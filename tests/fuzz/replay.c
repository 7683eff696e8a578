/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/replay.c -- a main for fuzz targets in builds without libFuzzer.
 *
 * usage: replay_<name> FOLDER...
 * Runs the target on each file of the folders, so that what a fuzzer once found stays mended.  A
 * folder that is not there has no files; no file at all is a failure.
 */
#include "common/mem.h"

#include <dirent.h>
#include <errno.h>

#define INPUT_BYTES_MAX (1u << 20)
#define PATH_BYTES_MAX  4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
run_file(const char *path)
{
    uint8_t *whole = mem_alloc(INPUT_BYTES_MAX + 1);
    FILE *file = fopen(path, "rb");
    bool ok = false;

    if (file == NULL) {
        goto done;
    }
    size_t size = fread(whole, 1, INPUT_BYTES_MAX + 1, file);
    ok = ferror(file) == 0 && size <= INPUT_BYTES_MAX;
    if (ok) {
        /* Exactly as large as the input: a sanitizer sees one byte too far. */
        uint8_t *input = mem_alloc(DS_MAX(size, (size_t)1));

        memcpy(input, whole, size);
        (void)LLVMFuzzerTestOneInput(input, size);
        free(input);
    }

done:
    if (!ok) {
        (void)fprintf(stderr, "replay: cannot read %s whole\n", path);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    free(whole);
    return ok;
}

/* The number of files run, or -1. */
static int
run_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;

    if (dir == NULL) {
        return errno == ENOENT ? 0 : -1;
    }
    for (struct dirent *entry; count >= 0 && (entry = readdir(dir)) != NULL;) {
        char path[PATH_BYTES_MAX];

        if (entry->d_name[0] == '.') {
            continue;
        }
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        /* The last line before a crash says which input it was. */
        (void)printf("%s\n", path);
        (void)fflush(stdout);
        count = length < (int)sizeof(path) && run_file(path) ? count + 1 : -1;
    }
    (void)closedir(dir);
    return count;
}

int
main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = run_folder(argv[i]);

        if (count < 0) {
            (void)fprintf(stderr, "replay: failed in %s\n", argv[i]);
            return EXIT_FAILURE;
        }
        total += count;
    }
    (void)printf("%d inputs\n", total);
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
