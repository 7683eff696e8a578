/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/error_class.h -- what each error asks for: the one table that writers, sessions and
 * `--check` act by, that `syncd --print-errors` shows and docs/syncd.md holds (a test compares).
 *
 * Which SQLSTATE is of which kind stands in common/pg_sqlstate.c, since it also decides whether a
 * connection lives; here kinds become classes, a few SQLSTATEs get one of their own, and so do the
 * statuses of the stream server (design: syncd, "Errors").  Pure.
 */
#pragma once

#include "common/log.h"
#include "common/pg.h"

typedef enum ErrorClass {
    ERROR_CLASS_NONE, /* no error */
    /* of Postgres */
    ERROR_CLASS_POSTGRES_DOWN,
    ERROR_CLASS_POSTGRES_RETRY,
    ERROR_CLASS_POSTGRES_STALLED,
    ERROR_CLASS_POSTGRES_READ_ONLY,
    ERROR_CLASS_POSTGRES_FULL,
    ERROR_CLASS_POSTGRES_ROW,
    ERROR_CLASS_POSTGRES_SCHEMA,
    ERROR_CLASS_POSTGRES_REFUSED,
    ERROR_CLASS_POSTGRES_DAMAGED,
    ERROR_CLASS_POSTGRES_UNKNOWN,
    /* of the stream server */
    ERROR_CLASS_SOURCE_RETRY,
    ERROR_CLASS_SOURCE_REFUSED,
    ERROR_CLASS_SOURCE_MISSING,
    ERROR_CLASS_SOURCE_GONE,
    ERROR_CLASS_SOURCE_PROTOCOL,
    ERROR_CLASS_SOURCE_FATAL,
    ERROR_CLASS_COUNT
} ErrorClass;

/* What is done with the streams that it hits.  Every retry waits with growing, random pauses. */
typedef enum ErrorAction {
    ERROR_ACTION_NONE,
    ERROR_ACTION_RECONNECT,   /* without end, and reads the positions before it writes */
    ERROR_ACTION_RETRY,       /* without end */
    ERROR_ACTION_RETRY_ALONE, /* without end, in smaller transactions */
    ERROR_ACTION_RETRY_SOME,  /* a bounded number of times, then as FAIL */
    ERROR_ACTION_DEAD_LETTER, /* the row is found and becomes one; as FAIL where there is no row */
    ERROR_ACTION_FAIL,        /* the stream is failed; what concerns all streams is tried again */
    ERROR_ACTION_RECREATED,   /* as on_recreate says */
    ERROR_ACTION_COUNT
} ErrorAction;

typedef struct ErrorClassInfo {
    const char *name; /* in the docs, in metrics: "postgres_row" */
    ErrorAction action;
    EventId event;       /* of the log line while it lasts; EVENT_NONE: the stream's own events */
    const char *next;    /* "syncd ...", for the log line; NULL where nobody waits */
    const char *meaning; /* for people: which errors */
    const char *happens; /* for people: what syncd does */
} ErrorClassInfo;

/* Borrowed, static. */
const ErrorClassInfo *error_class_info(ErrorClass class);

/* kind: of a PgReply, which may know more than its SQLSTATE says (a FATAL, no connection). */
ErrorClass error_class_of_postgres(PgErrorClass kind, const char *sqlstate);
/* ERROR_CLASS_NONE: 200, and 204, which a long poll may answer. */
ErrorClass error_class_of_status(int status);

/* The tables in Markdown. */
DS_MUST_CHECK bool error_class_markdown(Buf *out, Error *err);
