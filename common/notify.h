/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/notify.h -- tells systemd how the service fares, where $NOTIFY_SOCKET is set
 * (sd_notify(3)).
 *
 * Without it every call does nothing.  Never blocks and never fails: nobody could act on it.
 */
#pragma once

#include "common/base.h"

void notify_send(const char *state); /* "READY=1", "STOPPING=1", "WATCHDOG=1" */
void notify_reloading(void);         /* "READY=1" ends it */
/* How often WATCHDOG=1 must be sent, half of what systemd waits; 0 when it does not. */
int64_t notify_watchdog_ms(void);
