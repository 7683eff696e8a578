/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/mem.h -- allocation of small, fixed sizes: aborts when the system has no memory left.
 *
 * Sizes that a peer chooses do not come here unbounded: they go through Buf or Arena, which have a
 * maximum and fail with ERR_LIMIT.
 */
#pragma once

#include "common/base.h"

void *mem_alloc(size_t size);                           /* uninitialised; free() */
void *mem_zalloc(size_t size);                          /* zeroed; free() */
void *mem_array(size_t count, size_t size);             /* zeroed, overflow-checked; free() */
void *mem_realloc(void *ptr, size_t size);              /* like realloc */
void *mem_regrow(void *ptr, size_t count, size_t size); /* like reallocarray */
char *mem_strdup(const char *text);                     /* NULL stays NULL; free() */
