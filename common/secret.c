/* SPDX-License-Identifier: Apache-2.0 */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/mem.h"

static const char redacted[] = "***";

void
secret_set(Secret *secret, Str text)
{
    char *copy = str_dup(text); /* first: text may point into the old one */

    secret_done(secret);
    secret->text = copy;
}

void
secret_done(Secret *secret)
{
    if (secret->text != NULL) {
        explicit_bzero(secret->text, strlen(secret->text));
        free(secret->text);
        secret->text = NULL;
    }
}

bool
secret_is_set(const Secret *secret)
{
    return secret->text != NULL;
}

const char *
secret_reveal(const Secret *secret)
{
    return secret->text != NULL ? secret->text : "";
}

/* Reads at most size bytes; what is left in the file afterwards is the caller's to judge. */
static bool
read_whole(int fd, char *data, size_t size, size_t *out_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    *out_len = len;
    return true;
}

/* Whoever puts the secret itself where its file belongs must not find it in the log. */
static const char *
path_for_people(const char *path)
{
    return strchr(path, '/') != NULL && strstr(path, "://") == NULL ? path
                                                                    : "(a name without a folder)";
}

bool
secret_read_file(Secret *secret, const char *path, Error *err)
{
    size_t size = SECRET_FILE_BYTES_MAX + 1;
    char *data = mem_zalloc(size);
    size_t len = 0;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || !read_whole(fd, data, size, &len)) {
        error_set(err, ERR_CONFIG, "cannot read the secret file %s: %s", path_for_people(path),
                  strerror(errno));
        goto done;
    }
    if (len > SECRET_FILE_BYTES_MAX) {
        error_set(err, ERR_CONFIG, "the secret file %s is longer than %d bytes",
                  path_for_people(path), SECRET_FILE_BYTES_MAX);
        goto done;
    }
    while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r')) {
        len--;
    }
    if (len == 0) {
        error_set(err, ERR_CONFIG, "the secret file %s is empty", path_for_people(path));
        goto done;
    }
    if (memchr(data, '\0', len) != NULL) {
        error_set(err, ERR_CONFIG, "the secret file %s has a NUL byte in it",
                  path_for_people(path));
        goto done;
    }
    secret_set(secret, str_n(data, len));
    ok = true;

done:
    if (fd >= 0) {
        close(fd);
    }
    explicit_bzero(data, size);
    free(data);
    return ok;
}

void
secret_mask(const Secret *secret, char *text, size_t len)
{
    size_t size = strlen(secret_reveal(secret));
    char *found = text;

    if (size == 0 || len < size) {
        return;
    }
    while ((found = memmem(found, len - (size_t)(found - text), secret->text, size)) != NULL) {
        memset(found, '*', size);
    }
}

/* ---- redaction ---- */

/* A writer into memory that the caller made large enough. */
typedef struct Out {
    char *data;
    size_t len;
} Out;

static void
out_put(Out *out, Str text)
{
    memcpy(out->data + out->len, text.ptr, text.len);
    out->len += text.len;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool
is_secret_name(Str name)
{
    static const char *const names[] = {"password", "sslpassword", "token", "access_token",
                                        "secret"};

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        if (str_eq_nocase(name, str_c(names[i]))) {
            return true;
        }
    }
    return false;
}

static bool
is_port(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
    }
    return text.len > 0;
}

static size_t
find_last(Str s, char c)
{
    for (size_t i = s.len; i > 0; i--) {
        if (s.ptr[i - 1] == c) {
            return i - 1;
        }
    }
    return s.len;
}

static size_t
find_any(Str s, const char *set)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '\0' && strchr(set, s.ptr[i]) != NULL) {
            return i;
        }
    }
    return s.len;
}

/*
 * Where the user:password@ part of what follows "://" ends (the place of its '@'), or rest.len.
 * A password may hold an unencoded '/' or '@' by mistake: when what stands behind the first colon
 * is no port, or there is one '@' already, everything up to the last '@' counts as password.
 * Hiding too much is the safe side.
 */
static size_t
find_userinfo_end(Str rest)
{
    size_t authority = find_any(rest, "/?#");
    size_t at = find_last(str_head(rest, authority), '@');
    size_t colon = 0;

    if (at < authority) {
        bool has_password = str_find(str_head(rest, at), ':', &colon);

        return has_password ? find_last(rest, '@') : at;
    }
    if (rest.len > 0 && rest.ptr[0] != '[' && str_find(str_head(rest, authority), ':', &colon) &&
        !is_port(str_slice(rest, colon + 1, authority))) {
        return find_last(rest, '@');
    }
    return rest.len;
}

static void
redact_query(Out *out, Str query)
{
    while (query.len > 0) {
        size_t end = find_any(query, "&#");
        Str pair = str_head(query, end);
        Str name = STR_EMPTY;
        Str value = STR_EMPTY;

        if (str_cut(pair, '=', &name, &value) && is_secret_name(name)) {
            out_put(out, name);
            out_put(out, STR("="));
            out_put(out, str_c(redacted));
        } else {
            out_put(out, pair);
        }
        if (end < query.len) {
            out_put(out, str_slice(query, end, end + 1));
        }
        query = str_skip(query, end + 1);
    }
}

static void
redact_uri(Out *out, Str scheme, Str rest)
{
    size_t at = find_userinfo_end(rest);
    size_t colon = 0;
    size_t query = 0;

    out_put(out, scheme);
    if (at < rest.len) {
        Str userinfo = str_head(rest, at);
        bool has_password = str_find(userinfo, ':', &colon);

        out_put(out, str_slice(userinfo, 0, has_password ? colon + 1 : userinfo.len));
        if (has_password) {
            out_put(out, str_c(redacted));
        }
        rest = str_skip(rest, at);
    }
    if (str_find(rest, '?', &query)) {
        out_put(out, str_slice(rest, 0, query + 1));
        redact_query(out, str_skip(rest, query + 1));
    } else {
        out_put(out, rest);
    }
}

/* Past the value of a keyword=value connection string: quoted with ', \ escapes the next byte. */
static size_t
skip_value(Str s, size_t at)
{
    bool quoted = at < s.len && s.ptr[at] == '\'';

    for (at += quoted ? 1 : 0; at < s.len; at++) {
        if (s.ptr[at] == '\\') {
            at++;
        } else if (quoted && s.ptr[at] == '\'') {
            return at + 1;
        } else if (!quoted && is_space(s.ptr[at])) {
            break;
        }
    }
    return DS_MIN(at, s.len);
}

static void
redact_keywords(Out *out, Str s)
{
    size_t at = 0;

    while (at < s.len) {
        size_t from = at;
        while (at < s.len && is_space(s.ptr[at])) {
            at++;
        }
        size_t name_at = at;
        while (at < s.len && s.ptr[at] != '=' && !is_space(s.ptr[at])) {
            at++;
        }
        Str name = str_slice(s, name_at, at);
        while (at < s.len && is_space(s.ptr[at])) {
            at++;
        }
        if (at < s.len && s.ptr[at] == '=') {
            at++;
            while (at < s.len && is_space(s.ptr[at])) {
                at++;
            }
            size_t value_at = at;
            at = skip_value(s, at);
            bool hide = is_secret_name(name);
            out_put(out, str_slice(s, from, hide ? value_at : at));
            out_put(out, hide ? str_c(redacted) : STR_EMPTY);
        } else {
            out_put(out, str_slice(s, from, at));
        }
    }
}

char *
secret_redact_url(Str url)
{
    /* Each replacement stands for at least one byte ('=' or ':') that is kept: 4 times is enough.
     */
    Out out = {.data = mem_alloc(url.len * 4 + sizeof(redacted)), .len = 0};
    size_t colon = 0;
    size_t scheme = 0;

    while (str_find(str_skip(url, scheme), ':', &colon)) {
        scheme += colon + 1;
        if (str_starts(str_skip(url, scheme), STR("//"))) {
            break;
        }
    }
    if (scheme > 0 && str_starts(str_skip(url, scheme), STR("//")) &&
        find_any(str_slice(url, 0, scheme), " =\t") == scheme) {
        redact_uri(&out, str_slice(url, 0, scheme + 2), str_skip(url, scheme + 2));
    } else {
        redact_keywords(&out, url);
    }
    out.data[out.len] = '\0';
    return out.data;
}
