/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"

#define DIRECTIVES_MAX  32
#define SCOPE_BYTES_MAX 64
#define LEVEL_OFF       (-1)
/* Kept free for the closing quote, the mark that the line was cut, the brace and the line feed. */
#define LINE_TAIL_BYTES 32

typedef struct Directive {
    char scope[SCOPE_BYTES_MAX]; /* "" is everything */
    int level;                   /* LEVEL_OFF or a LogLevel */
} Directive;

typedef struct Filter {
    size_t count;
    Directive directives[DIRECTIVES_MAX];
} Filter;

static struct {
    pthread_rwlock_t lock; /* guards filter and program */
    Filter filter;
    char program[SCOPE_BYTES_MAX];
    atomic_int level_max; /* the highest level that any directive lets through */
    atomic_int fd;
    atomic_bool json;
    atomic_uint_fast64_t lines[LOG_LEVEL_COUNT];
} sink = {
    .lock = PTHREAD_RWLOCK_INITIALIZER,
    .filter = {.count = 1, .directives = {{.scope = "", .level = LOG_INFO}}},
    .level_max = LOG_INFO,
    .fd = STDERR_FILENO,
};

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn",   [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug", [LOG_TRACE] = "trace",
};

const char *
event_name(EventId id)
{
    static const char *const names[EVENT_COUNT] = {
        [EVENT_NONE] = "",
#define X(id, name, level, meaning, action) [id] = name,
#include "common/events.def"
#undef X
    };

    DS_ASSERT(id < EVENT_COUNT);
    return names[id];
}

/* ---- filter ---- */

static bool
parse_level(Str text, int *out)
{
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (str_eq_nocase(text, str_c(level_names[level]))) {
            *out = level;
            return true;
        }
    }
    if (str_eq_nocase(text, STR("off"))) {
        *out = LEVEL_OFF;
        return true;
    }
    if (str_eq_nocase(text, STR("warning"))) {
        *out = LOG_WARN;
        return true;
    }
    return false;
}

/* Letters, digits, _ - and dots; "::" between parts counts as a dot. */
static bool
parse_scope(Str text, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == ':' && i + 1 < text.len && text.ptr[i + 1] == ':') {
            c = '.';
            i++;
        }
        bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '-' || c == '.';
        if (!legal || len + 1 >= SCOPE_BYTES_MAX) {
            return false;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return len > 0;
}

static bool
parse_directive(Str text, Directive *out, Error *err)
{
    Str scope = STR_EMPTY;
    Str level = STR_EMPTY;

    *out = (Directive){.level = LOG_TRACE};
    if (str_cut(text, '=', &scope, &level)) {
        if (!parse_level(str_trim(level), &out->level)) {
            return error_set(err, ERR_CONFIG,
                             "log filter: \"%.*s\" is not a level; legal: off, error, warn, info, "
                             "debug, trace",
                             STR_ARG(str_head(level, SCOPE_BYTES_MAX)));
        }
    } else if (parse_level(text, &out->level)) {
        return true;
    }
    if (!parse_scope(str_trim(scope), out->scope)) {
        return error_set(err, ERR_CONFIG,
                         "log filter: \"%.*s\" is not a level, a scope or scope=level",
                         STR_ARG(str_head(text, SCOPE_BYTES_MAX)));
    }
    return true;
}

/* Unlike env_logger, what no directive names stays at info: naming one scope must not silence the
 * warnings of all others. */
static bool
filter_parse(Filter *filter, const char *text, Error *err)
{
    Str rest = str_c(text);
    Str part = STR_EMPTY;

    *filter = (Filter){.count = 1, .directives = {{.scope = "", .level = LOG_INFO}}};
    while (rest.len > 0) {
        Directive directive;
        (void)str_cut(rest, ',', &part, &rest); /* false: the last part, rest is empty */
        part = str_trim(part);
        if (part.len == 0) {
            continue;
        }
        if (!parse_directive(part, &directive, err)) {
            return false;
        }
        if (directive.scope[0] == '\0') {
            filter->directives[0] = directive;
        } else if (filter->count < DIRECTIVES_MAX) {
            filter->directives[filter->count++] = directive;
        } else {
            return error_set(err, ERR_CONFIG, "log filter: more than %d scopes",
                             DIRECTIVES_MAX - 1);
        }
    }
    return true;
}

bool
log_set_filter(const char *filter, Error *err)
{
    Filter parsed;
    int level_max = LEVEL_OFF;

    if (!filter_parse(&parsed, filter, err)) {
        return false;
    }
    for (size_t i = 0; i < parsed.count; i++) {
        level_max = DS_MAX(level_max, parsed.directives[i].level);
    }
    pthread_rwlock_wrlock(&sink.lock);
    sink.filter = parsed;
    pthread_rwlock_unlock(&sink.lock);
    atomic_store(&sink.level_max, level_max);
    return true;
}

bool
log_init(const LogConfig *config, Error *err)
{
    if (!log_set_filter(config->filter, err)) {
        return false;
    }
    pthread_rwlock_wrlock(&sink.lock);
    (void)strlcpy(sink.program, config->program != NULL ? config->program : "",
                  sizeof(sink.program)); /* cut: it is only shown */
    pthread_rwlock_unlock(&sink.lock);
    atomic_store(&sink.json, config->json);
    atomic_store(&sink.fd, config->fd);
    return true;
}

static bool
scope_matches(const char *scope, const char *directive, size_t len)
{
    return strncmp(scope, directive, len) == 0 && (scope[len] == '\0' || scope[len] == '.');
}

bool
log_enabled(const LogScope *scope, LogLevel level)
{
    const char *name = scope != NULL && scope->name != NULL ? scope->name : "";
    size_t best = 0;

    /* Debug lines are almost always off: no lock for them then. */
    if ((int)level > atomic_load_explicit(&sink.level_max, memory_order_relaxed)) {
        return false;
    }
    pthread_rwlock_rdlock(&sink.lock);
    int allowed = sink.filter.directives[0].level;
    for (size_t i = 1; i < sink.filter.count; i++) {
        const Directive *directive = &sink.filter.directives[i];
        size_t len = strlen(directive->scope);
        if (len >= best && scope_matches(name, directive->scope, len)) {
            best = len;
            allowed = directive->level;
        }
    }
    pthread_rwlock_unlock(&sink.lock);
    return (int)level <= allowed;
}

/* ---- building a line ---- */

/* Never overruns: what does not fit sets `cut`, and nothing is added after that. */
typedef struct Line {
    char *data;
    size_t len;
    size_t max; /* without the tail */
    bool cut;
} Line;

static void
line_put(Line *line, Str bytes)
{
    if (line->cut || line->len + bytes.len > line->max) {
        line->cut = true;
        return;
    }
    memcpy(line->data + line->len, bytes.ptr, bytes.len);
    line->len += bytes.len;
}

/* Goes into the tail that is kept free. */
static void
line_end(Line *line, const char *text)
{
    size_t len = strlen(text);

    memcpy(line->data + line->len, text, len);
    line->len += len;
}

/* Length of the UTF-8 character at the start of s if it may stand in a line as it is: not one of
 * the C1 controls or the Unicode line ends, which some terminals and readers take for a new line.
 */
static size_t
plain_utf8(Str s)
{
    unsigned char first = (unsigned char)s.ptr[0];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    Str one = str_head(s, len);

    if (one.len < len || !str_is_utf8(one)) {
        return 0;
    }
    if (first == 0xc2 && (unsigned char)s.ptr[1] < 0xa0) {
        return 0;
    }
    if (str_eq(one, STR("\xe2\x80\xa8")) || str_eq(one, STR("\xe2\x80\xa9"))) {
        return 0;
    }
    return len;
}

/* The same escapes for logfmt and JSON; a byte that is not text is shown as \\xff.  What is cut is
 * closed all the same; false when not even the first quote had room. */
static bool
line_put_quoted(Line *line, Str text)
{
    char escape[16];

    line_put(line, STR("\""));
    if (line->cut) {
        return false;
    }
    for (size_t i = 0; i < text.len && !line->cut;) {
        unsigned char c = (unsigned char)text.ptr[i];
        size_t len = 1;

        if (c == '"' || c == '\\') {
            (void)snprintf(escape, sizeof(escape), "\\%c", c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            (void)snprintf(escape, sizeof(escape), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        } else if (c < 0x20 || c == 0x7f) {
            (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
        } else if (c < 0x80) {
            line_put(line, str_n(text.ptr + i, 1));
            i++;
            continue;
        } else if ((len = plain_utf8(str_skip(text, i))) > 0) {
            line_put(line, str_n(text.ptr + i, len));
            i += len;
            continue;
        } else {
            len = 1;
            (void)snprintf(escape, sizeof(escape), "\\\\x%02x", c);
        }
        line_put(line, str_c(escape));
        i += len;
    }
    line_end(line, "\"");
    return true;
}

/* Bare in logfmt: nothing in it needs a quote, and nothing in it could be taken for another pair.
 */
static bool
is_bare(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\') {
            return false;
        }
    }
    return text.len > 0;
}

static void
line_put_key(Line *line, bool json, Str key)
{
    if (json) {
        line_put(line, line->len > 1 ? STR(",\"") : STR("\""));
        line_put(line, key);
        line_put(line, STR("\":"));
    } else {
        line_put(line, line->len > 0 ? STR(" ") : STR_EMPTY);
        line_put(line, key);
        line_put(line, STR("="));
    }
}

/* A pair is written whole, or cut inside its value, or not at all. */
static void
line_put_pair(Line *line, bool json, Str key, Str value, bool quote)
{
    size_t start = line->len;

    line_put_key(line, json, key);
    if (quote) {
        if (!line_put_quoted(line, value)) {
            line->len = start;
        }
        return;
    }
    line_put(line, value);
    if (line->cut) {
        line->len = start;
    }
}

static void
line_put_text(Line *line, bool json, const char *key, Str value)
{
    line_put_pair(line, json, str_c(key), value, json || !is_bare(value));
}

/* A number, which needs quotes in neither form; not finite ones are no JSON numbers. */
static void
line_put_number(Line *line, bool json, const char *key, const LogField *field)
{
    char text[40];

    switch (field->type) {
    case LOG_FIELD_I64:
        (void)snprintf(text, sizeof(text), "%lld", (long long)field->i64);
        break;
    case LOG_FIELD_U64:
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)field->u64);
        break;
    case LOG_FIELD_F64:
    case LOG_FIELD_STR:
        (void)snprintf(text, sizeof(text), "%.6g", field->f64);
        break;
    }
    bool quote = json && field->type == LOG_FIELD_F64 && !isfinite(field->f64);
    line_put_pair(line, json, str_c(key), str_c(text), quote);
}

static void
line_put_fields(Line *line, bool json, const LogField *fields)
{
    for (; fields != NULL && fields->key != NULL; fields++) {
        if (fields->type == LOG_FIELD_STR) {
            line_put_text(line, json, fields->key, fields->str);
        } else {
            line_put_number(line, json, fields->key, fields);
        }
    }
}

/* Length of a value as log_context wrote it: quoted with escapes, or up to the next space. */
static size_t
context_value_length(Str s)
{
    size_t i = 0;

    if (s.len > 0 && s.ptr[0] == '"') {
        for (i = 1; i < s.len && s.ptr[i] != '"'; i++) {
            i += s.ptr[i] == '\\' ? 1 : 0;
        }
        return DS_MIN(i + 1, s.len);
    }
    while (i < s.len && s.ptr[i] != ' ') {
        i++;
    }
    return i;
}

/* The context was escaped when it was made; quoted values have JSON's escapes. */
static void
line_put_context(Line *line, bool json, const char *context)
{
    Str rest = str_c(context);
    Str key = STR_EMPTY;

    while (rest.len > 0 && !line->cut && str_cut(rest, '=', &key, &rest)) {
        Str value = str_slice(rest, 0, context_value_length(rest));
        bool quoted = value.len >= 2 && value.ptr[0] == '"';

        rest = str_skip(rest, value.len + 1);
        line_put_pair(line, json, key, value, json && !quoted);
    }
}

char *
log_context(const LogField *fields)
{
    char data[LOG_LINE_BYTES_MAX / 4];
    Line line = {.data = data, .max = sizeof(data) - LINE_TAIL_BYTES};

    line_put_fields(&line, false, fields);
    return str_dup(str_n(data, line.len));
}

/* One write(2), so that lines of several threads and processes never mix; a log that cannot be
 * written is no reason to stop. */
static void
line_write(const Line *line)
{
    Str rest = str_n(line->data, line->len);

    while (rest.len > 0) {
        ssize_t n = write(atomic_load(&sink.fd), rest.ptr, rest.len);
        if (n < 0 && errno != EINTR) {
            return;
        }
        rest = str_skip(rest, n > 0 ? (size_t)n : 0);
    }
}

static void
line_put_head(Line *line, bool json, LogLevel level, const LogScope *scope, EventId event)
{
    char now[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(clock_wall_ms(), now);
    if (json) {
        line_put(line, STR("{"));
    }
    line_put_text(line, json, "ts", str_c(now));
    line_put_text(line, json, "level", str_c(level_names[level]));
    if (scope != NULL && scope->name != NULL) {
        line_put_text(line, json, "scope", str_c(scope->name));
    } else {
        char program[SCOPE_BYTES_MAX];
        pthread_rwlock_rdlock(&sink.lock);
        (void)strlcpy(program, sink.program, sizeof(program)); /* the same size */
        pthread_rwlock_unlock(&sink.lock);
        line_put_text(line, json, "scope", str_c(program));
    }
    if (event != EVENT_NONE) {
        line_put_text(line, json, "event", str_c(event_name(event)));
    }
}

void
log_write(LogLevel level, const LogScope *scope, EventId event, const LogField *fields,
          const char *fmt, ...)
{
    char data[LOG_LINE_BYTES_MAX];
    char message[LOG_LINE_BYTES_MAX];
    Line line = {.data = data, .max = sizeof(data) - LINE_TAIL_BYTES};
    bool json = atomic_load(&sink.json);
    int errno_before = errno;
    va_list args;

    DS_ASSERT(level < LOG_LEVEL_COUNT);
    DS_ASSERT(level > LOG_WARN || event != EVENT_NONE);
    atomic_fetch_add_explicit(&sink.lines[level], 1, memory_order_relaxed);
    if (!log_enabled(scope, level)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args); /* longer than a line: cut below */
    va_end(args);
    line_put_head(&line, json, level, scope, event);
    line_put_pair(&line, json, STR("msg"), str_c(message), true);
    line_put_context(&line, json, scope != NULL ? scope->context : NULL);
    line_put_fields(&line, json, fields);
    if (line.cut) {
        line_end(&line, json ? ",\"cut\":true" : " cut=true");
    }
    line_end(&line, json ? "}\n" : "\n");
    line_write(&line);
    errno = errno_before;
}

uint64_t
log_lines_count(LogLevel level)
{
    DS_ASSERT(level < LOG_LEVEL_COUNT);
    return atomic_load_explicit(&sink.lines[level], memory_order_relaxed);
}
