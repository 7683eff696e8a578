/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/base.h -- what every file of ours may assume: attributes, assertions, banned functions.
 *
 * DS_ASSERT states our own invariants and stays on in release builds; it is never for input.
 * The functions poisoned below truncate, overflow or parse silently; use str.h, buf.h and parse.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DS_MUST_CHECK                      __attribute__((warn_unused_result))
#define DS_PRINTF(fmt, first)              __attribute__((format(printf, fmt, first)))
#define DS_NORETURN                        __attribute__((noreturn))
#define DS_UNUSED                          __attribute__((unused))
#define DS_COUNT(array)                    (sizeof(array) / sizeof((array)[0]))
#define DS_BIT(n)                          (1u << (n))
#define DS_MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define DS_MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define DS_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Aborts with the condition and its place on stderr. */
DS_NORETURN void base_assert_failed(const char *condition, const char *file, int line);

#define DS_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            base_assert_failed(#condition, __FILE__, __LINE__);                                    \
        }                                                                                          \
    } while (0)

/* Where the program never comes; says why. */
#define DS_UNREACHABLE(why) base_assert_failed(why, __FILE__, __LINE__)

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets atoi atol atoll atof strtok
