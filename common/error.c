/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <stdarg.h>

static void
error_mark_truncated(Error *err)
{
    memcpy(err->text + sizeof(err->text) - 4, "...", 4);
}

bool
error_set(Error *err, ErrorCode code, const char *fmt, ...)
{
    va_list args;

    DS_ASSERT(code > ERR_NONE && code < ERR_COUNT);
    err->code = code;
    err->sqlstate[0] = '\0';
    va_start(args, fmt);
    int length = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (length >= (int)sizeof(err->text)) {
        error_mark_truncated(err);
    }
    return false;
}

bool
error_wrap(Error *err, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;

    va_start(args, fmt);
    int length = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    size_t used = DS_MIN((size_t)DS_MAX(length, 0), sizeof(text) - 1);
    int rest = snprintf(text + used, sizeof(text) - used, ": %s", err->text);
    memcpy(err->text, text, sizeof(text));
    if (used + (size_t)DS_MAX(rest, 0) >= sizeof(text)) {
        error_mark_truncated(err);
    }
    return false;
}

const char *
error_code_name(ErrorCode code)
{
    static const char *const names[ERR_COUNT] = {
        [ERR_NONE] = "none",           [ERR_RETRY] = "retry",     [ERR_CONFIG] = "config",
        [ERR_PROTOCOL] = "protocol",   [ERR_CONFLICT] = "conflict", [ERR_LIMIT] = "limit",
        [ERR_NOT_FOUND] = "not_found", [ERR_GONE] = "gone",       [ERR_INPUT] = "input",
        [ERR_AUTH] = "auth",           [ERR_CANCELED] = "canceled",
    };

    DS_ASSERT(code < ERR_COUNT);
    return names[code];
}
