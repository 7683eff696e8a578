/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/output.h -- data on stdout: as a table for people, as JSON, NDJSON or CSV for programs.
 *
 * Every row is a JSON object; a table or CSV shows the columns that the command names, JSON shows
 * the object whole.  JSON documents carry "schema_version", raised when a member changes its
 * meaning. When stdout is no terminal a table has no titles and tabs between its cells.  What comes
 * from a peer cannot reach the terminal as a control sequence.
 *
 * A reader that went away (EPIPE) fails with ERR_CANCELED: the program ends quietly.
 */
#pragma once

#include <jansson.h>

#include "common/buf.h"
#include "common/error.h"

#define OUTPUT_SCHEMA_VERSION 1

typedef enum ColumnForm {
    COLUMN_TEXT,
    COLUMN_NUMBER, /* to the right */
    COLUMN_AGE,    /* milliseconds, shown as 1.5s, 3m or 2d */
} ColumnForm;

typedef struct OutputColumn {
    const char *key;   /* member of the row; NULL ends the table */
    const char *title; /* over the column; NULL: only in CSV */
    ColumnForm form;
    const char *or_key; /* shown in a table when the member is null; may be NULL */
} OutputColumn;

/* kind names the rows in JSON: {"schema_version":1,"streams":[...]}.  Borrows rows, an array. */
DS_MUST_CHECK bool output_rows(const char *kind, const OutputColumn *columns, const json_t *rows,
                               Error *err);
/* One object; a table has a line per column. */
DS_MUST_CHECK bool output_record(const OutputColumn *columns, const json_t *record, Error *err);

DS_MUST_CHECK bool output_bytes(Str bytes, Error *err); /* as they are */
DS_MUST_CHECK bool output_flush(Error *err);

/* Control characters and bytes that are not UTF-8 shown as \xff; keep_lines leaves line feeds. */
DS_MUST_CHECK bool output_escape(Buf *out, Str text, bool keep_lines, Error *err);
