/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/secret.h -- a text that must not reach a log, an error, argv or a table.
 *
 * It is a struct, so no printf path takes it; secret_reveal is the one way out and is easy to grep.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

typedef struct Secret {
    char *text; /* NULL when unset; do not touch outside secret.c */
} Secret;

#define SECRET_FILE_BYTES_MAX 65536

void secret_set(Secret *secret, Str text);
void secret_done(Secret *secret); /* wipes, then frees */
bool secret_is_set(const Secret *secret);
const char *secret_reveal(const Secret *secret); /* borrowed; "" when unset */
/* The file's content without trailing newlines.  ERR_CONFIG names the file, never the content. */
DS_MUST_CHECK bool secret_read_file(Secret *secret, const char *path, Error *err);
/* Overwrites it with '*' wherever it stands in what somebody else said. */
void secret_mask(const Secret *secret, char *text, size_t len);
/* A connection string or URL with its password replaced by "***"; free() it. */
char *secret_redact_url(Str url);
