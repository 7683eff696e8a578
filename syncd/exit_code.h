/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/exit_code.h -- the exit statuses of syncd.  Documented in docs/syncd.md; never renumbered.
 */
#pragma once

typedef enum ExitCode {
    EXIT_OK = 0,
    EXIT_RUNTIME = 1,
    EXIT_USAGE = 2,    /* a setting or an argument */
    EXIT_SOURCE = 6,   /* --check: the stream server */
    EXIT_POSTGRES = 7, /* Postgres, or a schema that this program cannot work with */
} ExitCode;
