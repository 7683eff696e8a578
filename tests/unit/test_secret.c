/* SPDX-License-Identifier: Apache-2.0 */
#include "common/secret.h"

#include <criterion/criterion.h>
#include <unistd.h>

static void
write_file(char *path, const void *bytes, size_t len)
{
    int fd = mkstemp(path);

    cr_assert(fd >= 0);
    cr_assert(write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

Test(secret, unset_reveals_nothing_and_set_replaces)
{
    Secret secret = {0};

    cr_expect_str_eq(secret_reveal(&secret), "");
    cr_expect(!secret_is_set(&secret));
    secret_set(&secret, STR("one"));
    secret_set(&secret, STR("two"));
    cr_expect_str_eq(secret_reveal(&secret), "two");
    secret_set(&secret, str_c(secret_reveal(&secret)));
    cr_expect_str_eq(secret_reveal(&secret), "two", "a secret may be set from itself");
    secret_done(&secret);
    cr_expect(!secret_is_set(&secret));
}

Test(secret, file_loses_its_line_ends_only)
{
    char path[] = "/tmp/secretXXXXXX";
    Secret secret = {0};
    Error err = {0};

    write_file(path, " to\nken \r\n\n", 11);
    cr_assert(secret_read_file(&secret, path, &err), "%s", err.text);
    cr_expect_str_eq(secret_reveal(&secret), " to\nken ");
    unlink(path);
    secret_done(&secret);
}

Test(secret, bad_file_is_named_but_not_quoted)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{"", 0}, {"\n\n", 2}, {"hidden\0word", 11}};
    Secret secret = {0};
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        char path[] = "/tmp/secretXXXXXX";
        write_file(path, cases[i].bytes, cases[i].len);
        cr_expect(!secret_read_file(&secret, path, &err));
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect(strstr(err.text, path) != NULL, "%s", err.text);
        cr_expect(strstr(err.text, "hidden") == NULL, "%s", err.text);
        unlink(path);
    }
    cr_expect(!secret_read_file(&secret, "/nowhere/at/all", &err));
    cr_expect(strstr(err.text, "/nowhere/at/all") != NULL);
    cr_expect(!secret_is_set(&secret));
}

Test(secret, file_over_the_limit_is_refused)
{
    char path[] = "/tmp/secretXXXXXX";
    static char bytes[SECRET_FILE_BYTES_MAX + 1];
    Secret secret = {0};
    Error err = {0};

    memset(bytes, 'x', sizeof(bytes));
    write_file(path, bytes, SECRET_FILE_BYTES_MAX);
    cr_expect(secret_read_file(&secret, path, &err), "%s", err.text);
    unlink(path);
    char longer[] = "/tmp/secretXXXXXX";
    write_file(longer, bytes, SECRET_FILE_BYTES_MAX + 1);
    cr_expect(!secret_read_file(&secret, longer, &err));
    unlink(longer);
    secret_done(&secret);
}

Test(secret, urls_lose_their_password)
{
    static const struct {
        const char *url;
        const char *shown;
    } cases[] = {
        {"postgresql://u:pw@host:5432/db", "postgresql://u:***@host:5432/db"},
        {"postgresql://u@host/db", "postgresql://u@host/db"},
        {"postgresql://u:p@w@host/db", "postgresql://u:***@host/db"},
        {"postgresql://u:p/w@host/db", "postgresql://u:***@host/db"},
        {"postgresql://u:p?w@host/db", "postgresql://u:***@host/db"},
        {"postgresql://u:12@host/db", "postgresql://u:***@host/db"},
        {"postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"},
        {"postgresql:///db?password=pw&user=me", "postgresql:///db?password=***&user=me"},
        {"postgresql:///db?user=me&sslpassword=pw", "postgresql:///db?user=me&sslpassword=***"},
        {"http://127.0.0.1:4437/v1/stream/user@example",
         "http://127.0.0.1:4437/v1/stream/user@example"},
        {"http://host/x?token=abc#frag", "http://host/x?token=***#frag"},
        {"postgresql://u:a@b/c@host/db", "postgresql://u:***@host/db"},
        {"http://user@host/stream/user@example", "http://user@host/stream/user@example"},
        {"host=h password=pw dbname=d", "host=h password=*** dbname=d"},
        {"host=h password = 'p w\\' x' dbname=d", "host=h password = *** dbname=d"},
        {"PASSWORD=pw", "PASSWORD=***"},
        {"password='never closed", "password=***"},
        {"password=a://b:c@d host=h", "password=*** host=h"},
        {"host=h passfile=/x", "host=h passfile=/x"},
        {"", ""},
        {"password", "password"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        char *shown = secret_redact_url(str_c(cases[i].url));
        cr_expect_str_eq(shown, cases[i].shown, "%s gave %s", cases[i].url, shown);
        free(shown);
    }
}

Test(secret, redaction_stays_in_bounds_on_every_truncation)
{
    static const char url[] = "postgresql://u:p/w@h:1/d?password=x&token=&secret=&a=b#f";
    static const char keys[] = "token= token= token= password = 'a\\'b' user=\\";

    for (size_t i = 0; i <= sizeof(url) - 1; i++) {
        char *shown = secret_redact_url(str_n(url, i));
        cr_expect(strlen(shown) <= i * 4 + 3);
        free(shown);
    }
    for (size_t i = 0; i <= sizeof(keys) - 1; i++) {
        char *shown = secret_redact_url(str_n(keys, i));
        cr_expect(strlen(shown) <= i * 4 + 3);
        free(shown);
    }
}

Test(secret, a_mask_covers_every_place_and_nothing_else)
{
    Secret secret = {0};
    char text[] = "tok to tok-toktok, and t";
    char cut[] = "tok";

    secret_mask(&secret, text, strlen(text));
    cr_expect_str_eq(text, "tok to tok-toktok, and t");
    secret_set(&secret, STR("tok"));
    secret_mask(&secret, text, strlen(text));
    cr_expect_str_eq(text, "*** to ***-******, and t");
    secret_mask(&secret, cut, 2);
    cr_expect_str_eq(cut, "tok");
    secret_mask(&secret, NULL, 0);
    secret_done(&secret);
}
