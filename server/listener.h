/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/listener.h -- listening sockets: opened by us, or handed over by systemd (LISTEN_FDS).
 *
 * No SO_REUSEPORT: a second server on the same port must fail to start, not take half of the
 * streams.
 */
#pragma once

#include "common/error.h"

#define LISTENER_ADDRESS_BYTES_MAX 64

/* address: "host:port" or "[v6]:port"; port > 0 replaces the one in it.  Non-blocking,
 * close-on-exec. */
DS_MUST_CHECK bool listener_open(const char *address, int64_t port, int *out_fd, Error *err);

/* Whether it has that shape; nothing is resolved. */
DS_MUST_CHECK bool listener_check_address(const char *address, Error *err);

/* Whether the host of the address is one of this machine's; the port is not tried. */
DS_MUST_CHECK bool listener_check_host(const char *address, Error *err);

/* The index-th socket that was handed to this process; *out_fd is -1 when there is none.
 * ERR_CONFIG: it is no listening stream socket. */
DS_MUST_CHECK bool listener_inherited(int index, int *out_fd, Error *err);

/* "127.0.0.1:4437", "[::1]:4437"; at most LISTENER_ADDRESS_BYTES_MAX with its end. */
void listener_local_address(int fd, char *out);
struct sockaddr_storage;
void listener_format(const struct sockaddr_storage *address, char *out);
