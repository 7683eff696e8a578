/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_file.h -- members of a JSON document that a person wrote, read strictly.
 *
 * Over jansson.  A member that is there is checked and taken; one that is absent leaves its output
 * untouched, so outputs hold the defaults beforehand.  Every ERR_INPUT names the member, says what
 * is legal, and the known word nearest to an unknown one.
 */
#pragma once

#include <jansson.h>

#include "common/error.h"
#include "common/str.h"

/* The document must be one object; repeated members are refused.  *out: json_decref it. */
DS_MUST_CHECK bool json_file_load(Str text, json_t **out, Error *err);

/* Whether a member of that name is one of `keys` (NULL-terminated). */
DS_MUST_CHECK bool json_file_key(const char *key, const char *const *keys, Error *err);
/* An object that has no other members than `keys`; the first other one is named. */
DS_MUST_CHECK bool json_file_keys(const json_t *object, const char *const *keys, Error *err);

/* Of 1 to bytes_max bytes without control characters; *out is replaced, free it. */
DS_MUST_CHECK bool json_file_text(const json_t *object, const char *key, size_t bytes_max,
                                  char **out, Error *err);
/* An array of such texts, 1 to count_max of them; *out is a heap array of heap texts. */
DS_MUST_CHECK bool json_file_texts(const json_t *object, const char *key, size_t count_max,
                                   size_t bytes_max, char ***out, size_t *out_count, Error *err);
/* Index into `words` (NULL-terminated). */
DS_MUST_CHECK bool json_file_choice(const json_t *object, const char *key, const char *const *words,
                                    unsigned *out, Error *err);
DS_MUST_CHECK bool json_file_flag(const json_t *object, const char *key, bool *out, Error *err);

void json_file_texts_free(char **texts, size_t count);
