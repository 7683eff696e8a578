/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl sync retry and reset: begin again, from where a stream stands or from its start. */
#include "common/ds_proto.h"
#include "dsctl/commands.h"
#include "dsctl/sync_place.h"
#include "sql/queries.h"

#define IDS_BYTES_MAX (8u << 20)

static const char *arg_route;
static const char *arg_source;
static bool arg_all;
static bool arg_execute;

#define OPT_WHICH                                                                                  \
    OPT_STRING('r', "route", &arg_route, "NAME", "of this route"),                                 \
        OPT_STRING(0, "source", &arg_source, "NAME", "of this server, as syncd calls it")

/* ---- retry ---- */

const Option sync_retry_options[] = {
    OPT_WHICH,
    OPT_FLAG(0, "all", &arg_all, "all that are stopped or failed, but for those that were gone"),
    OPT_END(),
};

const char sync_retry_details[] =
    "For streams that are stopped or failed, once what failed them is mended: syncd loads their "
    "positions and\n"
    "tries again within seconds, without a restart.  No position moves.  STATE and REASON are "
    "those "
    "of before;\n"
    "sync status says how it went.  A stream that was gone from its server, or another one there, "
    "may be read on\n"
    "from the old position once it is named: that says that it is the same stream.  --all leaves "
    "such ones alone\n"
    "(RESULT gone); sync reset reads a new stream of that name from its start.  Those of a route\n"
    "that is stopped are left alone as well (RESULT route stopped): route resume goes on with "
    "them.";

static const OutputColumn retry_columns[] = {
    {"stream", "STREAM", COLUMN_TEXT, NULL}, {"result", "RESULT", COLUMN_TEXT, NULL},
    {"state", "STATE", COLUMN_TEXT, NULL},   {"reason", "REASON", COLUMN_TEXT, NULL},
    {"route", "ROUTE", COLUMN_TEXT, NULL},   {"source", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static bool
retry_ids(const CallRows *found, Buf *ids, Error *err)
{
    bool ok = buf_append_char(ids, '{', err);

    for (int i = 0; ok && i < found->rows; i++) {
        SyncStream stream;

        ok = sync_stream(found, i, &stream, err) &&
             pg_array_append(ids, str_c(stream.id), i == 0, err);
    }
    return ok && buf_append_char(ids, '}', err);
}

/* Those that were left alone, and why. */
typedef struct Left {
    int gone;
    int stopped;
} Left;

/* asked: a row for each of found. */
static bool
retry_results(const CallRows *found, const CallRows *asked, json_t *out, Left *left, Error *err)
{
    for (int i = 0; i < found->rows; i++) {
        const char *result = call_rows_get(asked, i, 0);
        SyncStream stream;

        if (!sync_stream(found, i, &stream, err)) {
            return false;
        }
        left->gone += strcmp(result, "gone") == 0;
        left->stopped += strcmp(result, "route stopped") == 0;
        json_array_append_new(out,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?}", "stream", stream.name,
                                        "source", stream.source, "route", stream.route, "result",
                                        result, "state", stream.state, "reason", stream.reason));
    }
    return true;
}

static bool
ask_again(Call *call, const CallRows *found, Buf *ids, json_t *out, Error *err)
{
    PgParam params[] = {{.value = buf_cstr(ids)}, {.value = arg_all ? "f" : "t"}};
    CallRows asked = {0};
    Left left = {0};
    bool ok = call_pg(call, sql_sync_retry, params, DS_COUNT(params), &asked, err) &&
              retry_results(found, &asked, out, &left, err) &&
              output_rows("streams", retry_columns, out, err);

    if (ok && left.gone > 0) {
        call_note("%d were left alone: they were gone from their server, or are others there; "
                  "dsctl sync retry NAME says that it is the same stream, dsctl sync reset NAME "
                  "reads it from its start",
                  left.gone);
    }
    if (ok && left.stopped > 0) {
        call_note("%d were left alone, since their route is stopped: mend what it says, then dsctl "
                  "route resume ROUTE, which goes on with them",
                  left.stopped);
    }
    call_rows_done(&asked);
    return ok;
}

static bool
run_retry(Call *call, const CliCall *cli, Error *err)
{
    SyncWanted wanted = {
        .names = cli->args, .count = cli->count, .route = arg_route, .source = arg_source};
    json_t *out = json_array();
    CallRows found = {0};
    bool ok = false;
    Buf ids;

    buf_init(&ids, IDS_BYTES_MAX);
    if (arg_all != (cli->count == 0)) {
        error_set(err, ERR_CONFIG, "name streams, or say --all");
    } else {
        ok = sync_check_known(call, NULL, arg_route, err) &&
             sync_find(call, &wanted, &found, err) && retry_ids(&found, &ids, err) &&
             ask_again(call, &found, &ids, out, err);
    }
    if (ok && found.rows == 0) {
        call_note("no stream is stopped or failed");
    } else if (ok) {
        ok = sync_note_nobody(call, err);
    }
    json_decref(out);
    call_rows_done(&found);
    buf_done(&ids);
    return ok;
}

int
cmd_sync_retry(const CliCall *cli)
{
    return call_main(run_retry, cli);
}

/* ---- reset ---- */

const Option sync_reset_options[] = {
    OPT_WHICH,
    OPT_FLAG(0, "execute", &arg_execute, "do it, instead of saying what it would do"),
    OPT_END(),
};

const char sync_reset_details[] =
    "The stream is read from its start as the next generation, as if it had been made anew: rows "
    "that are there\n"
    "stay, seq goes on, and generation in the rows marks the seam.  A table of state is emptied "
    "of the stream by\n"
    "the first message, and built again.  Whoever loads it commits nothing more of the old "
    "generation, and begins\n"
    "again within seconds.";

static bool
run_reset(Call *call, const CliCall *cli, Error *err)
{
    SyncWanted wanted = {.names = cli->args, .count = 1, .route = arg_route, .source = arg_source};
    json_t *out = json_array();
    CallRows rows = {0};
    SyncStream stream;

    bool ok = sync_find_one(call, &wanted, &rows, &stream, err) &&
              (!arg_execute || sync_hold(call, &wanted, &rows, &stream, err));
    if (ok) {
        SyncPlace to = {.generation = stream.place.generation + 1,
                        .offset = DS_OFFSET_START,
                        .next_seq = stream.place.next_seq};

        ok = !arg_execute ||
             sync_release(call, sync_move(call, "sync.reset", &stream, &to, NULL, err), err);
        json_array_append_new(
            out, sync_move_row(&stream, &to, arg_execute ? "reset" : "would be reset"));
    }
    ok = ok && output_rows("streams", sync_move_columns, out, err);
    if (ok && !arg_execute) {
        call_note("nothing was changed; --execute does it");
    } else if (ok) {
        ok = sync_note_nobody(call, err);
    }
    json_decref(out);
    call_rows_done(&rows);
    return ok;
}

int
cmd_sync_reset(const CliCall *cli)
{
    return call_main(run_reset, cli);
}
