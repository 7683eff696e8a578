/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mem.h"

static void *
mem_or_die(void *ptr, size_t size)
{
    if (ptr == NULL && size > 0) {
        (void)fprintf(stderr, "out of memory: %zu bytes\n", size);
        abort();
    }
    return ptr;
}

void *
mem_alloc(size_t size)
{
    return mem_or_die(malloc(size), size);
}

void *
mem_zalloc(size_t size)
{
    return mem_or_die(calloc(1, size), size);
}

void *
mem_array(size_t count, size_t size)
{
    return mem_or_die(calloc(count, size), count);
}

void *
mem_realloc(void *ptr, size_t size)
{
    return mem_or_die(realloc(ptr, size), size);
}

void *
mem_regrow(void *ptr, size_t count, size_t size)
{
    return mem_or_die(reallocarray(ptr, count, size), count);
}

char *
mem_strdup(const char *text)
{
    return text == NULL ? NULL : mem_or_die(strdup(text), 1);
}
