/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base.h"

void
base_assert_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "bug: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
