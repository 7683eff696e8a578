/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/check.h -- "syncd --check": tries both ends once and says what is wrong, before anything
 * runs.
 */
#pragma once

#include "syncd/exit_code.h"
#include "syncd/syncd_config.h"

/* --check-config: what the table of settings cannot tell: addresses, and files that can be read. */
DS_MUST_CHECK bool check_settings(const SyncdConfig *config, Error *err);

/* Prints a line per end on stdout. */
ExitCode check_run(SyncdConfig *config);
