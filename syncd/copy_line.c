/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_line.h"

#include "common/pg.h"
#include "syncd/event_map.h"

/* The columns that tell where the row belongs, and the tab behind them. */
static bool
append_place(Buf *out, const RowPlace *place, Error *err)
{
    return pg_copy_escape(out, place->stream_name, err) && buf_append_char(out, '\t', err) &&
           buf_append_i64(out, place->generation, err) && buf_append_char(out, '\t', err) &&
           buf_append_i64(out, place->seq, err) && buf_append_char(out, '\t', err) &&
           pg_copy_escape(out, place->offset, err) && buf_append_char(out, '\t', err);
}

/* A JSON string as it stands becomes its text; without one, NULL. */
static bool
append_json_text(Buf *out, Str json, Buf *scratch, Error *err)
{
    if (json.ptr == NULL) {
        return buf_append(out, STR("\\N\t"), err);
    }
    buf_reset(scratch);
    return json_unescape(json, scratch, err) && pg_copy_escape(out, buf_str(scratch), err) &&
           buf_append_char(out, '\t', err);
}

bool
copy_line_event(Buf *out, const RowPlace *place, Str message, Buf *scratch, Error *err)
{
    EventColumns columns = event_columns(message);

    return append_place(out, place, err) && append_json_text(out, columns.key, scratch, err) &&
           append_json_text(out, columns.type, scratch, err) &&
           append_json_text(out, columns.operation, scratch, err) &&
           pg_copy_escape(out, message, err) && buf_append_char(out, '\n', err);
}

bool
copy_line_chunk(Buf *out, const RowPlace *place, Str bytes, Error *err)
{
    return append_place(out, place, err) && buf_append(out, STR("\\\\x"), err) &&
           buf_append_hex(out, bytes, err) && buf_append_char(out, '\n', err);
}
