/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/cores.h -- on how many cores this process may run.
 *
 * What there are threads for by default goes by it: a thread more than cores takes turns with the
 * others, and everything that passes between them costs a switch.
 */
#pragma once

unsigned cores_allowed(void); /* at least 1; any thread */
