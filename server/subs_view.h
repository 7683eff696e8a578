/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_view.h -- subscriptions as clients and workers see them (protocol 6.3, 7).
 *
 * All append to a Buf of SUBS_VIEW_BYTES_MAX; ERR_LIMIT when that is not enough.  Pure.
 */
#pragma once

#include "common/buf.h"
#include "server/subs_model.h"

#define SUBS_VIEW_BYTES_MAX ((size_t)64 * 1024 * 1024)

typedef struct SubsPlace {
    Str origin;    /* "https://host" */
    Str base_path; /* "/v1/stream" */
    Str key_id;    /* of the key that signs webhooks */
} SubsPlace;

DS_MUST_CHECK bool subs_view_subscription(Subscription *subscription, const SubsPlace *place,
                                          Buf *out, Error *err);
/* The answer to a claim. */
DS_MUST_CHECK bool subs_view_claim(Subscription *subscription, Str token, Buf *out, Error *err);
/* What a webhook gets. */
DS_MUST_CHECK bool subs_view_notification(Subscription *subscription, const SubsPlace *place,
                                          Str token, Buf *out, Error *err);
/* The message on a wake stream. */
DS_MUST_CHECK bool subs_view_event(Subscription *subscription, int64_t now_ms, Buf *out,
                                   Error *err);
/* {"error": {"code", "message"}}; holder: NULL, or who holds the lease of that generation. */
DS_MUST_CHECK bool subs_view_error(const char *code, const char *message, const char *holder,
                                   uint64_t generation, Buf *out, Error *err);
