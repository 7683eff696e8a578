/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_http.h"

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/mem.h"
#include "server/op.h"
#include "server/query.h"
#include "server/subs_internal.h"
#include "server/subs_view.h"

#define ERROR_BYTES_MAX 4096

/* ---- answers ---- */

static void
send_json(HttpExchange *exchange, int status, Str media, Str cache, Str body)
{
    HttpPiece piece = {.bytes = body};

    reply_start(exchange, status);
    if (body.len > 0) {
        reply_field(exchange, "Content-Type", media);
    }
    reply_field(exchange, "Cache-Control", cache);
    if (status == 401) {
        reply_field(exchange, "WWW-Authenticate", STR("Bearer"));
    }
    if (status == 503) {
        reply_field_u64(exchange, "Retry-After", 1);
    }
    reply_send(exchange, &piece, body.len > 0 ? 1 : 0);
}

static void
refuse(HttpExchange *exchange, int status, const char *code, const char *message)
{
    Buf body;
    Error err;
    bool ok;

    buf_init(&body, ERROR_BYTES_MAX);
    ok = subs_view_error(code, message, NULL, 0, &body, &err);
    DS_ASSERT(ok);
    send_json(exchange, status, STR(DS_MEDIA_JSON), STR("no-store"), buf_str(&body));
    buf_done(&body);
}

static void
call_free(SubsCall *call)
{
    atomic_fetch_sub(&call->subs->calls, 1);
    subs_request_done(&call->request);
    subs_definition_drop(call->definition);
    free(call->id);
    free(call->path);
    free(call->bearer);
    free(call->origin);
    buf_done(&call->reply);
    free(call);
}

/* On the thread of the exchange's loop; or on main's, when all loops have ended. */
static void
answer(void *arg)
{
    SubsCall *call = arg;
    bool keys = call->kind == SUBS_CALL_JWKS && call->code == NULL;

    if (call->exchange != NULL) {
        send_json(call->exchange, call->status,
                  keys ? STR("application/jwk-set+json") : STR(DS_MEDIA_JSON),
                  keys ? STR("public, max-age=300") : STR("no-store"), buf_str(&call->reply));
    }
    call_free(call);
}

void
subs_call_answer(SubsCall *call)
{
    /* When home has ended, every exchange has, and its loop may be gone. */
    if (call->subs->stopped) {
        call_free(call);
    } else {
        net_loop_post(call->net, answer, call);
    }
}

static void
client_left(void *arg)
{
    SubsCall *call = arg;

    call->exchange = NULL;
}

/* ---- requests ---- */

typedef struct Route {
    SubsCallKind kind;
    Str id;   /* raw */
    Str path; /* raw */
} Route;

typedef struct RouteRule {
    HttpMethod method;
    Str action; /* behind the id; "" for none */
    bool has_path;
    SubsCallKind kind;
} RouteRule;

static const RouteRule rules[] = {
    {HTTP_METHOD_PUT, STR(""), false, SUBS_CALL_CREATE},
    {HTTP_METHOD_GET, STR(""), false, SUBS_CALL_READ},
    {HTTP_METHOD_HEAD, STR(""), false, SUBS_CALL_READ},
    {HTTP_METHOD_DELETE, STR(""), false, SUBS_CALL_DELETE},
    {HTTP_METHOD_POST, STR("streams"), false, SUBS_CALL_LINK},
    {HTTP_METHOD_DELETE, STR("streams"), true, SUBS_CALL_UNLINK},
    {HTTP_METHOD_POST, STR("callback"), false, SUBS_CALL_CALLBACK},
    {HTTP_METHOD_POST, STR("claim"), false, SUBS_CALL_CLAIM},
    {HTTP_METHOD_POST, STR("ack"), false, SUBS_CALL_ACK},
    {HTTP_METHOD_POST, STR("release"), false, SUBS_CALL_RELEASE},
};

typedef enum RouteVerdict { ROUTE_FOUND, ROUTE_BAD_METHOD, ROUTE_NONE } RouteVerdict;

static RouteVerdict
find_route(HttpMethod method, Str rest, Route *out)
{
    Str action = STR_EMPTY;
    Str tail;
    Str path = STR_EMPTY;
    RouteVerdict verdict = ROUTE_NONE;
    bool has_path;

    if (str_eq(rest, STR("jwks.json"))) {
        out->kind = SUBS_CALL_JWKS;
        return method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD ? ROUTE_FOUND
                                                                       : ROUTE_BAD_METHOD;
    }
    if (!str_starts(rest, STR("subscriptions/"))) {
        return ROUTE_NONE;
    }
    (void)str_cut(str_skip(rest, strlen("subscriptions/")), '/', &out->id, &tail);
    has_path = str_cut(tail, '/', &action, &path);
    for (size_t i = 0; i < DS_COUNT(rules); i++) {
        if (!str_eq(action, rules[i].action) || has_path != rules[i].has_path) {
            continue;
        }
        if (rules[i].method == method) {
            out->kind = rules[i].kind;
            out->path = path;
            return ROUTE_FOUND;
        }
        verdict = ROUTE_BAD_METHOD;
    }
    return verdict;
}

static bool
take_id(SubsCall *call, Str raw, Error *err)
{
    Buf id;
    Str text;
    bool ok = false;

    buf_init(&id, HTTP_TARGET_BYTES_MAX);
    if (percent_decode(raw, &id, err)) {
        text = buf_str(&id);
        if (text.len == 0 || text.len > SUBS_ID_BYTES_MAX || !str_is_utf8(text) ||
            str_contains_ctl(text) || str_find(text, '/', &(size_t){0})) {
            (void)error_set(err, ERR_INPUT,
                            "the id of a subscription has 1 to %d bytes of UTF-8, without slashes "
                            "and control characters",
                            SUBS_ID_BYTES_MAX);
        } else {
            call->id = str_dup(text);
            ok = true;
        }
    }
    buf_done(&id);
    return ok;
}

/* Here an encoded slash is one between segments: the path is a parameter, not a resource. */
static bool
take_path(SubsCall *call, Str raw, Error *err)
{
    Buf path;
    bool ok;

    buf_init(&path, HTTP_TARGET_BYTES_MAX);
    ok = percent_decode(raw, &path, err) && name_check(buf_str(&path), &call->subs->names, err);
    if (ok) {
        call->path = str_dup(buf_str(&path));
    }
    buf_done(&path);
    return ok;
}

static void
take_bearer(SubsCall *call)
{
    Str value;
    size_t count;

    if (exchange_field(call->exchange, "Authorization", &value, &count) && count == 1 &&
        str_starts_nocase(value, STR("Bearer "))) {
        call->bearer = str_dup(str_trim(str_skip(value, strlen("Bearer "))));
    }
}

/* What the client called us. */
static void
take_origin(SubsCall *call)
{
    const HttpRequestView *request = exchange_request(call->exchange);
    Str host =
        request->host.len > 0 && str_is_utf8(request->host) ? request->host : STR("localhost");
    Buf origin;
    Error err;
    bool ok;

    buf_init(&origin, HTTP_TARGET_BYTES_MAX * 8);
    ok = buf_append(&origin, op_over_https(call->exchange) ? STR("https://") : STR("http://"),
                    &err) &&
         buf_append(&origin, host, &err);
    DS_ASSERT(ok);
    call->origin = buf_take(&origin);
}

static bool
take_body(SubsCall *call, const char **out_code, Error *err)
{
    SubsRequestRules request_rules = {
        .names = &call->subs->names,
        .insecure_webhooks = call->subs->config->subscriptions.allow_insecure_webhooks,
    };
    Str body = exchange_request(call->exchange)->body;

    *out_code = "INVALID_REQUEST";
    switch (call->kind) {
    case SUBS_CALL_CREATE:
        return subs_request_create(body, &request_rules, &call->request, out_code, err);
    case SUBS_CALL_LINK:
        return subs_request_streams(body, &request_rules, &call->request, err);
    case SUBS_CALL_CLAIM:
        return subs_request_claim(body, &call->request, err);
    case SUBS_CALL_CALLBACK:
    case SUBS_CALL_ACK:
    case SUBS_CALL_RELEASE:
        return subs_request_ack(body, &call->request, err);
    case SUBS_CALL_READ:
    case SUBS_CALL_DELETE:
    case SUBS_CALL_UNLINK:
    case SUBS_CALL_JWKS:
    case SUBS_CALL_ROTATE:
    case SUBS_CALL_COUNT:
        break;
    }
    return true;
}

/* A claim shows who it is from with a token that the operator's own service signed. */
static bool
check_service(SubsCall *call)
{
    const Subs *subs = call->subs;
    const ServerSubscriptions *config = &subs->config->subscriptions;
    JwtVerdict verdict = JWT_INVALID;
    Error err;

    if (call->kind != SUBS_CALL_CLAIM || config->allow_unauthenticated_claims) {
        return true;
    }
    if (subs->service_keys == NULL) {
        (void)error_set(&err, ERR_AUTH, "the server has no keys to check claims with");
    } else if (call->bearer == NULL) {
        (void)error_set(&err, ERR_AUTH, "a claim needs a token");
    } else {
        verdict = jwt_verify(subs->service_keys, str_c(call->bearer), str_c(config->audience),
                             clock_wall_ms() / 1000, &err);
    }
    if (verdict != JWT_GOOD) {
        refuse(call->exchange, 401, verdict == JWT_EXPIRED ? "TOKEN_EXPIRED" : "TOKEN_INVALID",
               err.text);
    }
    return verdict == JWT_GOOD;
}

/* False: it is answered. */
static bool
take_request(SubsCall *call, const Route *route)
{
    const char *code = "INVALID_REQUEST";
    Error err;

    take_bearer(call);
    take_origin(call);
    if (!check_service(call)) {
        return false;
    }
    if ((route->id.ptr != NULL && !take_id(call, route->id, &err)) ||
        (call->kind == SUBS_CALL_UNLINK && !take_path(call, route->path, &err)) ||
        !take_body(call, &code, &err)) {
        refuse(call->exchange, 400, code, err.text);
        return false;
    }
    return true;
}

static void
start(App *app, HttpExchange *exchange, const Route *route)
{
    Subs *subs = app->subs;
    SubsCall *call;

    if (atomic_fetch_add(&subs->calls, 1) >= SUBS_CALLS_MAX) {
        atomic_fetch_sub(&subs->calls, 1);
        refuse(exchange, 503, "UNAVAILABLE", "too many requests about subscriptions wait");
        return;
    }
    call = mem_zalloc(sizeof(*call));
    call->subs = subs;
    call->kind = route->kind;
    call->net = exchange_loop(exchange);
    call->exchange = exchange;
    buf_init(&call->reply, SUBS_VIEW_BYTES_MAX);
    if (!take_request(call, route)) {
        call_free(call);
        return;
    }
    exchange_wait(exchange, client_left, call);
    exchange_outlives_eof(exchange);
    if (!subs_post_home(subs, subs_call_run, call)) {
        refuse(exchange, 503, "UNAVAILABLE", "the server starts or stops");
        call_free(call);
    }
}

void
subs_http(App *app, HttpExchange *exchange, Str rest)
{
    Route route = {.id = {NULL, 0}};

    switch (find_route(exchange_request(exchange)->method, rest, &route)) {
    case ROUTE_FOUND:
        start(app, exchange, &route);
        break;
    case ROUTE_BAD_METHOD:
        refuse(exchange, 405, "METHOD_NOT_ALLOWED", "the resource does not have this method");
        break;
    case ROUTE_NONE:
        refuse(exchange, 404, "NOT_FOUND", "no resource has this path");
        break;
    }
}

void
subs_http_rotate(App *app, HttpExchange *exchange)
{
    start(app, exchange, &(Route){.kind = SUBS_CALL_ROTATE, .id = {NULL, 0}});
}
