/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/control.h -- the control event of SSE (protocol 5.8). Pure.
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
