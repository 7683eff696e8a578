/* SPDX-License-Identifier: Apache-2.0 */
#include "server/route.h"

#include "common/ds_proto.h"
#include "server/admin.h"
#include "server/op.h"
#include "server/subs_http.h"

typedef void (*StreamOpFn)(App *app, HttpExchange *exchange, Str name);

static const StreamOpFn stream_ops[HTTP_METHOD_COUNT] = {
    [HTTP_METHOD_GET] = op_read,   [HTTP_METHOD_HEAD] = op_head,     [HTTP_METHOD_POST] = op_append,
    [HTTP_METHOD_PUT] = op_create, [HTTP_METHOD_DELETE] = op_delete,
};

typedef struct AdminRoute {
    HttpMethod method;
    Str path;
    Str allow;
    void (*run)(App *app, HttpExchange *exchange);
} AdminRoute;

static const AdminRoute admin_routes[] = {
    {HTTP_METHOD_GET, STR("/admin/streams"), STR("GET"), admin_streams},
    {HTTP_METHOD_POST, STR("/admin/subscriptions/rotate-key"), STR("POST"), subs_http_rotate},
    {HTTP_METHOD_POST, STR("/admin/trim"), STR("POST"), admin_trim},
};

static App *
app_of(const HttpExchange *exchange)
{
    return net_loop_app(exchange_loop(exchange));
}

static void
refuse_method(HttpExchange *exchange, Str allow)
{
    reply_problem_start(exchange, 405);
    reply_field(exchange, "Allow", allow);
    reply_problem_send(exchange, "METHOD_NOT_ALLOWED", "");
}

/* A proxy may look at another of them than we do, so there must be one at most. */
static const char *
repeated_field(const HttpExchange *exchange)
{
    static const char *const names[] = {
        "Content-Type",
        DS_H_STREAM_SEQ,
        DS_H_STREAM_CLOSED,
        DS_H_STREAM_TTL,
        DS_H_STREAM_EXPIRES_AT,
        DS_H_PRODUCER_ID,
        DS_H_PRODUCER_EPOCH,
        DS_H_PRODUCER_SEQ,
        DS_H_STREAM_FORKED_FROM,
        DS_H_STREAM_FORK_OFFSET,
        DS_H_STREAM_FORK_SUB_OFFSET,
    };
    Str value;
    size_t count;

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        if (exchange_field(exchange, names[i], &value, &count) && count > 1) {
            return names[i];
        }
    }
    return NULL;
}

void
route_request(HttpExchange *exchange)
{
    App *app = app_of(exchange);
    const HttpRequestView *request = exchange_request(exchange);
    StreamOpFn run = stream_ops[request->method];
    bool writes = request->method == HTTP_METHOD_POST || request->method == HTTP_METHOD_PUT;
    const char *repeated = writes ? repeated_field(exchange) : NULL;
    Str raw;
    Buf name;
    Error err;

    if (!op_raw_name(app, request->path, &raw)) {
        op_problem(exchange, 404, "NOT_FOUND", "no resource has this path");
        return;
    }
    if (name_is_reserved(raw)) {
        subs_http(app, exchange, str_skip(raw, sizeof(DS_STREAM_RESERVED_SEGMENT)));
        return;
    }
    if (run == NULL) {
        refuse_method(exchange, STR("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
        return;
    }
    if (repeated != NULL) {
        error_set(&err, ERR_INPUT, "the field %s is given more than once", repeated);
        op_problem(exchange, 400, "BAD_REQUEST", err.text);
        return;
    }
    buf_init(&name, HTTP_TARGET_BYTES_MAX);
    if (!name_decode(raw, &app->names, &name, &err)) {
        op_problem(exchange, 400, "INVALID_STREAM_NAME", err.text);
    } else if (name_is_reserved(buf_str(&name))) {
        op_problem(exchange, 404, "NOT_FOUND", "names that begin with __ds are reserved");
    } else {
        run(app, exchange, buf_str(&name));
    }
    buf_done(&name);
}

void
route_admin(HttpExchange *exchange)
{
    const HttpRequestView *request = exchange_request(exchange);

    for (size_t i = 0; i < DS_COUNT(admin_routes); i++) {
        const AdminRoute *route = &admin_routes[i];

        if (!str_eq(request->path, route->path)) {
            continue;
        }
        if (request->method == route->method) {
            route->run(app_of(exchange), exchange);
        } else {
            refuse_method(exchange, route->allow);
        }
        return;
    }
    op_problem(exchange, 404, "NOT_FOUND", "no resource has this path");
}
