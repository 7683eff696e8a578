/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_line.h"

#include "common/pg.h"

/* The columns that tell where the row belongs. */
static bool
append_place(Buf *out, const RowPlace *place, Error *err)
{
    return pg_copy_escape(out, place->stream_name, err) && buf_append_char(out, '\t', err) &&
           buf_append_i64(out, place->generation, err) && buf_append_char(out, '\t', err) &&
           buf_append_i64(out, place->seq, err) && buf_append_char(out, '\t', err) &&
           pg_copy_escape(out, place->offset, err);
}

static bool
append_value(Buf *out, const Sink *sink, size_t value, const SinkText *text, Buf *scratch,
             Error *err)
{
    Str decoded;

    if (text->is_null) {
        return buf_append(out, STR("\t\\N"), err);
    }
    if (text->is_bytes) {
        return buf_append(out, STR("\t\\\\x"), err) && buf_append_hex(out, text->text, err);
    }
    return sink_decode(sink, value, text, scratch, &decoded, err) &&
           buf_append_char(out, '\t', err) && pg_copy_escape(out, decoded, err);
}

bool
copy_line(Buf *out, const Sink *sink, const RowPlace *place, const SinkItem *item, Buf *scratch,
          Error *err)
{
    SinkText texts[SINK_VALUES_MAX];

    if (!append_place(out, place, err) || !sink_texts(sink, item, texts, err)) {
        return false;
    }
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!append_value(out, sink, i, &texts[i], scratch, err)) {
            return false;
        }
    }
    return buf_append_char(out, '\n', err);
}
