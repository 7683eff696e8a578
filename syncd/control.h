/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/control.h -- the control event of SSE (protocol 5.8), and what an HTTP status asks of a
 * reader. Pure.
 */
#pragma once

#include "common/json_scan.h"

#define CONTROL_CURSOR_BYTES_MAX 128

typedef struct Control {
    Str offset; /* a valid offset; points into the event */
    Str cursor; /* "" when absent */
    bool up_to_date;
    bool closed;
} Control;

/* ERR_PROTOCOL: no JSON object, or no offset that may be resumed from. */
DS_MUST_CHECK bool control_parse(Str data, Control *out, Error *err);

typedef enum StatusVerdict {
    STATUS_OK,        /* 200 */
    STATUS_EMPTY,     /* 204: a long poll that saw nothing */
    STATUS_NOT_FOUND, /* 404 */
    STATUS_GONE,      /* 410 */
    STATUS_AUTH,      /* 401, 403: retry slowly, credentials may be renewed */
    STATUS_RETRY,     /* 408, 425, 429, 5xx */
    STATUS_FATAL,     /* anything else: no retry can mend it */
} StatusVerdict;

StatusVerdict status_judge(int status);
