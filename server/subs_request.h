/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_request.h -- the documents that clients send about subscriptions (protocol 6, 7).
 *
 * Pure: bytes in, a struct or an error out.  Unknown members are ignored, repeated ones refused.
 */
#pragma once

#include "server/name.h"
#include "server/subs_model.h"

#define SUBS_BODY_BYTES_MAX        ((size_t)256 * 1024)
#define SUBS_DESCRIPTION_BYTES_MAX 1024
#define SUBS_REQUEST_ITEMS_MAX     2000 /* streams, acks */

/* A Str with ptr NULL is an absent member; all borrow from kept. */
typedef struct SubsRequest {
    char *kept;
    struct json_t *document; /* while it is read */
    /* create */
    SubsType type;
    Str pattern;
    Str url;
    Str wake_stream;
    Str description;
    int64_t lease_ms;
    char hash[SUBS_HASH_SIZE]; /* of the normalised configuration */
    /* create, link: sorted, each once */
    Str *streams;
    size_t stream_count;
    /* claim */
    Str worker;
    /* callback, ack, release */
    Str wake_id;
    uint64_t generation;
    bool done;
    SubsAck *acks;
    size_t ack_count;
} SubsRequest;

typedef struct SubsRequestRules {
    const NameLimits *names;
    bool insecure_webhooks;
} SubsRequestRules;

/* On failure *out_code is the protocol's: INVALID_REQUEST or WEBHOOK_URL_REJECTED.  On success end
 * with subs_request_done. */
DS_MUST_CHECK bool subs_request_create(Str body, const SubsRequestRules *rules, SubsRequest *out,
                                       const char **out_code, Error *err);
DS_MUST_CHECK bool subs_request_streams(Str body, const SubsRequestRules *rules, SubsRequest *out,
                                        Error *err);
DS_MUST_CHECK bool subs_request_claim(Str body, SubsRequest *out, Error *err);
/* Callback, ack and release, which has no acks. */
DS_MUST_CHECK bool subs_request_ack(Str body, SubsRequest *out, Error *err);
void subs_request_done(SubsRequest *request);

/* What a webhook answered: {"done": true}.  Anything else is just an answer. */
bool subs_answer_is_done(Str body);
