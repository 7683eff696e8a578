/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/sync_server.h"

#include "dsctl/options.h"
#include "sql/queries.h"

/* Columns of sync_servers.sql. */
enum {
    SAID_NAME,
    SAID_URL,
};

bool
sync_server_load(Call *call, CallRows *out, Error *err)
{
    return call_pg(call, sql_sync_servers, NULL, 0, out, err);
}

/* The name of the server at this origin, source if there is a choice; NULL: nobody says. */
static const char *
name_of(const CallRows *said, Str origin, const char *source)
{
    const char *name = NULL;

    for (int i = 0; i < said->rows; i++) {
        if (str_eq_nocase(str_c(call_rows_get(said, i, SAID_URL)), origin)) {
            name = call_rows_get(said, i, SAID_NAME);
            if (strcmp(name, source) == 0) {
                break;
            }
        }
    }
    return name;
}

/* NULL: nobody says. */
static const char *
url_of(const CallRows *said, const char *source)
{
    for (int i = 0; i < said->rows; i++) {
        if (strcmp(call_rows_get(said, i, SAID_NAME), source) == 0) {
            return call_rows_get(said, i, SAID_URL);
        }
    }
    return NULL;
}

bool
sync_server_is(const CallRows *said, const char *source, SyncServer *out, Error *err)
{
    Str origin = STR_EMPTY;

    if (!options_server(&origin, err)) {
        return false;
    }
    const char *name = name_of(said, origin, source);
    *out = name == NULL                ? SYNC_SERVER_UNKNOWN
           : strcmp(name, source) == 0 ? SYNC_SERVER_SAME
                                       : SYNC_SERVER_OTHER;
    return true;
}

bool
sync_server_check(Call *call, const char *stream, const char *source, bool is_named, Error *err)
{
    SyncServer server = SYNC_SERVER_UNKNOWN;
    Str origin = STR_EMPTY;
    CallRows said = {0};
    bool ok = options_server(&origin, err) && sync_server_load(call, &said, err) &&
              sync_server_is(&said, source, &server, err);
    const char *url = ok ? url_of(&said, source) : NULL;

    if (ok && server == SYNC_SERVER_OTHER) {
        ok = error_set(err, ERR_CONFLICT,
                       "%.*s is the server \"%s\", and %s is of \"%s\"; nothing was changed: give "
                       "--server %s",
                       STR_ARG(origin), name_of(&said, origin, source), stream, source,
                       url == NULL ? "its URL" : url);
    } else if (ok && server == SYNC_SERVER_UNKNOWN && !is_named) {
        ok = error_set(err, ERR_CONFLICT,
                       "no syncd says that %.*s is the server \"%s\", which %s is of%s%s; nothing "
                       "was changed: give its URL as --server, or, if this is it, say so with "
                       "--source %s",
                       STR_ARG(origin), source, stream, url == NULL ? "" : ", but that it is at ",
                       url == NULL ? "" : url, source);
    }
    call_rows_done(&said);
    return ok;
}
