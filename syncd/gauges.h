/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/gauges.h -- the numbers of /metrics that are counted when somebody asks.
 *
 * They are sums over the sessions of this instance: by state, by route, by work partition; never
 * per stream.  A route or partition that is left behind stays, at 0.
 */
#pragma once

#include "common/metrics.h"
#include "syncd/discovery.h"

typedef struct Gauges Gauges;

Gauges *gauges_new(Metrics *metrics);
void gauges_free(Gauges *gauges); /* accepts NULL */

/* discovery may be NULL. */
void gauges_count(Gauges *gauges, const Supervisor *supervisor, const Discovery *discovery);
