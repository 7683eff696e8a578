/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <stdarg.h>

/* `length` is what there would have been without the size of `text`. */
static void
error_store(Error *err, char text[sizeof(err->text)], size_t length)
{
    size_t size = sizeof(err->text);

    if (length >= size) {
        length = size - sizeof("...");
        /* Not through the middle of a UTF-8 character. */
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
            length--;
        }
        memcpy(text + length, "...", sizeof("..."));
        length += sizeof("...") - 1;
    }
    /* One line, whatever a peer put into it: libpq's messages have several. */
    for (size_t i = 0; i < length; i++) {
        bool is_control = (unsigned char)text[i] < 0x20 || text[i] == 0x7f;

        text[i] = is_control ? ' ' : text[i];
    }
    while (length > 0 && text[length - 1] == ' ') {
        length--;
    }
    text[length] = '\0';
    memcpy(err->text, text, length + 1);
}

bool
error_set(Error *err, ErrorCode code, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;

    DS_ASSERT(code > ERR_NONE && code < ERR_COUNT);
    va_start(args, fmt);
    int length = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err->code = code;
    err->sqlstate[0] = '\0';
    error_store(err, text, (size_t)DS_MAX(length, 0));
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
    error_store(err, text, used + (size_t)DS_MAX(rest, 0));
    return false;
}

const char *
error_code_name(ErrorCode code)
{
    static const char *const names[ERR_COUNT] = {
        [ERR_NONE] = "none",           [ERR_RETRY] = "retry",       [ERR_CONFIG] = "config",
        [ERR_PROTOCOL] = "protocol",   [ERR_CONFLICT] = "conflict", [ERR_LIMIT] = "limit",
        [ERR_NOT_FOUND] = "not_found", [ERR_GONE] = "gone",         [ERR_INPUT] = "input",
        [ERR_AUTH] = "auth",           [ERR_CANCELED] = "canceled", [ERR_FULL] = "full",
        [ERR_CORRUPT] = "corrupt",     [ERR_FATAL] = "fatal",
    };

    DS_ASSERT(code < ERR_COUNT);
    return names[code];
}
