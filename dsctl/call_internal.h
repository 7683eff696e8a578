/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/call_internal.h -- what call.c, call_http.c and call_pg.c share.
 */
#pragma once

#include "dsctl/call.h"

#define CALL_CONNECT_MS_MAX 10000
#define CALL_SIGNALS        2

struct Call {
    Loop *loop;
    LoopTimer *timer;
    Secret token;
    HttpClient *http;
    Secret pg_url;
    Pg *pg;
    ExitCode exit;
    LoopTimer *reader; /* looks whether our output still has one */
    bool interrupted;
    bool reader_left;
    bool postgres_failed; /* the last error came from there */
    ExitCode failed_exit; /* of the last error, where its code does not say enough; 0 = it does */
    /* the wait under way */
    bool done;
    bool expired;
};

/* Between call_begin_wait and the end of call_wait something must call call_finish_wait. */
void call_begin_wait(Call *call);
void call_finish_wait(Call *call);
/* limit_ms 0 is none; running into it is call->expired.  ERR_CANCELED when interrupted. */
DS_MUST_CHECK bool call_wait(Call *call, int64_t limit_ms, Error *err);

/* The SQLSTATE says that a table, column or schema of ours is not there. */
bool call_is_no_schema(const Error *err);
