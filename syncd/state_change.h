/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/state_change.h -- one message of a stream of state: a change of one (type, key), or a mark
 * between sets of changes.
 *
 * Two forms are understood, and a message may mix them as long as it says one thing:
 *   State Protocol  {type, key, value, headers: {operation: insert|update|upsert|delete}} and
 *                   {headers: {control: reset|snapshot-start|snapshot-end}}
 *   session form    {type, key, value, operation: set|remove|append}
 * Other members are of no interest here.  Anything else is a row fault: a change that is not
 * understood would silently make the table wrong.  Pure.
 */
#pragma once

#include "common/json_scan.h"

/* As they stand in the JSON text, quotes included.  With the name of the stream (1024 bytes) they
 * are one key of a btree, which takes 2704 bytes. */
#define STATE_TYPE_BYTES_MAX 256
#define STATE_KEY_BYTES_MAX  1024

typedef enum StateOp {
    STATE_SET,    /* insert, update, upsert, set: the value takes the place of the one before */
    STATE_DELETE, /* delete, remove */
    STATE_APPEND_STRING,
    STATE_APPEND_ARRAY,
    STATE_RESET,
    STATE_SNAPSHOT_START,
    STATE_SNAPSHOT_END,
} StateOp;

typedef struct StateChange {
    StateOp op;
    Str type;  /* JSON strings as they stand, quotes included; of marks: ptr is NULL */
    Str key;   /* without NUL and without half of a surrogate pair */
    Str value; /* JSON as it stands; of a deletion, and of marks: ptr is NULL */
} StateChange;

static inline bool
state_op_is_mark(StateOp op)
{
    return op >= STATE_RESET;
}

/* The message is valid JSON; the views point into it.  ERR_INPUT: it is neither form. */
DS_MUST_CHECK bool state_change_parse(Str message, StateChange *out, Error *err);
