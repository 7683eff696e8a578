/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl sync: what syncd has committed, against what the stream server has; what changes it stands
 * in files of its own. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/emit.h"
#include "dsctl/lag.h"
#include "dsctl/options.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"
#include "dsctl/sync_place.h"
#include "dsctl/sync_server.h"

#include "common/ds_proto.h"
#include "sql/queries.h"

#define NAMES_BYTES_MAX (1u << 20)

static bool arg_no_head;
static int64_t arg_lag_max = -1;
static const char *arg_route;

static const Option status_options[] = {
    OPT_FLAG(0, "no-head", &arg_no_head, "do not ask the stream server for the tails"),
    OPT_INT(0, "max-lag", &arg_lag_max, "COUNT", 0, INT64_MAX,
            "status 9 when a stream, but of a removed route, is further behind, or by an unknown "
            "count"),
    OPT_STRING('r', "route", &arg_route, "NAME", "only the streams of this route"),
    OPT_END(),
};

static const Field fields[] = {
    {"name", FIELD_TEXT},          {"source", FIELD_TEXT},          {"route", FIELD_TEXT},
    {"content_type", FIELD_TEXT},  {"state", FIELD_TEXT},           {"reason", FIELD_TEXT},
    {"offset", FIELD_TEXT},        {"skip", FIELD_INTEGER},         {"next_seq", FIELD_INTEGER},
    {"generation", FIELD_INTEGER}, {"epoch", FIELD_INTEGER},        {"closed", FIELD_BOOL},
    {"owner", FIELD_TEXT},         {"dead_letters", FIELD_INTEGER}, {"updated_at", FIELD_TEXT},
    {"age_ms", FIELD_INTEGER},     {"removed", FIELD_BOOL},
};

static const OutputColumn columns[] = {
    {"name", "STREAM", COLUMN_TEXT, NULL},
    {"state", "STATE", COLUMN_TEXT, NULL},
    {"offset", "OFFSET", COLUMN_TEXT, NULL},
    {"rows", "ROWS", COLUMN_NUMBER, NULL},
    {"dead_letters", "DEAD", COLUMN_NUMBER, NULL},
    {"lag", "LAG", COLUMN_NUMBER, "lag_state"},
    {"age_ms", "COMMITTED", COLUMN_AGE, NULL},
    {"owner", "OWNER", COLUMN_TEXT, NULL},
    {"reason", "REASON", COLUMN_TEXT, NULL},
    {"route", "ROUTE", COLUMN_TEXT, NULL},
    {"source", NULL, COLUMN_TEXT, NULL},
    {"content_type", NULL, COLUMN_TEXT, NULL},
    {"bytes", NULL, COLUMN_NUMBER, NULL},
    {"head_offset", NULL, COLUMN_TEXT, NULL},
    {"lag_state", NULL, COLUMN_TEXT, NULL},
    {"skip", NULL, COLUMN_NUMBER, NULL},
    {"next_seq", NULL, COLUMN_NUMBER, NULL},
    {"generation", NULL, COLUMN_NUMBER, NULL},
    {"epoch", NULL, COLUMN_NUMBER, NULL},
    {"closed", NULL, COLUMN_TEXT, NULL},
    {"updated_at", NULL, COLUMN_TEXT, NULL},
    {"removed", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static const char details[] =
    "ROWS counts messages that are rows (next_seq less dead letters); streams of bytes have none, "
    "JSON\n"
    "output says their bytes.  LAG is in messages or bytes when server and offset tell it; "
    "otherwise\n"
    "the word for it: \"new era\" when the stream was made anew, \"other server\" when --server is "
    "not the one\n"
    "that it is of, as its URL says.  COMMITTED is the age of the last commit.  REASON also says "
    "that\n"
    "the route is stopped, paused or removed, or that a snapshot of state is open, of which no row "
    "is\n"
    "seen yet.\n"
    "Status 8 when the stream server could not be asked.";

typedef struct Status {
    Call *call;
    CallRows servers; /* where they are, as instances say */
    bool source_down; /* said once, then no more HEAD */
    bool lag_exceeded;
} Status;

/* ---- the tail of one stream ---- */

static void
set_lag(Status *status, json_t *row, const char *state, Lag lag)
{
    bool counted = lag.kind == LAG_NONE || lag.kind == LAG_COUNTED;

    json_object_set_new(row, "lag", counted ? json_integer((json_int_t)lag.behind) : json_null());
    json_object_set_new(row, "lag_state", json_string(state));
    /* Of a route that was removed it grows for ever, and shall. */
    if (arg_lag_max >= 0 && !json_is_true(json_object_get(row, "removed")) &&
        (!counted || lag.behind > (uint64_t)arg_lag_max)) {
        status->lag_exceeded = true;
    }
}

static void
compare(Status *status, json_t *row, Str tail)
{
    static const char *const states[] = {[LAG_NONE] = "caught up",
                                         [LAG_COUNTED] = "behind",
                                         [LAG_UNKNOWN] = "behind",
                                         [LAG_OTHER_ERA] = "new era"};
    Str committed = str_c(json_string_value(json_object_get(row, "offset")));
    uint64_t skip = (uint64_t)json_integer_value(json_object_get(row, "skip"));
    Lag lag = lag_between(committed.len > 0 ? committed : STR(DS_OFFSET_START), skip, tail);

    json_object_set_new(row, "head_offset", json_stringn(tail.ptr, tail.len));
    set_lag(status, row, states[lag.kind], lag);
}

/* The server does not have it.  What was closed and loaded to its end before is not missing. */
static void
set_missing(Status *status, json_t *row, const char *state)
{
    if (json_is_true(json_object_get(row, "closed"))) {
        json_object_set_new(row, "lag_state", json_string(state));
    } else {
        set_lag(status, row, state, (Lag){LAG_UNKNOWN, 0});
    }
}

/* A stream that is not there is a state; a server that is not there ends the asking. */
static bool
ask_head(Status *status, json_t *row, Error *err)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    HttpRequest request = {.method = "HEAD"};
    CallReply reply;
    Error why = {0};
    bool ok = true;
    Buf url;

    call_reply_init(&reply);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    if (!options_name_url(name, &url, err)) {
        ok = false;
        goto done;
    }
    request.url = buf_cstr(&url);
    if (call_http(status->call, &request, &reply, &why)) {
        compare(status, row, call_reply_header(&reply, DS_H_STREAM_NEXT_OFFSET));
    } else if (why.code == ERR_NOT_FOUND || why.code == ERR_GONE) {
        set_missing(status, row, why.code == ERR_GONE ? "gone" : "absent");
    } else if (why.code == ERR_CANCELED) {
        *err = why;
        ok = false;
    } else {
        call_note("no lag: %s", why.text);
        status->source_down = true;
    }

done:
    buf_done(&url);
    call_reply_done(&reply);
    return ok;
}

/* ---- rows ---- */

static void
set_amounts(json_t *row)
{
    const char *type = json_string_value(json_object_get(row, "content_type"));
    json_int_t next_seq = json_integer_value(json_object_get(row, "next_seq"));
    json_int_t dead = json_integer_value(json_object_get(row, "dead_letters"));
    bool is_json = type == NULL || emit_is_json(str_c(type));

    json_object_set_new(row, "rows", is_json ? json_integer(next_seq - dead) : json_null());
    json_object_set_new(row, "bytes", is_json ? json_null() : json_integer(next_seq));
}

static bool
status_row(Status *status, const CallRows *rows, int i, json_t *out, Error *err)
{
    SyncServer server = SYNC_SERVER_UNKNOWN;
    json_t *row = NULL;

    if (!rows_object(rows, i, fields, DS_COUNT(fields), &row, err)) {
        return false;
    }
    json_array_append_new(out, row);
    set_amounts(row);
    json_object_set_new(row, "head_offset", json_null());
    json_object_set_new(row, "lag", json_null());
    json_object_set_new(row, "lag_state", json_string("unknown"));
    if (arg_no_head) {
        return true;
    }
    if (!sync_server_is(&status->servers, json_string_value(json_object_get(row, "source")),
                        &server, err)) {
        return false;
    }
    if (server == SYNC_SERVER_OTHER) {
        set_lag(status, row, "other server", (Lag){LAG_UNKNOWN, 0});
        return true;
    }
    return status->source_down || ask_head(status, row, err);
}

static bool
check_names(const CliCall *cli, const CallRows *rows, Error *err)
{
    for (size_t i = 0; i < cli->count; i++) {
        bool found = false;
        for (int row = 0; row < rows->rows && !found; row++) {
            found = strcmp(call_rows_get(rows, row, 0), cli->args[i]) == 0;
        }
        if (!found) {
            return error_set(err, ERR_NOT_FOUND, "syncd knows no stream %s", cli->args[i]);
        }
    }
    return true;
}

static bool
run_status(Call *call, const CliCall *cli, Error *err)
{
    Status status = {.call = call};
    CallRows rows = {0};
    json_t *out = json_array();
    PgParam params[] = {{.value = NULL}, {.value = arg_route}};
    bool ok = false;
    Buf array;

    buf_init(&array, NAMES_BYTES_MAX);
    if (!sync_names(cli->args, cli->count, &array, err)) {
        goto done;
    }
    params[0].value = cli->count > 0 ? buf_cstr(&array) : NULL;
    if (!call_pg(call, sql_sync_status, params, DS_COUNT(params), &rows, err) ||
        (rows.rows == 0 && !sync_check_known(call, NULL, arg_route, err)) ||
        !check_names(cli, &rows, err) ||
        (!arg_no_head && !sync_server_load(call, &status.servers, err))) {
        goto done;
    }
    for (int i = 0; i < rows.rows; i++) {
        if (!status_row(&status, &rows, i, out, err)) {
            goto done;
        }
    }
    ok = output_rows("streams", columns, out, err);
    if (ok && rows.rows == 0) {
        call_note("syncd has not seen any stream%s%s yet",
                  arg_route == NULL ? "" : " of the route ", arg_route == NULL ? "" : arg_route);
    }
    call_set_exit(call, status.source_down    ? DSCTL_PARTIAL
                        : status.lag_exceeded ? DSCTL_WARNING
                                              : DSCTL_OK);

done:
    json_decref(out);
    call_rows_done(&rows);
    call_rows_done(&status.servers);
    buf_done(&array);
    return ok;
}

static int
cmd_status(const CliCall *cli)
{
    return call_main(run_status, cli);
}

const Command sync_commands[] = {
    {.name = "status",
     .args = "[STREAM...]",
     .args_max = 64,
     .options = status_options,
     .run = cmd_status,
     .help = "show what is committed of each stream, and how far behind",
     .details = details},
    {.name = "retry",
     .args = "[STREAM...]",
     .args_max = 64,
     .options = sync_retry_options,
     .run = cmd_sync_retry,
     .help = "try stopped or failed streams again, without a restart of syncd",
     .details = sync_retry_details},
    {.name = "reset",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 1,
     .options = sync_reset_options,
     .run = cmd_sync_reset,
     .help = "read a stream from its start, as the next generation",
     .details = sync_reset_details},
    {.name = "skip",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 1,
     .options = sync_skip_options,
     .run = cmd_sync_skip,
     .help = "go on behind messages that shall not, or cannot, be loaded",
     .details = sync_skip_details},
    {.name = NULL},
};
