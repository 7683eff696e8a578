/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/file_io.h -- reading, writing and syncing files whole: interrupted and partial calls go
 * on.
 *
 * Errors: no room (ENOSPC, EDQUOT, EFBIG) before anything was written is ERR_FULL, no such file
 * ERR_NOT_FOUND; everything else is ERR_FATAL, because nobody knows what the disk holds then. Texts
 * name the path.
 */
#pragma once

#include <sys/uio.h>

#include "common/error.h"
#include "common/str.h"

/* From errno; `what` is a verb.  False. */
bool file_error(Error *err, const char *what, const char *path);

/* All of it at offset.  The array is used up.  ERR_FULL also after a part was written when
 * partial_is_full: for bytes that do not count until something else says so. */
DS_MUST_CHECK bool file_write_at(int fd, struct iovec *parts, size_t count, uint64_t offset,
                                 bool partial_is_full, const char *path, Error *err);
/* Up to the end of the file; *out_len tells how much there was. */
DS_MUST_CHECK bool file_read_at(int fd, char *out, size_t len, uint64_t offset, size_t *out_len,
                                const char *path, Error *err);
DS_MUST_CHECK bool file_size(int fd, uint64_t *out, const char *path, Error *err);
DS_MUST_CHECK bool file_sync(int fd, const char *path, Error *err); /* fdatasync */

/* The names in a folder: after a file was made, renamed or removed. */
DS_MUST_CHECK bool file_sync_dir(const char *path, Error *err);
/* The names in the folder that holds the path. */
DS_MUST_CHECK bool file_sync_parent(const char *path, Error *err);
/* mkdir if it is not there, and its name made durable then. */
DS_MUST_CHECK bool file_make_dir(const char *path, Error *err);
/* rename, made durable. */
DS_MUST_CHECK bool file_rename(const char *from, const char *to, Error *err);
