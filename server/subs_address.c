/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_address.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

/* ---- addresses ---- */

typedef struct Range4 {
    uint8_t net[4];
    unsigned bits;
} Range4;

typedef struct Range6 {
    uint8_t net[16];
    unsigned bits;
} Range6;

/* RFC 6890 and its successors: whatever is not the public internet. */
static const Range4 blocked4[] = {
    {{0, 0, 0, 0}, 8},        /* this host */
    {{10, 0, 0, 0}, 8},       /* private */
    {{100, 64, 0, 0}, 10},    /* shared by carriers; a metadata service */
    {{127, 0, 0, 0}, 8},      /* loopback */
    {{168, 63, 129, 16}, 32}, /* a cloud's own services on a public address */
    {{169, 254, 0, 0}, 16},   /* link-local; metadata services */
    {{172, 16, 0, 0}, 12},    /* private */
    {{192, 0, 0, 0}, 24},     /* protocol assignments */
    {{192, 0, 2, 0}, 24},     /* documentation */
    {{192, 88, 99, 0}, 24},   /* 6to4 relays */
    {{192, 168, 0, 0}, 16},   /* private */
    {{198, 18, 0, 0}, 15},    /* benchmarks */
    {{198, 51, 100, 0}, 24},  /* documentation */
    {{203, 0, 113, 0}, 24},   /* documentation */
    {{224, 0, 0, 0}, 4},      /* multicast */
    {{240, 0, 0, 0}, 4},      /* reserved, broadcast */
};

/* Within 2000::/3, outside of which nothing is allowed: so v4-mapped, NAT64, unique local,
 * link-local and multicast need no line. */
static const Range6 blocked6[] = {
    {{0x20, 0x01, 0x00}, 23},       /* protocol assignments, Teredo among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4: carries IPv4 */
    {{0x3f, 0xff, 0x00}, 20},       /* documentation */
};

static bool
in_range(const uint8_t *address, const uint8_t *net, unsigned bits)
{
    unsigned whole = bits / 8;
    uint8_t mask = (uint8_t)(0xff00u >> (bits % 8));

    return memcmp(address, net, whole) == 0 &&
           (bits % 8 == 0 || ((address[whole] ^ net[whole]) & mask) == 0);
}

static bool
public4(const uint8_t *address)
{
    for (size_t i = 0; i < DS_COUNT(blocked4); i++) {
        if (in_range(address, blocked4[i].net, blocked4[i].bits)) {
            return false;
        }
    }
    return true;
}

static bool
public6(const uint8_t *address)
{
    static const uint8_t global[1] = {0x20};

    if (!in_range(address, global, 3)) {
        return false;
    }
    for (size_t i = 0; i < DS_COUNT(blocked6); i++) {
        if (in_range(address, blocked6[i].net, blocked6[i].bits)) {
            return false;
        }
    }
    return true;
}

bool
subs_address_allowed(const struct sockaddr *address, bool https, bool insecure)
{
    bool loopback = false;
    bool open = false;

    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        const uint8_t *bytes = (const uint8_t *)&in.sin_addr;

        memcpy(&in, address, sizeof(in));
        loopback = bytes[0] == 127;
        open = public4(bytes);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, address, sizeof(in6));
        loopback = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
        open = public6(in6.sin6_addr.s6_addr);
    }
    return loopback ? insecure : open && https;
}

/* ---- URLs ---- */

typedef struct UrlParts {
    char *scheme;
    char *host;
    char *user;
    char *password;
    char *fragment;
} UrlParts;

static bool
bad_url(Error *err, const char *why)
{
    return error_set(err, ERR_INPUT, "the webhook URL %s", why);
}

/* The library forgives more slashes than two. */
static bool
has_authority(const char *url)
{
    const char *slashes = strstr(url, "://");

    return slashes != NULL && slashes[3] != '/' && slashes[3] != '\\' && slashes[3] != '\0';
}

static bool
parse_url(CURLU *handle, const char *url, UrlParts *out, Error *err)
{
    if (!has_authority(url) || curl_url_set(handle, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(handle, CURLUPART_SCHEME, &out->scheme, 0) != CURLUE_OK ||
        curl_url_get(handle, CURLUPART_HOST, &out->host, 0) != CURLUE_OK) {
        return bad_url(err, "is not an absolute URL");
    }
    (void)curl_url_get(handle, CURLUPART_USER, &out->user, 0);
    (void)curl_url_get(handle, CURLUPART_PASSWORD, &out->password, 0);
    (void)curl_url_get(handle, CURLUPART_FRAGMENT, &out->fragment, 0);
    return true;
}

/* A host that is an address, as the library writes it: IPv4 in four decimal parts, IPv6 in
 * brackets. */
static bool
host_address(Str host, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char text[INET6_ADDRSTRLEN + 2];

    if (host.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(out, &in, sizeof(in));
        return true;
    }
    if (host.len > 2 && text[0] == '[') {
        text[host.len - 1] = '\0';
        if (inet_pton(AF_INET6, text + 1, &in6.sin6_addr) == 1) {
            memcpy(out, &in6, sizeof(in6));
            return true;
        }
    }
    return false;
}

static bool
is_localhost(Str host)
{
    if (host.len > 0 && host.ptr[host.len - 1] == '.') {
        host.len--;
    }
    return str_eq_nocase(host, STR("localhost"));
}

/* "a.localhost", "metadata.google.internal": names that never are on the public internet. */
static bool
is_inside_name(Str host)
{
    static const Str suffixes[] = {STR(".localhost"), STR(".local"), STR(".internal"),
                                   STR(".localdomain")};

    if (host.len > 0 && host.ptr[host.len - 1] == '.') {
        host.len--;
    }
    for (size_t i = 0; i < DS_COUNT(suffixes); i++) {
        if (host.len >= suffixes[i].len &&
            str_eq_nocase(str_skip(host, host.len - suffixes[i].len), suffixes[i])) {
            return true;
        }
    }
    return false;
}

static bool
check_parts(const UrlParts *parts, bool insecure, Error *err)
{
    struct sockaddr_storage address = {0};
    Str host = str_c(parts->host);
    bool https = str_eq(str_c(parts->scheme), STR("https"));

    if (!https && !str_eq(str_c(parts->scheme), STR("http"))) {
        return bad_url(err, "must begin with https://");
    }
    if (parts->user != NULL || parts->password != NULL || parts->fragment != NULL) {
        return bad_url(err, "must have no user, password or fragment");
    }
    if (host_address(host, &address)) {
        if (!subs_address_allowed((const struct sockaddr *)&address, https, insecure)) {
            return bad_url(err, "leads to an address that is not on the public internet");
        }
    } else if (host.len > 0 && host.ptr[0] == '[') {
        return bad_url(err, "has an address that cannot be read");
    } else if (is_localhost(host) ? !insecure : is_inside_name(host)) {
        return bad_url(err, "names a host that is not on the public internet");
    } else if (!https && !is_localhost(host)) {
        return bad_url(err, "must begin with https://");
    }
    return true;
}

bool
subs_url_check(Str url, bool insecure, Error *err)
{
    UrlParts parts = {0};
    CURLU *handle = NULL;
    char *text = NULL;
    bool ok = false;

    if (url.len == 0 || url.len > SUBS_URL_BYTES_MAX) {
        return error_set(err, ERR_INPUT, "the webhook URL must have 1 to %d bytes",
                         SUBS_URL_BYTES_MAX);
    }
    if (!str_is_utf8(url) || str_contains_ctl(url) || str_find(url, ' ', &(size_t){0})) {
        return bad_url(err, "contains spaces, control characters, or what is not UTF-8");
    }
    text = str_dup(url);
    handle = curl_url();
    DS_ASSERT(handle != NULL);
    ok = parse_url(handle, text, &parts, err) && check_parts(&parts, insecure, err);
    curl_free(parts.scheme);
    curl_free(parts.host);
    curl_free(parts.user);
    curl_free(parts.password);
    curl_free(parts.fragment);
    curl_url_cleanup(handle);
    free(text);
    return ok;
}
