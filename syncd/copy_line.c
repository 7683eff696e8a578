/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_line.h"

#include "common/pg.h"

/* What stands before seq, and behind it. */
static bool
append_head(Buf *out, const RowPlace *place, Error *err)
{
    return pg_copy_escape(out, place->stream_name, err) && buf_append_char(out, '\t', err) &&
           buf_append_i64(out, place->generation, err) && buf_append_char(out, '\t', err);
}

static bool
append_tail(Buf *out, const RowPlace *place, Error *err)
{
    return buf_append_char(out, '\t', err) && pg_copy_escape(out, place->offset, err);
}

bool
copy_place_init(CopyPlace *copy_place, const RowPlace *place, Error *err)
{
    buf_init(&copy_place->text, COPY_PLACE_BYTES_MAX);
    if (append_head(&copy_place->text, place, err)) {
        copy_place->head_len = copy_place->text.len;
        if (append_tail(&copy_place->text, place, err)) {
            return true;
        }
    }
    copy_place_done(copy_place);
    return false;
}

void
copy_place_done(CopyPlace *copy_place)
{
    buf_done(&copy_place->text);
}

/* A valid JSON string without an escape: it holds nothing that COPY would read otherwise. */
static bool
is_plain_string(const SinkText *text)
{
    return text->is_json_string && memchr(text->text.ptr, '\\', text->text.len) == NULL;
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
    if (is_plain_string(text)) {
        return buf_append_char(out, '\t', err) &&
               buf_append(out, str_slice(text->text, 1, text->text.len - 1), err);
    }
    return sink_decode(sink, value, text, scratch, &decoded, err) &&
           buf_append_char(out, '\t', err) && pg_copy_escape(out, decoded, err);
}

static bool
append_values(Buf *out, const Sink *sink, const SinkItem *item, Buf *scratch, Error *err)
{
    SinkText texts[SINK_VALUES_MAX];

    if (!sink_texts(sink, item, texts, err)) {
        return false;
    }
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!append_value(out, sink, i, &texts[i], scratch, err)) {
            return false;
        }
    }
    return buf_append_char(out, '\n', err);
}

bool
copy_line_at(Buf *out, const Sink *sink, const CopyPlace *copy_place, int64_t seq,
             const SinkItem *item, Buf *scratch, Error *err)
{
    Str text = buf_str(&copy_place->text);

    return buf_append(out, str_n(text.ptr, copy_place->head_len), err) &&
           buf_append_i64(out, seq, err) &&
           buf_append(out, str_skip(text, copy_place->head_len), err) &&
           append_values(out, sink, item, scratch, err);
}

bool
copy_line(Buf *out, const Sink *sink, const RowPlace *place, const SinkItem *item, Buf *scratch,
          Error *err)
{
    return append_head(out, place, err) && buf_append_i64(out, place->seq, err) &&
           append_tail(out, place, err) && append_values(out, sink, item, scratch, err);
}
