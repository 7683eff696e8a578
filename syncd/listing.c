/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/listing.h"

#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "common/offset.h"
#include "common/parse.h"

#define LISTING_DEPTH_MAX 16

typedef enum ListingForm { FORM_PAGE, FORM_CHANGES, FORM_SUBSCRIPTION } ListingForm;

void
listing_init(Listing *listing)
{
    /* Escapes only get shorter. */
    buf_init(&listing->next, DS_STREAM_NAME_BYTES_MAX);
    buf_init(&listing->token, LISTING_TOKEN_BYTES_MAX);
}

void
listing_done(Listing *listing)
{
    buf_done(&listing->next);
    buf_done(&listing->token);
}

static bool
name_is_legal(Str name)
{
    return name.len > 0 && name.len <= DS_STREAM_NAME_BYTES_MAX && str_is_utf8(name) &&
           !str_contains_ctl(name);
}

static bool
is_string(const JsonValue *value)
{
    return value->text.ptr != NULL && value->type == JSON_TYPE_STRING;
}

static bool
kind_of(const JsonValue *value, ListingKind *out)
{
    if (!is_string(value)) {
        return false;
    }
    if (str_eq(value->text, STR("\"created\""))) {
        *out = LISTING_CREATED;
    } else if (str_eq(value->text, STR("\"closed\""))) {
        *out = LISTING_CLOSED;
    } else if (str_eq(value->text, STR("\"deleted\""))) {
        *out = LISTING_DELETED;
    } else {
        return false; /* a change that a later server knows */
    }
    return true;
}

/* The text of a string that holds no escape; empty for anything else. */
static Str
plain_text(const JsonValue *value)
{
    return is_string(value) ? str_slice(value->text, 1, value->text.len - 1) : STR_EMPTY;
}

/* 0: not said, or not a time. */
static int64_t
time_of(const JsonValue *value)
{
    int64_t time_ms;

    return parse_rfc3339_ms(plain_text(value), &time_ms) ? time_ms : 0;
}

/* A change says the era, as hex digits; a listed stream an offset that begins with it. */
static uint64_t
era_of(const JsonValue *era, const JsonValue *next_offset)
{
    char text[OFFSET_OWN_BYTES + 1];
    Offset offset;

    (void)snprintf(text, sizeof(text), "%.*s_0000000000000000", STR_ARG(plain_text(era)));
    if (plain_text(era).len + 17 == OFFSET_OWN_BYTES && offset_parse(str_c(text), &offset)) {
        return offset.era;
    }
    return offset_parse(plain_text(next_offset), &offset) ? offset.era : 0;
}

/* The document is valid JSON, and `streams` or `changes` is an array: a member that is not what we
 * know is passed over, since later servers may say more. */
static void
walk(Str array, ListingForm form, int64_t told_ms, ListingFn fn, void *arg)
{
    static const Str keys[] = {STR("name"), STR("path"),        STR("change"),
                               STR("era"),  STR("next_offset"), STR("created_at")};
    JsonElements it;
    JsonValue element;
    bool more = false;
    Error err;
    Buf name;

    buf_init(&name, DS_STREAM_NAME_BYTES_MAX);
    bool ok = json_elements_init(&it, array, LISTING_DEPTH_MAX, &err) &&
              json_elements_next(&it, &element, &more, &err);
    while (ok && more) {
        JsonValue found[DS_COUNT(keys)];
        ListingStream stream = {.kind = LISTING_EXISTS, .told_ms = told_ms};

        json_members(element.text, keys, DS_COUNT(keys), found);
        const JsonValue *text = form == FORM_SUBSCRIPTION ? &found[1] : &found[0];
        buf_reset(&name);
        if (is_string(text) && (form != FORM_CHANGES || kind_of(&found[2], &stream.kind)) &&
            json_unescape(text->text, &name, &err) && name_is_legal(buf_str(&name))) {
            stream.name = buf_str(&name);
            stream.era = era_of(&found[3], &found[4]);
            stream.created_ms = time_of(&found[5]);
            fn(arg, &stream);
        }
        ok = json_elements_next(&it, &element, &more, &err);
    }
    DS_ASSERT(ok); /* it was scanned as a whole before */
    buf_done(&name);
}

/* A text member into out; absent or null is empty. */
static bool
member_text(Str object, Str key, Buf *out, Error *err)
{
    JsonValue value;

    buf_reset(out);
    if (!json_member(object, key, &value) || value.type == JSON_TYPE_NULL) {
        return true;
    }
    if (value.type != JSON_TYPE_STRING || !json_unescape(value.text, out, err)) {
        return error_set(err, ERR_PROTOCOL, "\"%.*s\" is not what it should be", STR_ARG(key));
    }
    return true;
}

static bool
listing_read(Str json, ListingForm form, ListingFn fn, void *arg, Listing *out, Error *err)
{
    Str key = form == FORM_CHANGES ? STR("changes") : STR("streams");
    JsonValue document;
    JsonValue array;
    JsonValue now;
    Listing read;

    if (!json_scan_value(json, LISTING_DEPTH_MAX, &document, err)) {
        err->code = ERR_PROTOCOL;
        return error_wrap(err, "the list of streams");
    }
    if (!json_member(document.text, key, &array) || array.type != JSON_TYPE_ARRAY) {
        return error_set(err, ERR_PROTOCOL, "the list of streams has no array \"%.*s\"",
                         STR_ARG(key));
    }
    listing_init(&read);
    if (!member_text(document.text, STR("next"), &read.next, err) ||
        !member_text(document.text, STR("token"), &read.token, err)) {
        listing_done(&read);
        return false;
    }
    int64_t told_ms = json_member(document.text, STR("now"), &now) ? time_of(&now) : 0;
    walk(array.text, form, told_ms, fn, arg);
    if (out != NULL) {
        listing_done(out);
        *out = read;
    } else {
        listing_done(&read);
    }
    return true;
}

bool
listing_read_page(Str json, ListingFn fn, void *arg, Listing *out, Error *err)
{
    return listing_read(json, FORM_PAGE, fn, arg, out, err);
}

bool
listing_read_changes(Str json, ListingFn fn, void *arg, Listing *out, Error *err)
{
    return listing_read(json, FORM_CHANGES, fn, arg, out, err);
}

bool
listing_read_subscription(Str json, ListingFn fn, void *arg, Error *err)
{
    return listing_read(json, FORM_SUBSCRIPTION, fn, arg, NULL, err);
}
