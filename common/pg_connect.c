/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_connect.c -- from a connection string to an open connection, without blocking.
 *
 * libpq resolves names with a blocking call, so names are resolved here and passed as hostaddr;
 * host stays, for TLS and password files.  A name with several addresses becomes several entries,
 * which libpq tries in order.  What the string does not say comes from libpq's environment
 * variables, as always; a host named only in a service file is the one case that libpq resolves
 * itself.
 */
#include "common/pg_internal.h"

#include <arpa/inet.h>
#include <bsd/string.h>
#include <netdb.h>
#include <uv.h>

#include "common/log.h"
#include "common/mem.h"

#define PG_KEYWORDS_MAX 96 /* libpq knows about forty */
#define BOUND_SQL_SIZE  384

struct PgLookup {
    uv_getaddrinfo_t request;
    Pg *pg; /* NULL once nobody waits any more */
};

static const LogScope pg_scope = {.name = "pg"};

/* Used unless the string sets them.  Connection parameters, not startup options: PgBouncer refuses
 * the latter. */
static const struct {
    const char *keyword;
    const char *value;
} pg_defaults[] = {
    {"client_encoding", "UTF8"},   {"keepalives", "1"},       {"keepalives_idle", "30"},
    {"keepalives_interval", "10"}, {"keepalives_count", "3"}, {"tcp_user_timeout", "30000"},
};

static void pg_resolve_next(Pg *pg);

/* ---- the plan ---- */

void
pg_plan_done(PgPlan *plan)
{
    PQconninfoFree(plan->options);
    for (size_t i = 0; i < plan->host_count; i++) {
        free(plan->hosts[i]);
        free(plan->ports[i]);
    }
    for (size_t i = 0; i < plan->target_count; i++) {
        free(plan->targets[i].host);
        free(plan->targets[i].addr);
        free(plan->targets[i].port);
    }
    *plan = (PgPlan){0};
}

static const char *
option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL;
         option++) {
        if (str_eq(str_c(option->keyword), str_c(keyword))) {
            return option->val == NULL || option->val[0] == '\0' ? NULL : option->val;
        }
    }
    return NULL;
}

/* libpq quotes what it complains of, and that may be a piece of the password. */
static bool
parse_error(const char *message, Error *err)
{
    const char *first = message == NULL ? NULL : strchr(message, '"');
    const char *last = first == NULL ? NULL : strrchr(message, '"');
    char text[sizeof(err->text)];

    if (first == NULL) {
        pg_flatten(message == NULL ? "out of memory" : message, text, sizeof(text));
        return error_set(err, ERR_CONFIG, "the Postgres connection string is not valid: %s", text);
    }
    pg_flatten(last + 1, text, sizeof(text));
    return error_set(err, ERR_CONFIG, "the Postgres connection string is not valid: %.*s\"***\" %s",
                     (int)(first - message), message, text);
}

/* Comma-separated, as libpq writes lists; an empty part stays an empty string. */
static bool
split_list(const char *text, char **out, size_t max, size_t *out_count, Error *err)
{
    Str rest = str_c(text);
    size_t count = 0;
    bool more = true;

    while (more) {
        Str part;

        more = str_cut(rest, ',', &part, &rest);
        if (count == max) {
            while (count > 0) {
                free(out[--count]);
            }
            return error_set(err, ERR_LIMIT,
                             "the Postgres connection string names more than %zu hosts", max);
        }
        out[count++] = str_dup(part);
    }
    *out_count = count;
    return true;
}

static bool
plan_ports(PgPlan *plan, const char *port, Error *err)
{
    char *ports[PG_HOSTS_MAX];
    size_t count = 0;

    if (!split_list(port == NULL ? "" : port, ports, PG_HOSTS_MAX, &count, err)) {
        return false;
    }
    if (count == 1 || count == plan->host_count) {
        for (size_t i = 0; i < plan->host_count; i++) {
            plan->ports[i] = mem_strdup(ports[count == 1 ? 0 : i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        free(ports[i]);
    }
    if (count != 1 && count != plan->host_count) {
        return error_set(err, ERR_CONFIG,
                         "the Postgres connection string has %zu ports for %zu hosts", count,
                         plan->host_count);
    }
    return true;
}

static bool
plan_make(PgPlan *plan, const char *url, Error *err)
{
    char *message = NULL;
    PQconninfoOption *environment = NULL;
    bool ok = false;

    plan->options = PQconninfoParse(url, &message);
    if (plan->options == NULL) {
        (void)parse_error(message, err);
        goto done;
    }
    environment = PQconndefaults();
    const char *host = option_value(plan->options, "host");
    const char *addr = option_value(plan->options, "hostaddr");
    const char *port = option_value(plan->options, "port");
    if (host == NULL && option_value(plan->options, "service") == NULL) {
        host = option_value(environment, "host");
    }
    if (addr == NULL) {
        addr = option_value(environment, "hostaddr");
    }
    if (port == NULL) {
        port = option_value(environment, "port");
    }
    /* Without a host libpq takes the local socket; with an address there is nothing to resolve. */
    ok = host == NULL || addr != NULL ||
         (split_list(host, plan->hosts, PG_HOSTS_MAX, &plan->host_count, err) &&
          plan_ports(plan, port, err));

done:
    PQfreemem(message);
    PQconninfoFree(environment);
    return ok;
}

static void
plan_add_target(PgPlan *plan, size_t host, const char *addr)
{
    if (plan->target_count == PG_TARGETS_MAX) {
        return;
    }
    plan->targets[plan->target_count++] = (PgTarget){
        .host = mem_strdup(plan->hosts[host]),
        .addr = mem_strdup(addr),
        .port = mem_strdup(plan->ports[host]),
    };
}

/* ---- connecting ---- */

static void
on_notice(void *arg, const PGresult *result)
{
    Pg *pg = arg;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (str_eq(str_c(severity), STR("FATAL"))) {
        (void)error_set(&pg->last_words, ERR_RETRY, "%s", message == NULL ? "" : message);
        (void)strlcpy(pg->last_words.sqlstate, sqlstate == NULL ? "" : sqlstate,
                      sizeof(pg->last_words.sqlstate));
    }
    log_debug(&pg_scope, LOG_FIELDS(log_str("sqlstate", str_c(sqlstate))), "%s",
              message == NULL ? "" : message);
}

static bool
is_sqlstate(const char *text)
{
    for (int i = 0; i < 5; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z'))) {
            return false;
        }
    }
    return text[5] == ':' && text[6] == ' ';
}

/* libpq keeps no result of a refused connection; its verbose message has "SEVERITY:  SQLSTATE: ",
 * one line for each host it tried.  The last one counts. */
PgErrorClass
pg_connect_error(const char *message, bool needs_password, Error *err)
{
    char text[sizeof(err->text)];
    char sqlstate[6] = "";
    PgErrorClass class = needs_password ? PG_ERROR_PERMANENT : PG_ERROR_CONNECTION;

    for (const char *at = strstr(message, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        if (is_sqlstate(at + 3)) {
            memcpy(sqlstate, at + 3, 5);
        }
    }
    if (sqlstate[0] != '\0') {
        class = pg_sqlstate_class(sqlstate);
    }
    pg_flatten(message, text, sizeof(text));
    (void)error_set(err, needs_password ? ERR_AUTH : pg_error_code(class, sqlstate), "%s", text);
    memcpy(err->sqlstate, sqlstate, sizeof(err->sqlstate));
    return class;
}

static void
pg_connect_told(void *arg, const PgReply *reply)
{
    Pg *pg = arg;
    PgReply ok = {
        .ok = true, .context = "", .constraint = "", .table = "", .column = "", .tag = ""};

    timer_stop(pg->connect_timer);
    /* A server that refuses the limit works without it: whoever waits has one of his own. */
    pg->connect_fn(pg->connect_arg, pg_connected(pg) ? &ok : reply);
}

/* The session is ours when its process is the one that the server named when it was made: a pooler
 * names none of the server's.  A limit that is lower already stays. */
static void
pg_bound_session(Pg *pg)
{
    char sql[BOUND_SQL_SIZE];
    int length = snprintf(sql, sizeof(sql),
                          "SELECT set_config('statement_timeout', '%lldms', false) FROM "
                          "pg_catalog.pg_settings WHERE name = 'statement_timeout' AND "
                          "pg_catalog.pg_backend_pid() = %d AND "
                          "(setting::bigint = 0 OR setting::bigint > %lld)",
                          (long long)pg->config.statement_ms_max, PQbackendPID(pg->conn),
                          (long long)pg->config.statement_ms_max);

    DS_ASSERT(length < (int)sizeof(sql));
    pg_exec(pg, sql, pg_connect_told, pg);
}

static void
pg_connect_ok(Pg *pg)
{
    const char *encoding = PQparameterStatus(pg->conn, "client_encoding");
    Error err;

    if (!str_eq(str_c(encoding), STR("UTF8"))) {
        (void)error_set(&err, ERR_CONFIG,
                        "client_encoding is %s: leave it out of the connection string, or say UTF8",
                        encoding == NULL ? "unknown" : encoding);
        pg_fail(pg, PG_ERROR_PERMANENT, &err);
        return;
    }
    (void)PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(pg->conn, 1) != 0) {
        (void)error_set(&err, ERR_RETRY, "the connection to Postgres was lost");
        pg_fail(pg, PG_ERROR_CONNECTION, &err);
        return;
    }
    pg_plan_done(&pg->plan);
    pg->connect_fn = pg->command.fn;
    pg->connect_arg = pg->command.arg;
    pg->command = (PgCommand){0};
    pg_enter(pg, PG_IDLE);
    fd_watch(pg->watch, LOOP_READABLE);
    if (pg->config.statement_ms_max > 0) {
        pg_bound_session(pg); /* the connect timer still runs */
    } else {
        pg_connect_told(pg, NULL);
    }
}

static void on_connect_fd(void *arg, unsigned events);

static void
pg_connect_watch(Pg *pg, LoopFdFn fn, unsigned events)
{
    pg->watch = fd_new(pg->loop, PQsocket(pg->conn), fn, pg);
    fd_watch(pg->watch, events);
}

static void
on_connect_fd(void *arg, unsigned events DS_UNUSED)
{
    Pg *pg = arg;
    Error err;

    /* libpq may close the socket here and open one of the same number: the watch cannot stay. */
    fd_free(pg->watch);
    pg->watch = NULL;
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_READING:
        pg_connect_watch(pg, on_connect_fd, LOOP_READABLE);
        break;

    case PGRES_POLLING_WRITING:
        pg_connect_watch(pg, on_connect_fd, LOOP_WRITABLE);
        break;

    case PGRES_POLLING_OK:
        pg_connect_watch(pg, pg_on_fd, 0);
        pg_connect_ok(pg);
        break;

    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: { /* kept by libpq for compatibility, never returned */
        PgErrorClass class = pg_connect_error(PQerrorMessage(pg->conn),
                                              PQconnectionNeedsPassword(pg->conn) != 0, &err);

        pg_fail(pg, class, &err);
        break;
    }
    }
}

/* The three lists have one entry for each target, beginning with the one whose turn it is. */
static bool
targets_join(const Pg *pg, Buf *hosts, Buf *addrs, Buf *ports, Error *err)
{
    const PgPlan *plan = &pg->plan;

    for (size_t i = 0; i < plan->target_count; i++) {
        const PgTarget *target = &plan->targets[(i + pg->rotation) % plan->target_count];
        const char *comma = i == 0 ? "" : ",";

        if (!buf_printf(hosts, err, "%s%s", comma, target->host) ||
            !buf_printf(addrs, err, "%s%s", comma, target->addr) ||
            !buf_printf(ports, err, "%s%s", comma, target->port)) {
            return false;
        }
    }
    return true;
}

typedef struct Keywords {
    const char *names[PG_KEYWORDS_MAX + 1];
    const char *values[PG_KEYWORDS_MAX + 1];
    size_t count;
} Keywords;

static void
keywords_add(Keywords *keywords, const char *name, const char *value)
{
    DS_ASSERT(keywords->count < PG_KEYWORDS_MAX);
    keywords->names[keywords->count] = name;
    keywords->values[keywords->count++] = value;
}

/* Later entries win in libpq: first what the string says, then what was resolved from it. */
static void
keywords_fill(const Pg *pg, Keywords *keywords)
{
    const PQconninfoOption *options = pg->plan.options;

    for (size_t i = 0; i < DS_COUNT(pg_defaults); i++) {
        keywords_add(keywords, pg_defaults[i].keyword, pg_defaults[i].value);
    }
    if (pg->config.application_name != NULL) {
        keywords_add(keywords, "fallback_application_name", pg->config.application_name);
    }
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (option->val != NULL) {
            keywords_add(keywords, option->keyword, option->val);
        }
    }
}

static void
pg_connect_start(Pg *pg)
{
    Keywords keywords = {.count = 0};
    Buf hosts, addrs, ports;
    Error err;

    buf_init(&hosts, PG_TARGETS_TEXT_MAX);
    buf_init(&addrs, PG_TARGETS_TEXT_MAX);
    buf_init(&ports, PG_TARGETS_TEXT_MAX);
    keywords_fill(pg, &keywords);
    if (!targets_join(pg, &hosts, &addrs, &ports, &err)) {
        pg_fail_later(pg, PG_ERROR_PERMANENT, &err);
        goto done;
    }
    if (pg->plan.target_count > 0) {
        keywords_add(&keywords, "host", buf_cstr(&hosts));
        keywords_add(&keywords, "hostaddr", buf_cstr(&addrs));
        keywords_add(&keywords, "port", buf_cstr(&ports));
    }
    pg->conn = PQconnectStartParams(keywords.names, keywords.values, 0);
    DS_ASSERT(pg->conn != NULL);
    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        PgErrorClass class = pg_connect_error(PQerrorMessage(pg->conn), false, &err);

        pg_fail_later(pg, class, &err);
        goto done;
    }
    (void)PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    (void)PQsetNoticeReceiver(pg->conn, on_notice, pg);
    pg_enter(pg, PG_CONNECTING);
    pg_connect_watch(pg, on_connect_fd, LOOP_WRITABLE);

done:
    buf_done(&hosts);
    buf_done(&addrs);
    buf_done(&ports);
}

/* ---- names ---- */

void
pg_lookup_detach(Pg *pg)
{
    if (pg->lookup != NULL) {
        pg->lookup->pg = NULL;
        (void)uv_cancel((uv_req_t *)&pg->lookup->request); /* frees its place if not started yet */
        pg->lookup = NULL;
    }
}

static bool
host_needs_lookup(const char *host)
{
    struct in6_addr addr;

    /* '@' is how libpq writes an abstract socket. */
    return host[0] != '\0' && host[0] != '/' && host[0] != '@' &&
           inet_pton(AF_INET, host, &addr) != 1 && inet_pton(AF_INET6, host, &addr) != 1;
}

static bool
host_is_local_socket(const char *host)
{
    return host[0] == '\0' || host[0] == '/' || host[0] == '@';
}

/* A badly quoted password can end up in the host's place. */
static const char *
host_for_people(const char *host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

    return host[strspn(host, allowed)] == '\0' ? host : "***";
}

static void
plan_add_addresses(PgPlan *plan, size_t host, const struct addrinfo *list)
{
    for (const struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next) {
        char text[NI_MAXHOST];

        if (getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof(text), NULL, 0,
                        NI_NUMERICHOST) == 0) {
            plan_add_target(plan, host, text);
        }
    }
}

static void
on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    PgLookup *lookup = (PgLookup *)request;
    Pg *pg = lookup->pg;

    free(lookup);
    if (pg != NULL) {
        PgPlan *plan = &pg->plan;

        pg->lookup = NULL;
        if (status != 0) {
            (void)error_set(&plan->lookup_error, ERR_RETRY, "Postgres host \"%s\": %s",
                            host_for_people(plan->hosts[plan->host_next]), uv_strerror(status));
        } else {
            plan_add_addresses(plan, plan->host_next, list);
        }
        plan->host_next++;
        pg_resolve_next(pg);
    }
    uv_freeaddrinfo(list);
}

static void
pg_resolve_next(Pg *pg)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    PgPlan *plan = &pg->plan;

    for (; plan->host_next < plan->host_count; plan->host_next++) {
        const char *host = plan->hosts[plan->host_next];

        if (host_needs_lookup(host)) {
            PgLookup *lookup = mem_zalloc(sizeof(*lookup));

            lookup->pg = pg;
            pg->lookup = lookup;
            int status = uv_getaddrinfo(loop_uv(pg->loop), &lookup->request, on_resolved, host,
                                        NULL, &hints);
            if (status == 0) {
                return;
            }
            free(lookup); /* a name too long for any resolver */
            pg->lookup = NULL;
            (void)error_set(&plan->lookup_error, ERR_CONFIG, "Postgres host \"%s\": %s",
                            host_for_people(host), uv_strerror(status));
            continue;
        }
        plan_add_target(plan, plan->host_next, host_is_local_socket(host) ? "" : host);
    }
    /* As libpq does: a host that cannot be found is passed over while there are others. */
    if (plan->host_count > 0 && plan->target_count == 0) {
        pg_fail_later(pg, PG_ERROR_CONNECTION, &plan->lookup_error);
        return;
    }
    pg_connect_start(pg);
}

void
pg_connect(Pg *pg, PgReplyFn fn, void *arg)
{
    Error err;

    DS_ASSERT(pg->state == PG_CLOSED);
    pg->command = (PgCommand){.fn = fn, .arg = arg};
    if (!plan_make(&pg->plan, secret_reveal(pg->config.url), &err)) {
        pg_fail_later(pg, PG_ERROR_PERMANENT, &err);
        return;
    }
    pg_enter(pg, PG_RESOLVING);
    timer_start(pg->connect_timer, pg->config.connect_ms_max);
    pg_resolve_next(pg);
}
