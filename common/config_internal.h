/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/config_internal.h -- what config.c and config_text.c share.
 */
#pragma once

#include "common/config.h"

bool config_is_bounded(const Setting *setting);

/* What may stand there, for errors and help: "a whole number, 1 to 65535". */
DS_MUST_CHECK bool config_append_legal(Buf *out, const Setting *setting, Error *err);
