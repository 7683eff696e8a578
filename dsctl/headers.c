/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/headers.h"

#include "common/buf.h"

bool
headers_add(Headers *headers, const char *name, const char *value, Error *err)
{
    Buf line;

    DS_ASSERT(headers->count < HEADERS_MAX);
    if (str_contains_ctl(str_c(value))) {
        return error_set(err, ERR_CONFIG, "%s: control characters are not legal", name);
    }
    buf_init(&line, HEADERS_LINE_BYTES_MAX);
    if (!buf_printf(&line, err, "%s: %s", name, value)) {
        buf_done(&line);
        return error_wrap(err, "%s", name);
    }
    headers->lines[headers->count++] = buf_take(&line);
    return true;
}

bool
headers_add_number(Headers *headers, const char *name, int64_t value, Error *err)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    return headers_add(headers, name, text, err);
}

void
headers_done(Headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        free(headers->lines[i]);
    }
    *headers = (Headers){.count = 0};
}
