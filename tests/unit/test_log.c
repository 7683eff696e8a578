/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <unistd.h>

#include "common/clock.h"

static const LogScope scope = {.name = "syncd.source", .context = NULL};
static int reader = -1;

static int64_t
fixed_wall_ns(void)
{
    return INT64_C(1767323045678) * 1000000;
}

static void
start(bool json, const char *filter)
{
    static const ClockSource source = {
        .wall_ns = fixed_wall_ns, .mono_ns = fixed_wall_ns, .boot_ns = fixed_wall_ns};
    LogConfig config = {.program = "syncd", .json = json, .filter = filter};
    Error err = {0};
    int ends[2];

    clock_set_source(&source);
    cr_assert(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    reader = ends[0];
    config.fd = ends[1];
    cr_assert(log_init(&config, &err), "%s", err.text);
}

static const char *
written(void)
{
    static char text[65536];
    ssize_t n = read(reader, text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

Test(log, a_line_has_time_level_scope_message_context_and_fields)
{
    const LogScope here = {.name = "syncd.source", .context = "stream=a/b"};

    start(false, NULL);
    log_info(&here, LOG_FIELDS(log_u64("rows", 7), log_i64("skip", -1), log_f64("s", 0.25)),
             "opened %d", 1);
    cr_expect_str_eq(written(), "ts=2026-01-02T03:04:05.678Z level=info scope=syncd.source "
                                "msg=\"opened 1\" stream=a/b rows=7 skip=-1 s=0.25\n");
}

Test(log, warnings_carry_their_event)
{
    start(false, NULL);
    log_warn(&scope, EVENT_CONFIG_UNKNOWN, LOG_FIELDS(), "x");
    cr_expect(strstr(written(), " event=config.unknown msg=\"x\"\n") != NULL);
    cr_expect_str_eq(event_name(EVENT_CONFIG_INVALID), "config.invalid");
}

Test(log, no_scope_is_the_program)
{
    start(false, NULL);
    log_info(NULL, LOG_FIELDS(), "x");
    cr_expect(strstr(written(), " scope=syncd msg") != NULL);
}

Test(log, values_are_quoted_when_they_need_it)
{
    start(false, NULL);
    log_info(&scope,
             LOG_FIELDS(log_str("a", STR("plain/1")), log_str("b", STR("two words")),
                        log_str("c", STR("")), log_str("d", STR("x=y")),
                        log_str("e", STR("caf\xc3\xa9"))),
             "m");
    cr_expect(strstr(written(),
                     " a=plain/1 b=\"two words\" c=\"\" d=\"x=y\" e=\"caf\xc3\xa9\"\n") != NULL);
}

Test(log, nothing_that_a_peer_sends_can_forge_a_line)
{
    static const char *const attempts[] = {
        "a\nts=1 level=error", "a\rb",      "a\x1b[2Jb",    "a\x7f",
        "a\" event=x b=\"",    "\\\" x=\"", "\xc2\x85next", "\xe2\x80\xa8line",
        "\xe2\x80\xa9para",    "\xff\xfe",  "\xed\xa0\x80", "\xc3",
        "\xf0\x9f\x98",
    };

    start(false, NULL);
    for (size_t i = 0; i < DS_COUNT(attempts); i++) {
        log_info(&scope, LOG_FIELDS(log_str("v", str_c(attempts[i]))), "%s", attempts[i]);
        const char *line = written();
        size_t len = strlen(line);
        cr_expect(strchr(line, '\n') == line + len - 1, "%s", line);
        cr_expect(strpbrk(line, "\r\x1b\x7f") == NULL, "%s", line);
        cr_expect(strstr(line, "\xc2\x85") == NULL && strstr(line, "\xe2\x80\xa8") == NULL);
        cr_expect(str_is_utf8(str_c(line)), "%s", line);
        cr_expect(strstr(line, " event=x b=\"") == NULL || strstr(line, "\\\" event=x b=\\\""),
                  "%s", line);
    }
}

Test(log, json_lines_are_json_with_every_value)
{
    const LogScope here = {.name = "s",
                           .context =
                               log_context(LOG_FIELDS(log_str("stream", STR("a b\n\"c\"")),
                                                      log_u64("n", 3), log_str("bare", STR("x"))))};

    start(true, NULL);
    log_warn(
        &here, EVENT_CONFIG_UNKNOWN,
        LOG_FIELDS(log_str("v", STR("\x01\xff\\")), log_f64("nan", 0.0 / 0.0), log_i64("i", -5)),
        "say \"%s\"", "hi\n");
    const char *line = written();
    json_t *object = json_loads(line, 0, NULL);
    cr_assert(object != NULL, "%s", line);
    cr_expect_str_eq(json_string_value(json_object_get(object, "msg")), "say \"hi\n\"");
    cr_expect_str_eq(json_string_value(json_object_get(object, "level")), "warn");
    cr_expect_str_eq(json_string_value(json_object_get(object, "event")), "config.unknown");
    cr_expect_str_eq(json_string_value(json_object_get(object, "stream")), "a b\n\"c\"");
    cr_expect_str_eq(json_string_value(json_object_get(object, "bare")), "x");
    cr_expect_str_eq(json_string_value(json_object_get(object, "v")), "\x01\\xff\\");
    cr_expect(json_is_string(json_object_get(object, "nan")));
    cr_expect_eq(json_integer_value(json_object_get(object, "i")), -5);
    json_decref(object);
    free((void *)(uintptr_t)here.context);
}

/* Wherever the cut falls the line must stay whole: one write, one line feed, closed quotes. */
Test(log, long_lines_are_cut_and_say_so)
{
    static char big[LOG_LINE_BYTES_MAX + 100];

    for (int json = 0; json < 2; json++) {
        start(json, NULL);
        for (size_t len = LOG_LINE_BYTES_MAX - 260; len < sizeof(big) - 1; len++) {
            memset(big, 'x', len);
            big[len] = '\0';
            big[len - 1] = '\n'; /* an escape of two bytes at the border */
            log_info(&scope, LOG_FIELDS(log_str("key", STR("some value")), log_u64("n", 1)), "%s",
                     big);
            const char *line = written();
            size_t line_len = strlen(line);
            bool whole = strstr(line, json ? ",\"n\":1}\n" : " n=1\n") != NULL;
            bool cut = strstr(line, json ? ",\"cut\":true}\n" : " cut=true\n") != NULL;

            cr_assert(line_len <= LOG_LINE_BYTES_MAX, "%zu", line_len);
            cr_assert(strchr(line, '\n') == line + line_len - 1);
            cr_assert(whole != cut, "at %zu: %s", len, line + line_len - 60);
            if (json) {
                json_t *object = json_loads(line, 0, NULL);
                cr_assert(object != NULL, "at %zu: %s", len, line + line_len - 60);
                json_decref(object);
            }
        }
    }
}

Test(log, filters_work_by_the_longest_scope)
{
    static const LogScope server = {.name = "server", .context = NULL};
    static const LogScope session = {.name = "syncd.session", .context = NULL};
    static const LogScope sourcery = {.name = "syncd.sourcery", .context = NULL};
    Error err = {0};

    cr_assert(log_set_filter("warn,syncd=off, syncd::source=debug ,server", &err), "%s", err.text);
    cr_expect(log_enabled(&scope, LOG_DEBUG));
    cr_expect(!log_enabled(&scope, LOG_TRACE));
    cr_expect(!log_enabled(&session, LOG_ERROR));
    cr_expect(!log_enabled(&sourcery, LOG_ERROR), "a scope ends at a dot");
    cr_expect(log_enabled(&server, LOG_TRACE));
    cr_expect(log_enabled(NULL, LOG_WARN));
    cr_expect(!log_enabled(NULL, LOG_INFO));
}

Test(log, naming_one_scope_leaves_the_others_at_info)
{
    Error err = {0};

    cr_assert(log_set_filter("syncd.source=trace", &err));
    cr_expect(log_enabled(NULL, LOG_INFO));
    cr_expect(!log_enabled(NULL, LOG_DEBUG));
    cr_assert(log_set_filter("", &err));
    cr_expect(log_enabled(&scope, LOG_INFO));
    cr_expect(!log_enabled(&scope, LOG_DEBUG));
}

Test(log, a_bad_filter_is_refused_and_the_old_one_stays)
{
    static const char *const bad[] = {"syncd=loud", "a b=info",    "=debug",
                                      "x=",         "[span]=info", "info/regex"};
    char many[2048] = "";
    Error err = {0};

    cr_assert(log_set_filter("error", &err));
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect(!log_set_filter(bad[i], &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_CONFIG);
    }
    for (int i = 0; i < 32; i++) {
        size_t len = strlen(many);
        (void)snprintf(many + len, sizeof(many) - len, "s%d=info,", i);
    }
    cr_expect(!log_set_filter(many, &err));
    cr_expect(!log_enabled(&scope, LOG_WARN), "still at error");
}

Test(log, silenced_lines_are_counted_but_not_written)
{
    uint64_t before = log_lines_count(LOG_INFO);

    start(false, "error");
    log_info(&scope, LOG_FIELDS(), "x");
    cr_expect_str_eq(written(), "");
    cr_expect_eq(log_lines_count(LOG_INFO), before + 1);
}

static void *
log_many(void *arg)
{
    for (int i = 0; i < 100; i++) {
        log_info(&scope, LOG_FIELDS(log_str("t", str_c(arg))), "0123456789");
    }
    return NULL;
}

Test(log, lines_of_several_threads_never_mix)
{
    pthread_t threads[3];
    char names[3][2] = {"a", "b", "c"};
    unsigned lines = 0;

    start(false, NULL);
    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        cr_assert(pthread_create(&threads[i], NULL, log_many, names[i]) == 0);
    }
    for (size_t i = 0; i < DS_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    for (Str rest = str_c(written()), line; rest.len > 0; lines++) {
        cr_assert(str_cut(rest, '\n', &line, &rest));
        cr_expect(str_starts(line, STR("ts=2026")) && line.len == 78, "%zu", line.len);
    }
    cr_expect_eq(lines, 300);
}
