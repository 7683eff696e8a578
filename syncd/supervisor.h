/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/supervisor.h -- owns the sessions and the writers, from the start to an orderly end.
 *
 * A stream has a session here while it is wanted (syncd/discovery.h says) and its
 * work partition is leased by this instance; the supervisor begins and ends sessions as either
 * changes.  Sessions heal themselves or say why they cannot.  A stream stays on one writer while
 * its session lives.
 */
#pragma once

#include "syncd/control_link.h"
#include "syncd/session.h"

typedef struct Supervisor Supervisor;

Supervisor *supervisor_new(Loop *loop, SyncdConfig *config, const Stats *stats);
void supervisor_free(Supervisor *supervisor);  /* accepts NULL */
void supervisor_start(Supervisor *supervisor); /* the schema is there */

/* Stops reading, writes what is gathered and releases the leases; fn is called once, soon after
 * SYNCD_STOP_TIMEOUT at the latest. */
void supervisor_stop(Supervisor *supervisor, LoopFn fn, void *arg);

/* fn is told once when this instance cannot work with the others (ERR_CONFIG); it should stop. */
void supervisor_on_refused(Supervisor *supervisor, void (*fn)(void *arg, const Error *err),
                           void *arg);

/* The connection for small statements; there from supervisor_new to supervisor_free. */
ControlLink *supervisor_control_link(Supervisor *supervisor);

/* Likewise. */
Servers *supervisor_servers(Supervisor *supervisor);

/* Key and plan are copied.  Wanted again with another plan, the stream's session is ended in order
 * and begun anew; with the same one, it is told that the stream may have been made anew. */
void supervisor_want(Supervisor *supervisor, const StreamKey *key, const StreamPlan *plan);
/* What is gathered is still written.  Legal for keys that are not wanted. */
void supervisor_unwant(Supervisor *supervisor, const StreamKey *key);
/* Whatever its session is at, it ends without writing more, and another one begins from the
 * position that is stored. */
void supervisor_begin_again(Supervisor *supervisor, const StreamKey *key);

/* The tokens and POSTGRES_URL_FILE may have been renewed on disk. */
void supervisor_reload_secrets(Supervisor *supervisor);

size_t supervisor_count(const Supervisor *supervisor); /* sessions; their order changes */
SessionView supervisor_view(const Supervisor *supervisor, size_t index);

typedef struct FleetView {
    size_t wanted;      /* streams, wherever they are loaded */
    unsigned held;      /* work partitions */
    unsigned instances; /* living, as far as we know */
} FleetView;

FleetView supervisor_fleet(const Supervisor *supervisor);

/* Both ends answer, and of the streams that are not closed at least one is being loaded; when not,
 * *out_why says what is wrong (static text). */
bool supervisor_is_ready(const Supervisor *supervisor, const char **out_why);
