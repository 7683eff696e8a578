/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/rows.h -- rows from Postgres as JSON objects for output.h.
 */
#pragma once

#include <jansson.h>

#include "dsctl/call.h"

typedef enum FieldType {
    FIELD_TEXT,
    FIELD_INTEGER,
    FIELD_BOOL,
    FIELD_SKIP, /* not in the object: the command reads it itself */
} FieldType;

typedef struct Field {
    const char *key;
    FieldType type;
} Field;

/* The i-th column becomes the i-th field; SQL NULL becomes null.  ERR_PROTOCOL when a text does not
 * fit its type.  The object is the caller's. */
DS_MUST_CHECK bool rows_object(const CallRows *rows, int row, const Field *fields, size_t count,
                               json_t **out, Error *err);
