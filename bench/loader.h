/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/loader.h -- what the bare libpq loaders have in common: they end at the first trouble, and
 * read their file before the clock starts.
 */
#pragma once

#include "common/buf.h"

#define LOADER_FILE_BYTES_MAX (1u << 30)

_Noreturn void loader_die(const char *what); /* to stderr, and exit status 1 */
/* The whole file, into a buffer that it begins. */
void loader_read_file(const char *path, Buf *out);
