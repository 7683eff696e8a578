/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cors.h"

#include <criterion/criterion.h>

static Cors *
cors_of(const char *origins)
{
    Cors *cors = NULL;
    Error err = {0};

    cr_assert(cors_new(str_c(origins), &cors, &err), "%s", err.text);
    return cors;
}

static bool
has(Str lines, const char *line)
{
    return memmem(lines.ptr, lines.len, line, strlen(line)) != NULL;
}

Test(cors, any_origin_is_answered_with_an_asterisk_and_no_vary)
{
    Cors *cors = cors_of(" * ");
    Str lines = cors_lines(cors, cors_judge(cors, STR("https://a")), false);

    cr_expect(has(lines, "Access-Control-Allow-Origin: *\r\n"));
    cr_expect(has(lines, "Stream-SSE-Data-Encoding"));
    cr_expect_not(has(lines, "Vary"));
    cors_free(cors);
}

Test(cors, what_a_cache_may_keep_does_not_depend_on_who_asked)
{
    Cors *cors = cors_of("*");
    Str asked = cors_lines(cors, cors_judge(cors, STR("https://a")), true);
    Str unasked = cors_lines(cors, cors_judge(cors, STR_EMPTY), true);

    cr_expect(str_eq(asked, unasked));
    cors_free(cors);
}

Test(cors, a_listed_origin_is_echoed_and_every_other_gets_only_vary)
{
    Cors *cors = cors_of("https://a.example,http://localhost:3000 ,null");
    static const char *const strangers[] = {"",
                                            "https://a.example:443",
                                            "https://a.example.evil",
                                            "http://a.example",
                                            "https://A.example",
                                            "https://a.example,http://localhost:3000"};

    cr_expect(has(cors_lines(cors, cors_judge(cors, STR("http://localhost:3000")), false),
                  "Access-Control-Allow-Origin: http://localhost:3000\r\nVary: Origin\r\n"));
    cr_expect(has(cors_lines(cors, cors_judge(cors, STR("null")), false),
                  "Access-Control-Allow-Origin: null\r\n"));
    for (size_t i = 0; i < DS_COUNT(strangers); i++) {
        Str lines = cors_lines(cors, cors_judge(cors, str_c(strangers[i])), true);

        cr_expect(str_eq(lines, STR("Vary: Origin\r\n")), "%s", strangers[i]);
    }
    cors_free(cors);
}

Test(cors, what_is_no_origin_is_refused_with_its_text)
{
    static const char *const bad[] = {"",
                                      "https://a,",
                                      "a.example",
                                      "ftp://a",
                                      "https://",
                                      "https://a/",
                                      "https://A",
                                      "https://a b",
                                      "*,https://a",
                                      "https://a\r\nSet-Cookie: x",
                                      "https://user@host",
                                      "HTTPS://a"};

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Cors *cors = NULL;
        Error err = {0};

        cr_expect_not(cors_new(str_c(bad[i]), &cors, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect_not_null(strstr(err.text, "DS_HTTP__CORS_ORIGINS"));
        cors_free(cors);
    }
}

Test(cors, no_more_origins_are_taken_than_the_limit)
{
    for (int count = CORS_ORIGINS_MAX; count <= CORS_ORIGINS_MAX + 1; count++) {
        static char list[CORS_ORIGINS_MAX * 16];
        size_t length = 0;
        Cors *cors = NULL;
        Error err;

        for (int i = 0; i < count; i++) {
            length += (size_t)snprintf(list + length, sizeof(list) - length, "%shttp://h%d",
                                       i == 0 ? "" : ",", i);
        }
        cr_expect_eq(cors_new(str_n(list, length), &cors, &err), count == CORS_ORIGINS_MAX);
        cors_free(cors);
    }
}

Test(cors, a_preflight_allows_the_fields_of_the_protocol)
{
    static const char *const names[] = {
        "If-None-Match", "Content-Type",      "Stream-Closed", "Stream-TTL",     "Stream-Seq",
        "Producer-Id",   "Stream-Expires-At", "Producer-Seq",  "Producer-Epoch", "Authorization"};

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        cr_expect(has(cors_preflight_lines(), names[i]), "%s", names[i]);
    }
}
