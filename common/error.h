/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/error.h -- how a function says that it failed.
 *
 * A fallible function returns false and fills the caller's Error: a code to act on and a text to
 * show.  The code names the reaction, never the cause; nobody parses the text.  Error lives in the
 * caller, holds no memory, and means something only after a false.
 */
#pragma once

#include "common/base.h"

typedef enum ErrorCode {
    ERR_NONE,
    ERR_RETRY,     /* transient: the same call may succeed later */
    ERR_CONFIG,    /* the operator must change something first */
    ERR_PROTOCOL,  /* the other side, or a file, does not follow its format */
    ERR_CONFLICT,  /* somebody else was first: fenced, moved, closed */
    ERR_LIMIT,     /* a named limit of ours was reached */
    ERR_NOT_FOUND, /* what was named does not exist */
    ERR_GONE,      /* what was named existed and is lost for good */
    ERR_INPUT,     /* this input is bad; the next may be good */
    ERR_AUTH,      /* the other side refused our credentials */
    ERR_CANCELED,  /* we stopped it ourselves */
    ERR_FULL,      /* the disk has no room, and nothing was changed: may succeed later */
    ERR_CORRUPT,   /* what is stored is damaged: an operator must look at it */
    ERR_FATAL,     /* nobody knows any more what is on the disk: the process must stop */
    ERR_COUNT
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    char sqlstate[6]; /* "" unless Postgres said one */
    char text[512];   /* one line (control characters become spaces), no secrets; cut with "..." */
} Error;

/* Always return false, so that `return error_set(err, ...)` reads as what it does.  err->text may
 * be among the arguments. */
bool error_set(Error *err, ErrorCode code, const char *fmt, ...) DS_PRINTF(3, 4);

/* Put "context: " before the text that is there; the code stays. */
bool error_wrap(Error *err, const char *fmt, ...) DS_PRINTF(2, 3);

/* Lower-case name of the code, for logs and metrics: "retry", "config", ... */
const char *error_code_name(ErrorCode code);
