/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/fnv.h -- FNV-1a with 64 bits, for what must hash alike in every process and release: names
 * of streams to shards and partitions.  Not for input that an adversary may choose to collide.
 *
 * fnv1a64(FNV1A64_BASIS, text) is the hash of text; with the hash of what goes before instead of
 * the basis, that of both together.  Source: RFC 9923.
 */
#pragma once

#include "common/str.h"

#define FNV1A64_BASIS UINT64_C(0xcbf29ce484222325)

static inline uint64_t
fnv1a64(uint64_t hash, Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.ptr[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}
