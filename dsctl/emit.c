/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/emit.h"

#include "common/base64.h"
#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "dsctl/output.h"

#define LINE_BYTES_MAX (1u << 30)

const char *const emit_form_names[] = {"raw", "ndjson", "json", NULL};

bool
emit_is_json(Str content_type)
{
    Str type = STR_EMPTY;
    Str parameters = STR_EMPTY;

    (void)str_cut(content_type, ';', &type, &parameters); /* without one, all of it is the type */
    return str_eq_nocase(str_trim(type), STR(DS_MEDIA_JSON));
}

bool
emit_begin(Emit *emit, Error *err)
{
    if (emit->form == EMIT_JSON && !emit->is_json) {
        return error_set(err, ERR_CONFIG,
                         "the stream is not application/json: read it with -o raw or -o ndjson");
    }
    return true;
}

/* A legal JSON text has line breaks only between tokens. */
static bool
output_one_line(Str json, Error *err)
{
    while (json.len > 0) {
        size_t len = 0;

        while (len < json.len && json.ptr[len] != '\n' && json.ptr[len] != '\r') {
            len++;
        }
        if (!output_bytes(str_head(json, len), err) ||
            !output_bytes(len < json.len ? STR(" ") : STR_EMPTY, err)) {
            return false;
        }
        json = str_skip(json, len + 1);
    }
    return true;
}

static bool
output_envelope_start(Str offset, Str member, Error *err)
{
    Buf escaped;

    buf_init(&escaped, LINE_BYTES_MAX);
    bool ok = output_bytes(STR("{"), err);
    if (offset.len > 0) {
        ok = ok && json_escape(offset, &escaped, err) && output_bytes(STR("\"offset\":"), err) &&
             output_bytes(buf_str(&escaped), err) && output_bytes(STR(","), err);
    }
    ok = ok && output_bytes(STR("\""), err) && output_bytes(member, err) &&
         output_bytes(STR("\":"), err);
    buf_done(&escaped);
    return ok;
}

static bool
emit_message(Emit *emit, Str message, Str offset, Error *err)
{
    bool ok = true;

    switch (emit->form) {
    case EMIT_RAW:
        ok = output_one_line(message, err) && output_bytes(STR("\n"), err);
        break;
    case EMIT_NDJSON:
        ok = output_envelope_start(offset, STR("data"), err) && output_one_line(message, err) &&
             output_bytes(STR("}\n"), err);
        break;
    case EMIT_JSON:
        ok = output_bytes(emit->count == 0 ? STR("[\n") : STR(",\n"), err) &&
             output_one_line(message, err);
        break;
    }
    emit->count++;
    emit->count_left -= emit->count_left != UINT64_MAX ? 1 : 0;
    return ok;
}

static bool
bad_json(Error *err)
{
    err->code = ERR_PROTOCOL; /* not this program's input */
    return error_wrap(err, "the server sent bad JSON");
}

/* One behind: the last message of the batch carries the offset.  When count_left ends inside the
 * batch no line has it, because resuming there would skip messages. */
static bool
emit_messages(Emit *emit, Str array, Str offset, Error *err)
{
    JsonElements elements;
    JsonValue held = {.text = STR_EMPTY};
    bool is_held = false;

    if (!json_elements_init(&elements, array, JSON_DEPTH_MAX, err)) {
        return bad_json(err);
    }
    while (emit->count_left > 0) {
        JsonValue value;
        bool more = false;

        if (!json_elements_next(&elements, &value, &more, err)) {
            return bad_json(err);
        }
        if (is_held && !emit_message(emit, held.text, more ? STR_EMPTY : offset, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        held = value;
        is_held = true;
    }
    return true;
}

static bool
emit_bytes(Emit *emit, Str bytes, Str offset, Error *err)
{
    bool is_text = str_is_utf8(bytes);
    bool ok = true;
    Buf value;

    emit->count++;
    emit->count_left -= emit->count_left != UINT64_MAX ? 1 : 0;
    if (emit->form == EMIT_RAW) {
        return output_bytes(bytes, err);
    }
    buf_init(&value, LINE_BYTES_MAX);
    if (is_text) {
        ok = json_escape(bytes, &value, err) && output_envelope_start(offset, STR("data"), err) &&
             output_bytes(buf_str(&value), err) && output_bytes(STR("}\n"), err);
    } else {
        ok = base64_encode(&value, bytes, err) &&
             output_envelope_start(offset, STR("base64"), err) && output_bytes(STR("\""), err) &&
             output_bytes(buf_str(&value), err) && output_bytes(STR("\"}\n"), err);
    }
    buf_done(&value);
    return ok;
}

bool
emit_batch(Emit *emit, Str content, Str offset, Error *err)
{
    if (content.len == 0 || emit->count_left == 0) {
        return true;
    }
    bool ok = emit->is_json ? emit_messages(emit, content, offset, err)
                            : emit_bytes(emit, content, offset, err);
    return ok && output_flush(err);
}

bool
emit_end(Emit *emit, Error *err)
{
    if (emit->form == EMIT_JSON &&
        !output_bytes(emit->count == 0 ? STR("[]\n") : STR("\n]\n"), err)) {
        return false;
    }
    return output_flush(err);
}
