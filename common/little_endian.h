/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/little_endian.h -- numbers as our files hold them, at any alignment.
 */
#pragma once

#include <endian.h>

#include "common/base.h"

static inline void
le32_put(char *at, uint32_t number)
{
    uint32_t stored = htole32(number);

    memcpy(at, &stored, sizeof(stored));
}

static inline void
le64_put(char *at, uint64_t number)
{
    uint64_t stored = htole64(number);

    memcpy(at, &stored, sizeof(stored));
}

static inline uint32_t
le32_get(const char *at)
{
    uint32_t stored;

    memcpy(&stored, at, sizeof(stored));
    return le32toh(stored);
}

static inline uint64_t
le64_get(const char *at)
{
    uint64_t stored;

    memcpy(&stored, at, sizeof(stored));
    return le64toh(stored);
}
