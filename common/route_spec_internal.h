/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_spec_internal.h -- what route_spec.c and route_set.c share.
 */
#pragma once

#include <jansson.h>

#include "common/route_spec.h"

/* As route_spec_parse, for an object within a document. */
DS_MUST_CHECK bool route_spec_take(RouteSpec *out, const json_t *object, Error *err);
