/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a unit test's own, removed with all that is in it. */
#pragma once

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base.h"

#define TEMP_DIR_BYTES  32
#define TEMP_PATH_BYTES 128

static inline void
temp_dir_make(char out[TEMP_DIR_BYTES])
{
    (void)snprintf(out, TEMP_DIR_BYTES, "/tmp/ds-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(out));
}

static inline int
temp_dir_unlink(const char *path, const struct stat *info DS_UNUSED, int type DS_UNUSED,
                struct FTW *walk DS_UNUSED)
{
    return remove(path);
}

static inline void
temp_dir_remove(const char *path)
{
    cr_expect_eq(nftw(path, temp_dir_unlink, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void
temp_dir_path(const char *dir, const char *name, char out[TEMP_PATH_BYTES])
{
    (void)snprintf(out, TEMP_PATH_BYTES, "%s/%s", dir, name);
}
