/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/crc32c.h -- the checksum of RFC 3720 (Castagnoli), with the processor's instruction where
 * it has one.
 *
 * To check several pieces as one: start with CRC32C_INIT and give each result to the next call.
 * Thread safe.
 */
#pragma once

#include "common/str.h"

#define CRC32C_INIT 0u

uint32_t crc32c(uint32_t crc, Str bytes);
/* The same without the instruction, for tests. */
uint32_t crc32c_by_table(uint32_t crc, Str bytes);
