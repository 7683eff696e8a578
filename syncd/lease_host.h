/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lease_host.h -- where an instance runs, so that who was killed there need not be waited
 * for.
 *
 * A process id says something only within one boot of one machine and one pid namespace; the host
 * column of ds_sync.instance names all of them.  Where they cannot be read nobody is said to be
 * dead, and leases end by themselves.
 */
#pragma once

#include "common/str.h"

#define LEASE_HOST_SIZE 192

/* "name/boot:namespace", or "name" alone, terminated; out holds LEASE_HOST_SIZE bytes. */
void lease_host_name(char *out);
/* Of a process that was started on a host of that name: it is known not to run any more. */
bool lease_host_is_dead(Str host, int64_t pid);
