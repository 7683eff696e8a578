/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_memory.h -- storage mode "memory": everything is gone when the process ends.
 *
 * Operations run on the caller's thread under the stream's lock.  Payload lies in the chunks of
 * chunk_log.h; a trim frees the chunks that lie before it as a whole, so up to one chunk
 * (CHUNK_BYTES_MAX) of a stream stays in memory without being counted.
 */
#pragma once

#include "server/store.h"

Store *store_memory_new(const StoreLimits *limits, Metrics *metrics); /* store_free */
