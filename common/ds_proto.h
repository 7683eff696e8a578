/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/ds_proto.h -- names and numbers of the Durable Streams protocol that both sides share.
 */
#pragma once

#define DS_PORT_DEFAULT       4437
#define DS_ADMIN_PORT_DEFAULT 4439
#define DS_STREAM_ROOT        "/v1/stream"

#define DS_H_STREAM_NEXT_OFFSET     "Stream-Next-Offset"
#define DS_H_STREAM_UP_TO_DATE      "Stream-Up-To-Date"
#define DS_H_STREAM_CLOSED          "Stream-Closed"
#define DS_H_STREAM_CURSOR          "Stream-Cursor"
#define DS_H_STREAM_TTL             "Stream-TTL"
#define DS_H_STREAM_EXPIRES_AT      "Stream-Expires-At"
#define DS_H_STREAM_SEQ             "Stream-Seq"
#define DS_H_STREAM_FORKED_FROM     "Stream-Forked-From"
#define DS_H_STREAM_FORK_OFFSET     "Stream-Fork-Offset"
#define DS_H_STREAM_FORK_SUB_OFFSET "Stream-Fork-Sub-Offset"
#define DS_H_SSE_ENCODING           "Stream-SSE-Data-Encoding"
#define DS_H_PRODUCER_ID            "Producer-Id"
#define DS_H_PRODUCER_EPOCH         "Producer-Epoch"
#define DS_H_PRODUCER_SEQ           "Producer-Seq"
#define DS_H_PRODUCER_EXPECTED_SEQ  "Producer-Expected-Seq"
#define DS_H_PRODUCER_RECEIVED_SEQ  "Producer-Received-Seq"

#define DS_OFFSET_START "-1"
#define DS_OFFSET_NOW   "now"

#define DS_MEDIA_JSON  "application/json"
#define DS_MEDIA_BYTES "application/octet-stream"
#define DS_MEDIA_SSE   "text/event-stream"

#define DS_CURSOR_EPOCH_S    1728432000 /* 2024-10-09T00:00:00Z, protocol 10.1 */
#define DS_CURSOR_INTERVAL_S 20

#define DS_PRODUCER_NUMBER_MAX      ((UINT64_C(1) << 53) - 1)
#define DS_STREAM_NAME_BYTES_MAX    1024
#define DS_STREAM_NAME_SEGMENTS_MAX 8

/* The first segment that belongs to the protocol's own APIs (section 6). */
#define DS_STREAM_RESERVED_SEGMENT "__ds"
