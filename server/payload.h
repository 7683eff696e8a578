/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/payload.h -- a request body as it will be stored: cut into messages.
 *
 * JSON (protocol 9.1): the whole body is validated first, one array level is flattened, each
 * message keeps the bytes it came with and gets a comma behind it.  Anything else is one message.
 */
#pragma once

#include "common/error.h"
#include "server/chunk_log.h"

#define PAYLOAD_BYTES_INLINE 512 /* a body below this needs no allocation */
#define PAYLOAD_ENDS_INLINE  8

typedef struct Payload {
    LogPayload view; /* borrows from this struct, or from the body; the struct must not move */
    char *bytes;
    uint32_t *ends;
    size_t ends_cap;
    char bytes_inline[PAYLOAD_BYTES_INLINE];
    uint32_t ends_inline[PAYLOAD_ENDS_INLINE];
} Payload;

void payload_init(Payload *payload); /* no message */
void payload_done(Payload *payload);

/* The body must live as long as the payload.  An empty one is no message. */
void payload_set_bytes(Payload *payload, Str body);
/* ERR_INPUT: the body is not JSON; ERR_LIMIT: an array of its messages would be nested deeper than
 * JSON_DEPTH_MAX.  An empty array is no message. */
DS_MUST_CHECK bool payload_set_json(Payload *payload, Str body, Error *err);
