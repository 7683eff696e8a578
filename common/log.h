/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/log.h -- one event, one line, once; logfmt or JSON lines.
 *
 * The function that decides logs; common/ itself never logs above debug.  error = someone must act;
 * warn = degraded but handled; info = a state changed; debug and trace are for us.  Every warning
 * and error carries a stable id from common/events.def, which also makes docs/events.md.
 *
 * Thread safe: a line is written with one write(2).  Values are quoted and control characters
 * escaped, so no peer can forge a line.  Lines are cut at LOG_LINE_BYTES_MAX.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define LOG_LINE_BYTES_MAX 8192

typedef enum LogLevel {
    LOG_ERROR,
    LOG_WARN,
    LOG_INFO,
    LOG_DEBUG,
    LOG_TRACE,
    LOG_LEVEL_COUNT
} LogLevel;

typedef enum EventId {
    EVENT_NONE, /* for info and below only */
#define X(id, name, level, meaning, action) id,
#include "common/events.def"
#undef X
    EVENT_COUNT
} EventId;

const char *event_name(EventId id);

/* Where a line comes from: "syncd.source", and what it is about: "stream=a/b", pairs that
 * log_context made, or NULL.  A scope of NULL is the program itself. */
typedef struct LogScope {
    const char *name;
    const char *context;
} LogScope;

typedef struct LogField {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_I64, LOG_FIELD_U64, LOG_FIELD_F64 } type;
    Str str;
    int64_t i64;
    uint64_t u64;
    double f64;
} LogField;

static inline LogField
log_str(const char *key, Str value)
{
    return (LogField){.key = key, .type = LOG_FIELD_STR, .str = value};
}
static inline LogField
log_i64(const char *key, int64_t value)
{
    return (LogField){.key = key, .type = LOG_FIELD_I64, .i64 = value};
}
static inline LogField
log_u64(const char *key, uint64_t value)
{
    return (LogField){.key = key, .type = LOG_FIELD_U64, .u64 = value};
}
static inline LogField
log_f64(const char *key, double value)
{
    return (LogField){.key = key, .type = LOG_FIELD_F64, .f64 = value};
}

/* LOG_FIELDS(log_str("stream", name), log_u64("rows", n)), or LOG_FIELDS() for none. */
#define LOG_FIELDS(...) ((const LogField[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})

/* The pairs as a scope's context wants them, escaped once for all lines; free() it. */
char *log_context(const LogField *fields);

typedef struct LogConfig {
    const char *program;
    bool json;
    int fd; /* 1 stdout, 2 stderr */
    /* RUST_LOG style: "info,syncd.source=debug,server=off"; the longest scope that fits decides, a
     * scope without a level lets all through, what is not named stays at info.  NULL = info. */
    const char *filter;
} LogConfig;

DS_MUST_CHECK bool log_init(const LogConfig *config, Error *err); /* ERR_CONFIG on a bad filter */
DS_MUST_CHECK bool log_set_filter(const char *filter, Error *err);
bool log_enabled(const LogScope *scope, LogLevel level);
void log_write(LogLevel level, const LogScope *scope, EventId event, const LogField *fields,
               const char *fmt, ...) DS_PRINTF(5, 6);

#define log_error(scope, event, fields, ...) log_write(LOG_ERROR, scope, event, fields, __VA_ARGS__)
#define log_warn(scope, event, fields, ...)  log_write(LOG_WARN, scope, event, fields, __VA_ARGS__)
#define log_info(scope, fields, ...)         log_write(LOG_INFO, scope, EVENT_NONE, fields, __VA_ARGS__)
#define log_debug(scope, fields, ...)                                                              \
    do {                                                                                           \
        if (log_enabled(scope, LOG_DEBUG)) {                                                       \
            log_write(LOG_DEBUG, scope, EVENT_NONE, fields, __VA_ARGS__);                          \
        }                                                                                          \
    } while (0)

/* Events since the start by level, shown or not, for /metrics. */
uint64_t log_lines_count(LogLevel level);
