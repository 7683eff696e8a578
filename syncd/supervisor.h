/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/supervisor.h -- owns the sessions and the writers, from the start to an orderly end.
 *
 * A stream stays on one writer.  Sessions heal themselves or say why they cannot; the supervisor
 * only begins and ends them.
 */
#pragma once

#include "syncd/session.h"

typedef struct Supervisor Supervisor;

Supervisor *supervisor_new(Loop *loop, SyncdConfig *config, const Stats *stats);
void supervisor_free(Supervisor *supervisor);  /* accepts NULL */
void supervisor_start(Supervisor *supervisor); /* the schema is there */

/* Stops reading and writes what is gathered; fn is called once, at the latest after
 * SYNCD_STOP_TIMEOUT. */
void supervisor_stop(Supervisor *supervisor, LoopFn fn, void *arg);

/* Tokens of the stream servers may have been renewed on disk. */
void supervisor_reload_token(Supervisor *supervisor);

size_t supervisor_count(const Supervisor *supervisor);
SessionView supervisor_view(const Supervisor *supervisor, size_t index);
/* Both ends answer; when not, *out_why says which does not (static text). */
bool supervisor_is_ready(const Supervisor *supervisor, const char **out_why);
