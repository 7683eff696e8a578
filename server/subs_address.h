/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_address.h -- where a webhook may go (protocol 6.2, 12.8).
 *
 * A URL is judged twice: its text when a subscription is made, and the address of every connection
 * right before it is opened, so what a name resolves to at that moment is what counts.  Allowed is
 * https to addresses of the public internet.  With `insecure` (DS_HTTP__ALLOW_INSECURE_WEBHOOKS)
 * also http and https to the loopback addresses.  Blocked is all else: private, shared, link-local,
 * multicast, reserved and documentation ranges, metadata services, and the IPv6 ranges that carry
 * IPv4 addresses.
 */
#pragma once

#include <sys/socket.h>

#include "common/buf.h"

#define SUBS_URL_BYTES_MAX 2048

/* Of the text alone: an absolute URL without user, password and fragment.  ERR_INPUT says why not.
 * Parsed by the library that will connect. */
DS_MUST_CHECK bool subs_url_check(Str url, bool insecure, Error *err);

/* https: of the URL that leads there.  The port does not matter. */
bool subs_address_allowed(const struct sockaddr *address, bool https, bool insecure);
