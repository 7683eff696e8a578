/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/emit.h -- a stream's content on stdout, message by message.
 *
 *   raw     the bytes as they are; of a JSON stream one message a line
 *   ndjson  {"offset":"...","data":...} a line; offset is where to resume behind this line and
 * stands only on the last line of what the server sent together; bytes that are no text come as
 *           "base64" instead of "data"
 *   json    one array of all messages, JSON streams only
 *
 * Messages of a JSON stream stay as their producer wrote them, except that line breaks between
 * tokens become spaces.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"

typedef enum EmitForm { EMIT_RAW, EMIT_NDJSON, EMIT_JSON } EmitForm;

extern const char *const emit_form_names[]; /* in the order of EmitForm, for OPT_CHOICE */

typedef struct Emit {
    EmitForm form;
    bool is_json;        /* the content is JSON: each batch an array of messages */
    uint64_t count_left; /* messages still wanted; UINT64_MAX for all */
    uint64_t count;      /* lines or messages written */
} Emit;

/* "application/json; charset=utf-8" is JSON. */
bool emit_is_json(Str content_type);

/* ERR_CONFIG when the form does not suit the content. */
DS_MUST_CHECK bool emit_begin(Emit *emit, Error *err);
/* What came together, and where to resume behind it ("" when not known). */
DS_MUST_CHECK bool emit_batch(Emit *emit, Str content, Str offset, Error *err);
DS_MUST_CHECK bool emit_end(Emit *emit, Error *err);
