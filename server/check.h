/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/check.h -- --check-config: would a start with these settings fail?
 *
 * Settings are checked when they are loaded; here it is what they name: addresses, certificates,
 * the data directory.  Nothing is changed, and a running server is not disturbed.
 */
#pragma once

#include "server/server_config.h"

/* ERR_CONFIG says what is wrong, and of which setting. */
DS_MUST_CHECK bool check_config(const ServerConfig *config, Error *err);
