/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/nearest.h -- which known word somebody meant who typed an unknown one.
 *
 * Pure.  Words beyond 64 bytes are no suggestion.
 */
#pragma once

#include "common/base.h"

#define NEAREST_EDITS_MAX 2 /* a word further away than this is no suggestion */

typedef struct Nearest {
    const char *name; /* borrowed from nearest_try; NULL: nothing is near */
    size_t distance;  /* characters to insert, delete or replace */
} Nearest;

#define NEAREST_NONE                                                                               \
    {                                                                                              \
        NULL, NEAREST_EDITS_MAX + 1                                                                \
    }

/* Keeps `name` when it is nearer to what was given than what is there. */
void nearest_try(Nearest *nearest, const char *given, const char *name);
/* The best of a NULL-terminated list, or NULL. */
const char *nearest_word(const char *given, const char *const *words);
