/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base64.h"

#include <criterion/criterion.h>

/* RFC 4648, section 10. */
static const struct {
    const char *bytes;
    const char *text;
} vectors[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
};

static bool
decodes_to(Str text, Str bytes)
{
    Buf out;
    Error err;

    buf_init(&out, 4096);
    bool same = base64_decode(&out, text, &err) && str_eq(buf_str(&out), bytes);
    buf_done(&out);
    return same;
}

Test(base64, the_vectors_of_the_rfc_go_both_ways)
{
    for (size_t i = 0; i < DS_COUNT(vectors); i++) {
        Buf out;
        Error err;

        buf_init(&out, 64);
        cr_assert(base64_encode(&out, str_c(vectors[i].bytes), &err), "%s", err.text);
        cr_expect(str_eq(buf_str(&out), str_c(vectors[i].text)), "%s", vectors[i].bytes);
        cr_expect(decodes_to(str_c(vectors[i].text), str_c(vectors[i].bytes)), "%s",
                  vectors[i].text);
        buf_done(&out);
    }
}

Test(base64, every_byte_value_survives_at_every_length)
{
    char bytes[259];
    Buf text;
    Error err;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 7 + 3);
    }
    buf_init(&text, 4096);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        buf_reset(&text);
        cr_assert(base64_encode(&text, str_n(bytes, len), &err), "%s", err.text);
        cr_expect_eq(text.len, (len + 2) / 3 * 4);
        cr_expect(decodes_to(buf_str(&text), str_n(bytes, len)), "%zu bytes", len);
    }
    buf_done(&text);
}

Test(base64, line_breaks_are_skipped_wherever_they_stand)
{
    static const char text[] = "Zm9vYmE=";

    for (size_t at = 0; at < sizeof(text); at++) {
        char broken[16];
        int len = snprintf(broken, sizeof(broken), "%.*s\r\n%s", (int)at, text, text + at);

        cr_expect(decodes_to(str_n(broken, (size_t)len), STR("fooba")), "break at %zu", at);
    }
    cr_expect(decodes_to(STR("\r\n\n"), STR("")));
    cr_expect(decodes_to(STR("Zm9v\nYmFy\nZm9vYmFy"), STR("foobarfoobar")));
}

Test(base64, what_is_not_base64_is_refused_and_changes_nothing)
{
    static const char *const bad[] = {
        "Z",     "Zg",    "Zg=",   "Zm8",      "Zm9vY",     "=",       "====", "Z===",
        "Zg===", "Zm8==", "Zm9v=", "Zg==Zg==", "Zm9v Zm9v", "Zm9v\t",  "Zm-_", "Zm9*",
        "Z=g=",  "Zg=Z",  "Zh==",  "Zm9=",     "Zm9v\x80",  "Zm8=\n=",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Buf out;
        Error err = {0};

        buf_init(&out, 64);
        cr_assert(buf_append(&out, STR("kept"), &err));
        cr_expect_not(base64_decode(&out, str_c(bad[i]), &err), "\"%s\"", bad[i]);
        cr_expect_eq(err.code, ERR_INPUT, "\"%s\": %s", bad[i], err.text);
        cr_expect(str_eq(buf_str(&out), STR("kept")), "\"%s\"", bad[i]);
        buf_done(&out);
    }
    cr_expect_not(decodes_to(str_n("Zm9v\0", 5), STR("foo")));
}

Test(base64, an_output_of_exactly_the_right_size_is_enough_and_one_less_is_not)
{
    for (size_t i = 1; i < DS_COUNT(vectors); i++) {
        Str bytes = str_c(vectors[i].bytes);
        Str text = str_c(vectors[i].text);
        Buf out;
        Error err = {0};

        buf_init(&out, bytes.len);
        cr_expect(base64_decode(&out, text, &err), "%s", err.text);
        buf_done(&out);
        buf_init(&out, bytes.len - 1);
        cr_expect_not(base64_decode(&out, text, &err));
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_eq(out.len, 0);
        buf_done(&out);
        buf_init(&out, text.len - 1);
        cr_expect_not(base64_encode(&out, bytes, &err));
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_eq(out.len, 0);
        buf_done(&out);
    }
}

Test(base64, the_url_safe_alphabet_has_no_padding_and_goes_both_ways)
{
    static const struct {
        const char *bytes;
        const char *text;
    } url_vectors[] = {{"", ""},        {"f", "Zg"},         {"fo", "Zm8"},
                       {"foo", "Zm9v"}, {"\xfb\xff", "-_8"}, {"\xff\xef\xbf", "_--_"}};
    Buf out;
    Error err;

    for (size_t i = 0; i < DS_COUNT(url_vectors); i++) {
        buf_init(&out, 64);
        cr_assert(base64url_encode(&out, str_c(url_vectors[i].bytes), &err));
        cr_expect(str_eq(buf_str(&out), str_c(url_vectors[i].text)), "%s", url_vectors[i].text);
        buf_reset(&out);
        cr_assert(base64url_decode(&out, str_c(url_vectors[i].text), &err), "%s", err.text);
        cr_expect(str_eq(buf_str(&out), str_c(url_vectors[i].bytes)), "%s", url_vectors[i].text);
        buf_done(&out);
    }
}

Test(base64, one_value_has_one_url_safe_text)
{
    static const char *const bad[] = {"Zg==", "Z", "Zh", "Zm9", "+/8", "Zm9v\n", "Zm 9v", "Zm9v="};
    Buf out;
    Error err;

    buf_init(&out, 64);
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(base64url_decode(&out, str_c(bad[i]), &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_eq(out.len, 0);
    }
    buf_done(&out);
}
