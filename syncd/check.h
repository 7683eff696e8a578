/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/check.h -- "syncd --check": tries both ends once and says what is wrong, before anything
 * runs.
 */
#pragma once

#include "syncd/exit_code.h"
#include "syncd/syncd_config.h"

/* Notes in `load` what the table of settings cannot tell: addresses, files that cannot be read, a
 * filter for the log. */
void check_settings(const SyncdConfig *config, ConfigLoad *load);

/* Prints a line per end on stdout. */
ExitCode check_run(SyncdConfig *config);
