/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/sink_sql.h -- the statements of a sink, out of the templates sql/queries/sink_*.sql.
 *
 * In a template stand, in braces: table (quoted), table_literal (the same as a string), columns
 * (quoted, all of them), and of what is behind the place of a row: params ($15::text[] ...),
 * singles (the first of each: ($15::text[])[1] AS c1 ...), fields (c1 ...), values (r.c1::type
 * ...), stored and settings (the sieve's), tag (of a dollar quote that nothing in the statement
 * ends), no_row_fault (a pattern of the SQLSTATEs that are no row's fault).  Those of state have
 * state_params ($11::text[] ...), put_params ($5::text[] ...), state_columns and state_assigned
 * (what is behind seq), payload (the column), payload_value (r.c3::type) and payload_type (the same
 * type as a string), and of a row that is staged as texts: shape (which columns they are of),
 * staged_fields (to write them), staged_values (to read those of this shape), staged_payload (to
 * read the value of any), column_literals, pointer_literals and required (to bring another shape
 * into this).  Identifiers are quoted as libpq does it, always; types are the catalogue's own
 * words.  Pure.
 */
#pragma once

#include "syncd/sink.h"

/* Appends name as a quoted identifier.  ERR_CONFIG: empty, or with a zero byte. */
DS_MUST_CHECK bool sql_identifier(Buf *out, Str name, Error *err);
/* Appends text as a string literal, whatever standard_conforming_strings says. */
DS_MUST_CHECK bool sql_literal(Buf *out, Str text, Error *err);

/* Fills the statements of a sink whose table and values are set. */
DS_MUST_CHECK bool sink_make_statements(Sink *sink, Error *err);
