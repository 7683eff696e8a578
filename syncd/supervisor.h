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

/* The files of secrets may have been renewed. */
void supervisor_reload_secrets(Supervisor *supervisor);

size_t supervisor_count(const Supervisor *supervisor);
SessionView supervisor_view(const Supervisor *supervisor, size_t index);
/* Both ends answer, and of the streams that are not closed at least one is being loaded; when not,
 * *out_why says what is wrong (static text). */
bool supervisor_is_ready(const Supervisor *supervisor, const char **out_why);
