/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/input.h -- files that an operator names; "-" and no name are stdin.
 */
#pragma once

#include "common/buf.h"

/* NULL, with ERR_CONFIG, when it cannot be opened. */
FILE *input_open(const char *path, Error *err);
void input_close(FILE *file); /* accepts NULL */

/* What is left of it, appended.  ERR_LIMIT beyond the maximum of out. */
DS_MUST_CHECK bool input_read(FILE *file, Buf *out, Error *err);
