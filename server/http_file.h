/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_file.h -- sends pieces of files from where the kernel keeps them.
 *
 * Only what is in the page cache is sent; the rest has to be brought there first, on a thread that
 * may wait for a disk.  A TLS connection reads them first, as it must encrypt
 * them.
 */
#pragma once

#include "server/http.h"

#define HTTP_FILE_WINDOW_BYTES 262144 /* looked at, and sent or brought, at a time */

typedef enum HttpFileResult {
    HTTP_FILE_SENT, /* *out_n, above 0 */
    HTTP_FILE_BLOCKED,
    HTTP_FILE_COLD, /* the next window is not in memory as a whole: http_file_warm */
    HTTP_FILE_BROKEN,
} HttpFileResult;

/* Of one window at most. */
HttpFileResult http_file_send(const HttpFile *file, uint64_t offset, size_t len, int socket,
                              size_t *out_n);

/* The whole piece into room, for who has to look at it; SENT when it is there.  At most one window.
 */
HttpFileResult http_file_read(const HttpFile *file, uint64_t offset, char *room, size_t len);

/* Brings the window at the offset into the page cache; waits for the disk.  Any thread.  False: it
 * cannot be read as far as that. */
DS_MUST_CHECK bool http_file_warm(const HttpFile *file, uint64_t offset, size_t len);
