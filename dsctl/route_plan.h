/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/route_plan.h -- what Postgres's catalogue says to a route's table, and what is to be done.
 *
 * A table that is not there is made as the route says; an existing one is never changed beyond the
 * partitions that a list lacks: what does not suit is a problem, with the statement that mends it.
 * Postgres itself writes the statements (sql/queries/route_steps.sql), so they can be shown and
 * quote what they must.
 */
#pragma once

#include "common/route_spec.h"
#include "dsctl/call.h"

#define ROUTE_LOCK_MS_DEFAULT 2000 /* a statement that waits longer would hold up the writers */
#define ROUTE_LOCK_TRIES      10

typedef struct RoutePlan {
    CallRows problems; /* what, what mends it */
    CallRows steps;    /* batch, statement; in order, a batch is a transaction */
} RoutePlan;

/* What does not suit the route; nothing when there is no table. */
DS_MUST_CHECK bool route_plan_check(Call *call, const RouteSpec *spec, RoutePlan *plan, Error *err);
/* How the table of a route without problems comes about.  The spec has the columns of every route
 * into the table, which may be more than one route can have. */
DS_MUST_CHECK bool route_plan_steps(Call *call, const RouteSpec *spec, RoutePlan *plan, Error *err);
void route_plan_done(RoutePlan *plan); /* a zeroed plan is fine */

/* Runs the steps.  A lock that is not to be had within lock_ms is waited for anew, with pauses, at
 * most ROUTE_LOCK_TRIES times; batches that are done stay. */
DS_MUST_CHECK bool route_plan_run(Call *call, const RoutePlan *plan, int64_t lock_ms, Error *err);
