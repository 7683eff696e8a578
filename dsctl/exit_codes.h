/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/exit_codes.h -- what the process's status says; stable, scripts rely on it.
 *
 * --help and docs/dsctl.md are made from the same rows.
 */
#pragma once

#define DSCTL_EXIT_CODES(X)                                                                        \
    X(DSCTL_OK, 0, "done; also when the reader of a pipe left early")                              \
    X(DSCTL_FAILURE, 1, "failed for another reason; stderr says which")                            \
    X(DSCTL_USAGE, 2, "wrong command line, setting or input")                                      \
    X(DSCTL_NOT_FOUND, 3, "what was named does not exist, or is gone")                             \
    X(DSCTL_AUTH, 4, "credentials refused")                                                        \
    X(DSCTL_CONFLICT, 5, "the state of things forbids it: closed, exists, schema not migrated")    \
    X(DSCTL_NO_SOURCE, 6, "the stream server cannot be reached, fails or is overloaded")           \
    X(DSCTL_NO_POSTGRES, 7, "Postgres cannot be reached, or the connection was lost")              \
    X(DSCTL_PARTIAL, 8, "a part of it is missing; stderr says which")                              \
    X(DSCTL_WARNING, 9, "a threshold that was asked for is passed")                                \
    X(DSCTL_FENCED, 10, "somebody with a newer epoch took over")                                   \
    X(DSCTL_INTERRUPTED, 130, "interrupted")

typedef enum ExitCode {
#define X(name, number, meaning) name = number,
    DSCTL_EXIT_CODES(X)
#undef X
} ExitCode;
