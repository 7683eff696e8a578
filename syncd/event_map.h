/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/event_map.h -- which parts of a JSON message become columns of ds_sync.session_events.
 *
 * key, type and operation are the members of those names; the operation may also be
 * headers.operation, as State Protocol messages have it.  Absent, or not a string: NULL.  Pure.
 */
#pragma once

#include "common/json_scan.h"

/* JSON strings as they stand, quotes included; ptr is NULL when the column is NULL. */
typedef struct EventColumns {
    Str key;
    Str type;
    Str operation;
} EventColumns;

/* The message is valid JSON; the views point into it. */
EventColumns event_columns(Str message);

/* The same from a scan of the message that looked out for event_watch. */
extern const JsonWatch event_watch;
EventColumns event_columns_watched(Str message, const JsonWatched *watched);
