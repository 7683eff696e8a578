/* SPDX-License-Identifier: Apache-2.0 */
#include "server/name.h"

#include "common/ds_proto.h"
#include "server/query.h"

/* Proxies disagree about what it names, so it names nothing here. */
static bool
has_encoded_slash(Str raw)
{
    size_t at;

    while (str_find(raw, '%', &at)) {
        raw = str_skip(raw, at);
        if (str_starts_nocase(raw, STR("%2f"))) {
            return true;
        }
        raw = str_skip(raw, 1);
    }
    return false;
}

static bool
check_segments(Str name, const NameLimits *limits, Error *err)
{
    size_t segments = 0;
    bool more = true;

    while (more) {
        Str segment;

        more = str_cut(name, '/', &segment, &name);
        if (segment.len == 0) {
            return error_set(err, ERR_INPUT,
                             segments == 0 && !more ? "the name is empty"
                                                    : "the name has an empty segment");
        }
        if (str_eq(segment, STR(".")) || str_eq(segment, STR(".."))) {
            return error_set(err, ERR_INPUT, "the name has a \"%.*s\" segment", STR_ARG(segment));
        }
        if (++segments > limits->segments_max) {
            return error_set(err, ERR_INPUT, "the name has more than %zu segments",
                             limits->segments_max);
        }
    }
    return true;
}

bool
name_check(Str name, const NameLimits *limits, Error *err)
{
    if (name.len > limits->bytes_max) {
        return error_set(err, ERR_INPUT, "the name is longer than %zu bytes", limits->bytes_max);
    }
    if (str_contains_ctl(name)) {
        return error_set(err, ERR_INPUT, "the name has a control character");
    }
    if (!str_is_utf8(name)) {
        return error_set(err, ERR_INPUT, "the name is not valid UTF-8");
    }
    return check_segments(name, limits, err);
}

bool
name_decode(Str raw, const NameLimits *limits, Buf *out, Error *err)
{
    size_t begin = out->len;

    if (has_encoded_slash(raw)) {
        return error_set(err, ERR_INPUT, "the name has an encoded slash (%%2F)");
    }
    /* No more than three bytes stand for one. */
    if (raw.len > 3 * limits->bytes_max) {
        return error_set(err, ERR_INPUT, "the name is longer than %zu bytes", limits->bytes_max);
    }
    if (!percent_decode(raw, out, err)) {
        error_wrap(err, "the name");
    } else if (name_check(str_skip(buf_str(out), begin), limits, err)) {
        return true;
    }
    buf_truncate(out, begin);
    return false;
}

bool
name_is_reserved(Str name)
{
    Str head;
    Str rest;

    str_cut(name, '/', &head, &rest);
    return str_eq(head, STR(DS_STREAM_RESERVED_SEGMENT));
}
