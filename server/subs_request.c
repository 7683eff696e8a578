/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_request.h"

#include <jansson.h>
#include <openssl/evp.h>

#include "common/ds_proto.h"
#include "common/mem.h"
#include "common/stream_glob.h"
#include "server/subs_address.h"

#define SHA256_BYTES 32

static const Str absent = {NULL, 0};

/* ---- members ---- */

static bool
parse(Str body, json_t **out, Error *err)
{
    json_error_t error;

    if (body.len > SUBS_BODY_BYTES_MAX) {
        return error_set(err, ERR_INPUT, "the body is longer than %zu bytes", SUBS_BODY_BYTES_MAX);
    }
    *out = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
    if (*out == NULL) {
        return error_set(err, ERR_INPUT, "the body is not JSON: %s", error.text);
    }
    if (!json_is_object(*out)) {
        return error_set(err, ERR_INPUT, "the body must be an object");
    }
    return true;
}

/* null is as good as absent. */
static bool
take_text(const json_t *object, const char *name, size_t bytes_max, Str *out, Error *err)
{
    const json_t *value = json_object_get(object, name);

    *out = absent;
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) > bytes_max) {
        return error_set(err, ERR_INPUT, "%s must be a string of at most %zu bytes", name,
                         bytes_max);
    }
    *out = str_n(json_string_value(value), json_string_length(value));
    return true;
}

static bool
take_stream_name(const json_t *value, const char *what, const NameLimits *names, Str *out,
                 Error *err)
{
    Str name;

    if (!json_is_string(value)) {
        return error_set(err, ERR_INPUT, "%s must name streams", what);
    }
    name = str_n(json_string_value(value), json_string_length(value));
    if (!name_check(name, names, err)) {
        return error_wrap(err, "%s", what);
    }
    if (name_is_reserved(name)) {
        return error_set(err, ERR_INPUT,
                         "%s: names that begin with " DS_STREAM_RESERVED_SEGMENT " are reserved",
                         what);
    }
    *out = name;
    return true;
}

static int
name_order(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

static bool
take_streams(SubsRequest *request, const NameLimits *names, Error *err)
{
    const json_t *list = json_object_get(request->document, "streams");
    size_t count = json_array_size(list);
    size_t kept = 0;

    if (list == NULL || json_is_null(list)) {
        return true;
    }
    if (!json_is_array(list) || count > SUBS_REQUEST_ITEMS_MAX) {
        return error_set(err, ERR_INPUT, "streams must be an array of at most %d names",
                         SUBS_REQUEST_ITEMS_MAX);
    }
    request->streams = mem_array(DS_MAX(count, (size_t)1), sizeof(Str));
    for (size_t i = 0; i < count; i++) {
        if (!take_stream_name(json_array_get(list, i), "streams", names, &request->streams[i],
                              err)) {
            return false;
        }
    }
    qsort(request->streams, count, sizeof(Str), name_order);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_eq(request->streams[i], request->streams[kept - 1])) {
            request->streams[kept++] = request->streams[i];
        }
    }
    request->stream_count = kept;
    return true;
}

/* ---- what stays ---- */

static char *
move_text(Str *text, char *room)
{
    if (text->ptr != NULL) {
        memcpy(room, text->ptr, text->len);
        text->ptr = room;
    }
    return room + text->len;
}

/* A parsed document takes many times its text, and a request may wait: only what it says is kept.
 */
static void
settle(SubsRequest *request)
{
    Str *const texts[] = {&request->pattern,     &request->url,    &request->wake_stream,
                          &request->description, &request->worker, &request->wake_id};
    size_t total = 1;
    char *room;

    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        total += texts[i]->len;
    }
    for (size_t i = 0; i < request->stream_count; i++) {
        total += request->streams[i].len;
    }
    for (size_t i = 0; i < request->ack_count; i++) {
        total += request->acks[i].path.len + request->acks[i].offset.len;
    }
    room = request->kept = mem_alloc(total);
    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        room = move_text(texts[i], room);
    }
    for (size_t i = 0; i < request->stream_count; i++) {
        room = move_text(&request->streams[i], room);
    }
    for (size_t i = 0; i < request->ack_count; i++) {
        room = move_text(&request->acks[i].path, room);
        room = move_text(&request->acks[i].offset, room);
    }
    json_decref(request->document);
    request->document = NULL;
}

/* ---- create ---- */

static bool
take_type(SubsRequest *request, Error *err)
{
    Str type;

    if (!take_text(request->document, "type", 64, &type, err)) {
        return false;
    }
    if (type.ptr != NULL && str_eq(type, STR("webhook"))) {
        request->type = SUBS_WEBHOOK;
    } else if (type.ptr != NULL && str_eq(type, STR("pull-wake"))) {
        request->type = SUBS_PULL_WAKE;
    } else {
        return error_set(err, ERR_INPUT, "type must be \"webhook\" or \"pull-wake\"");
    }
    return true;
}

static bool
take_pattern(SubsRequest *request, Error *err)
{
    return take_text(request->document, "pattern", STREAM_GLOB_BYTES_MAX, &request->pattern, err) &&
           (request->pattern.ptr == NULL || stream_glob_check(request->pattern, err));
}

static bool
take_lease(SubsRequest *request, Error *err)
{
    const json_t *value = json_object_get(request->document, "lease_ttl_ms");

    request->lease_ms = SUBS_LEASE_MS_DEFAULT;
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < SUBS_LEASE_MS_MIN ||
        json_integer_value(value) > SUBS_LEASE_MS_MAX) {
        return error_set(err, ERR_INPUT, "lease_ttl_ms must be an integer from %d to %d",
                         SUBS_LEASE_MS_MIN, SUBS_LEASE_MS_MAX);
    }
    request->lease_ms = json_integer_value(value);
    return true;
}

static bool
take_wake_stream(SubsRequest *request, const NameLimits *names, Error *err)
{
    const json_t *value = json_object_get(request->document, "wake_stream");

    if (value == NULL || json_is_null(value)) {
        return error_set(err, ERR_INPUT, "a pull-wake subscription needs a wake_stream");
    }
    if (!take_stream_name(value, "wake_stream", names, &request->wake_stream, err)) {
        return false;
    }
    for (size_t i = 0; i < request->stream_count; i++) {
        if (str_eq(request->streams[i], request->wake_stream)) {
            return error_set(err, ERR_INPUT, "a subscription cannot follow its own wake_stream");
        }
    }
    return true;
}

static bool
take_url(SubsRequest *request, bool insecure, const char **out_code, Error *err)
{
    const json_t *webhook = json_object_get(request->document, "webhook");

    if (!json_is_object(webhook) ||
        !take_text(webhook, "url", SUBS_URL_BYTES_MAX, &request->url, err) ||
        request->url.ptr == NULL) {
        return error_set(err, ERR_INPUT, "a webhook subscription needs webhook.url, a string");
    }
    if (!subs_url_check(request->url, insecure, err)) {
        *out_code = "WEBHOOK_URL_REJECTED";
        return false;
    }
    return true;
}

/* Each part with its length, so that no two configurations have one text. */
static void
digest_text(EVP_MD_CTX *digest, Str text)
{
    uint64_t length = text.ptr == NULL ? UINT64_MAX : text.len;

    DS_ASSERT(EVP_DigestUpdate(digest, &length, sizeof(length)) == 1 &&
              EVP_DigestUpdate(digest, text.ptr == NULL ? "" : text.ptr, text.len) == 1);
}

static void
make_hash(SubsRequest *request)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint64_t numbers[] = {(uint64_t)request->type, (uint64_t)request->lease_ms,
                          request->stream_count};
    unsigned char bytes[SHA256_BYTES];
    unsigned len = sizeof(bytes);

    DS_ASSERT(digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(digest, numbers, sizeof(numbers)) == 1);
    digest_text(digest, request->pattern);
    digest_text(digest, request->url);
    digest_text(digest, request->wake_stream);
    digest_text(digest, request->description);
    for (size_t i = 0; i < request->stream_count; i++) {
        digest_text(digest, request->streams[i]);
    }
    DS_ASSERT(EVP_DigestFinal_ex(digest, bytes, &len) == 1);
    EVP_MD_CTX_free(digest);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(request->hash + 2 * i, 3, "%02x", bytes[i]);
    }
}

static bool
take_create(SubsRequest *request, const SubsRequestRules *rules, const char **out_code, Error *err)
{
    if (!take_type(request, err) || !take_pattern(request, err) ||
        !take_streams(request, rules->names, err) || !take_lease(request, err) ||
        !take_text(request->document, "description", SUBS_DESCRIPTION_BYTES_MAX,
                   &request->description, err)) {
        return false;
    }
    if (request->pattern.ptr == NULL && request->streams == NULL) {
        return error_set(err, ERR_INPUT, "a subscription needs a pattern or streams");
    }
    if (request->type == SUBS_WEBHOOK ? !take_url(request, rules->insecure_webhooks, out_code, err)
                                      : !take_wake_stream(request, rules->names, err)) {
        return false;
    }
    make_hash(request);
    return true;
}

bool
subs_request_create(Str body, const SubsRequestRules *rules, SubsRequest *out,
                    const char **out_code, Error *err)
{
    SubsRequest request = {.wake_stream = absent, .url = absent};
    const char *code = "INVALID_REQUEST";

    if (!parse(body, &request.document, err) || !take_create(&request, rules, &code, err)) {
        subs_request_done(&request);
        *out_code = code;
        return false;
    }
    settle(&request);
    *out = request;
    return true;
}

bool
subs_request_streams(Str body, const SubsRequestRules *rules, SubsRequest *out, Error *err)
{
    SubsRequest request = {0};

    if (parse(body, &request.document, err) && take_streams(&request, rules->names, err)) {
        if (request.streams != NULL) {
            settle(&request);
            *out = request;
            return true;
        }
        (void)error_set(err, ERR_INPUT, "streams must be an array of names");
    }
    subs_request_done(&request);
    return false;
}

/* ---- wakes ---- */

bool
subs_request_claim(Str body, SubsRequest *out, Error *err)
{
    SubsRequest request = {0};

    if (parse(body, &request.document, err) &&
        take_text(request.document, "worker", SUBS_HOLDER_BYTES_MAX, &request.worker, err)) {
        if (request.worker.ptr != NULL && request.worker.len > 0) {
            settle(&request);
            *out = request;
            return true;
        }
        (void)error_set(err, ERR_INPUT, "a claim needs the name of its worker");
    }
    subs_request_done(&request);
    return false;
}

static bool
take_acks(SubsRequest *request, Error *err)
{
    const json_t *list = json_object_get(request->document, "acks");
    size_t count = json_array_size(list);

    if (list == NULL || json_is_null(list)) {
        return true;
    }
    if (!json_is_array(list) || count > SUBS_REQUEST_ITEMS_MAX) {
        return error_set(err, ERR_INPUT, "acks must be an array of at most %d acks",
                         SUBS_REQUEST_ITEMS_MAX);
    }
    request->acks = mem_array(DS_MAX(count, (size_t)1), sizeof(SubsAck));
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        SubsAck *ack = &request->acks[i];

        if (!json_is_object(item) ||
            !take_text(item, "stream", DS_STREAM_NAME_BYTES_MAX * 4, &ack->path, err) ||
            !take_text(item, "offset", OFFSET_BYTES_MAX, &ack->offset, err) ||
            ack->path.ptr == NULL || ack->offset.ptr == NULL) {
            return error_set(err, ERR_INPUT, "each ack needs a stream and an offset, as strings");
        }
    }
    request->ack_count = count;
    return true;
}

static bool
take_wake(SubsRequest *request, Error *err)
{
    const json_t *generation = json_object_get(request->document, "generation");
    const json_t *done = json_object_get(request->document, "done");

    if (!take_text(request->document, "wake_id", SUBS_WAKE_ID_SIZE, &request->wake_id, err)) {
        return false;
    }
    if (request->wake_id.ptr == NULL || !json_is_integer(generation) ||
        json_integer_value(generation) < 0) {
        return error_set(err, ERR_INPUT, "wake_id and generation must be those of a wake");
    }
    if (done != NULL && !json_is_boolean(done)) {
        return error_set(err, ERR_INPUT, "done must be true or false");
    }
    request->generation = (uint64_t)json_integer_value(generation);
    request->done = json_is_true(done);
    return true;
}

bool
subs_request_ack(Str body, SubsRequest *out, Error *err)
{
    SubsRequest request = {0};

    if (!parse(body, &request.document, err) || !take_wake(&request, err) ||
        !take_acks(&request, err)) {
        subs_request_done(&request);
        return false;
    }
    settle(&request);
    *out = request;
    return true;
}

void
subs_request_done(SubsRequest *request)
{
    free(request->streams);
    free(request->acks);
    free(request->kept);
    json_decref(request->document);
    *request = (SubsRequest){0};
}

bool
subs_answer_is_done(Str body)
{
    json_t *document = json_loadb(body.ptr, body.len, 0, NULL);
    bool done = json_is_true(json_object_get(document, "done"));

    json_decref(document);
    return done;
}
