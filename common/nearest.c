/* SPDX-License-Identifier: Apache-2.0 */
#include "common/nearest.h"

#define WORD_BYTES_MAX 64

static size_t
edit_distance(const char *a, const char *b)
{
    size_t row[WORD_BYTES_MAX + 1];
    size_t len_a = strlen(a);
    size_t len_b = strlen(b);

    if (len_a > WORD_BYTES_MAX || len_b > WORD_BYTES_MAX) {
        return NEAREST_EDITS_MAX + 1;
    }
    for (size_t j = 0; j <= len_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= len_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
            diagonal = row[j];
            row[j] = DS_MIN(replaced, DS_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[len_b];
}

void
nearest_try(Nearest *nearest, const char *given, const char *name)
{
    size_t distance = edit_distance(given, name);
    size_t len = strlen(given);

    if (len >= 3 && strncmp(given, name, len) == 0) {
        distance = 0; /* "compl" for "completion" */
    }
    if (distance < nearest->distance && distance < len) {
        *nearest = (Nearest){name, distance};
    }
}

const char *
nearest_word(const char *given, const char *const *words)
{
    Nearest nearest = NEAREST_NONE;

    for (; *words != NULL; words++) {
        nearest_try(&nearest, given, *words);
    }
    return nearest.name;
}
