/* SPDX-License-Identifier: Apache-2.0 */
#include "common/crc32c.h"

#include <pthread.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#include "common/little_endian.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, reflected */
#define SLICES     8           /* bytes that the table takes at a time */

typedef uint32_t (*Crc32cFn)(uint32_t crc, const char *at, size_t len);

static uint32_t table[SLICES][256];
static Crc32cFn fastest;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t
add_byte(uint32_t crc, char byte)
{
    return (crc >> 8) ^ table[0][(crc ^ (uint8_t)byte) & 0xff];
}

static uint32_t
add_by_table(uint32_t crc, const char *at, size_t len)
{
    for (; len >= SLICES; at += SLICES, len -= SLICES) {
        uint64_t word = le64_get(at) ^ crc;

        crc = 0;
        for (size_t i = 0; i < SLICES; i++) {
            crc ^= table[SLICES - 1 - i][(word >> (8 * i)) & 0xff];
        }
    }
    for (size_t i = 0; i < len; i++) {
        crc = add_byte(crc, at[i]);
    }
    return crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t
add_by_instruction(uint32_t crc, const char *at, size_t len)
{
    uint64_t wide = crc;

    for (; len >= sizeof(uint64_t); at += sizeof(uint64_t), len -= sizeof(uint64_t)) {
        wide = _mm_crc32_u64(wide, le64_get(at));
    }
    crc = (uint32_t)wide;
    for (size_t i = 0; i < len; i++) {
        crc = _mm_crc32_u8(crc, (uint8_t)at[i]);
    }
    return crc;
}

static bool
has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0;
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) static uint32_t
add_by_instruction(uint32_t crc, const char *at, size_t len)
{
    for (; len >= sizeof(uint64_t); at += sizeof(uint64_t), len -= sizeof(uint64_t)) {
        crc = __crc32cd(crc, le64_get(at));
    }
    for (size_t i = 0; i < len; i++) {
        crc = __crc32cb(crc, (uint8_t)at[i]);
    }
    return crc;
}

static bool
has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#else

#define add_by_instruction add_by_table

static bool
has_instruction(void)
{
    return false;
}

#endif

static void
prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        }
        table[0][i] = crc;
    }
    for (size_t slice = 1; slice < SLICES; slice++) {
        for (size_t i = 0; i < 256; i++) {
            table[slice][i] = add_byte(table[slice - 1][i], 0);
        }
    }
    fastest = has_instruction() ? add_by_instruction : add_by_table;
}

uint32_t
crc32c(uint32_t crc, Str bytes)
{
    (void)pthread_once(&once, prepare);
    return ~fastest(~crc, bytes.ptr, bytes.len);
}

uint32_t
crc32c_by_table(uint32_t crc, Str bytes)
{
    (void)pthread_once(&once, prepare);
    return ~add_by_table(~crc, bytes.ptr, bytes.len);
}
