/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/closed_look.h -- how often a closed stream is looked at, on a server that does not tell
 * what it makes anew.
 *
 * A HEAD for each, within seconds while they are few; of many, all together ask at most
 * CLOSED_LOOKS_PER_S.  Spread by chance, so that they do not ask in step.  Pure.
 */
#pragma once

#include "common/base.h"

#define CLOSED_LOOKS_PER_S 100

/* Milliseconds until the next one; sessions: how many are looked at by this instance. */
int64_t closed_look_ms(size_t sessions, uint32_t (*random)(uint32_t upper_bound));
