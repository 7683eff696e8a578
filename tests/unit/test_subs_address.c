/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_address.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>

static bool
allowed(const char *text, bool https, bool insecure)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;

    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
    } else {
        cr_assert_eq(inet_pton(AF_INET6, text, &in6->sin6_addr), 1, "%s", text);
        in6->sin6_family = AF_INET6;
    }
    return subs_address_allowed((const struct sockaddr *)&address, https, insecure);
}

static const char *const inside[] = {
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "::8.8.8.8",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:5ef5:79fd::1",
    "2001:db8::1",
    "2002:a00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
};

static const char *const outside[] = {
    "1.1.1.1",           "8.8.8.8",
    "9.255.255.255",     "11.0.0.0",
    "100.63.255.255",    "100.128.0.0",
    "126.255.255.255",   "128.0.0.1",
    "169.253.255.255",   "169.255.0.0",
    "172.15.255.255",    "172.32.0.0",
    "192.167.255.255",   "192.169.0.0",
    "198.17.255.255",    "198.20.0.0",
    "223.255.255.255",   "2606:4700:4700::1111",
    "2a00:1450:4001::1", "2001:4860:4860::8888",
};

Test(subs_address, only_the_public_internet_is_allowed_and_only_by_https)
{
    for (size_t i = 0; i < DS_COUNT(inside); i++) {
        cr_expect_not(allowed(inside[i], true, false), "%s", inside[i]);
        cr_expect_not(allowed(inside[i], true, true), "%s", inside[i]);
        cr_expect_not(allowed(inside[i], false, true), "%s", inside[i]);
    }
    for (size_t i = 0; i < DS_COUNT(outside); i++) {
        cr_expect(allowed(outside[i], true, false), "%s", outside[i]);
        cr_expect_not(allowed(outside[i], false, false), "%s", outside[i]);
        cr_expect_not(allowed(outside[i], false, true), "%s", outside[i]);
    }
}

Test(subs_address, loopback_is_allowed_only_where_the_operator_says_so)
{
    static const char *const loopback[] = {"127.0.0.1", "127.255.255.254", "::1"};

    for (size_t i = 0; i < DS_COUNT(loopback); i++) {
        cr_expect_not(allowed(loopback[i], true, false), "%s", loopback[i]);
        cr_expect_not(allowed(loopback[i], false, false), "%s", loopback[i]);
        cr_expect(allowed(loopback[i], true, true), "%s", loopback[i]);
        cr_expect(allowed(loopback[i], false, true), "%s", loopback[i]);
    }
}

Test(subs_address, other_address_families_are_not_allowed)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};

    cr_expect_not(subs_address_allowed((const struct sockaddr *)&address, true, true));
}

static void
expect_url(const char *url, bool insecure, bool good)
{
    Error err = {0};

    cr_expect_eq(subs_url_check(str_c(url), insecure, &err), good, "%s: %s", url, err.text);
}

Test(subs_address, urls_that_lead_inside_are_refused_in_every_spelling)
{
    static const char *const bad[] = {
        "http://10.0.0.1/hook",
        "https://10.0.0.1/hook",
        "http://example.com/",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/#x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com/hook",
        "https://",
        "https:///hook",
        "",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        expect_url(bad[i], false, false);
    }
    expect_url("https://example.com/hook?x=1", false, true);
    expect_url("https://example.com:8443/", false, true);
    expect_url("https://8.8.8.8/hook", false, true);
    expect_url("https://[2606:4700:4700::1111]/hook", false, true);
}

Test(subs_address, the_exception_for_development_covers_loopback_alone)
{
    expect_url("http://127.0.0.1:1234/hook", true, true);
    expect_url("http://127.0.0.9/hook", true, true);
    expect_url("http://localhost:1234/hook", true, true);
    expect_url("http://[::1]:1234/hook", true, true);
    expect_url("https://localhost/hook", true, true);
    expect_url("http://10.0.0.1/hook", true, false);
    expect_url("http://192.168.1.1/hook", true, false);
    expect_url("http://example.com/hook", true, false);
    expect_url("http://127.0.0.1.example.com/hook", true, false);
    expect_url("http://8.8.8.8/hook", true, false);
}

Test(subs_address, a_url_has_a_greatest_length)
{
    char url[SUBS_URL_BYTES_MAX + 2] = "https://example.com/";

    memset(url + strlen(url), 'a', sizeof(url) - 1 - strlen(url));
    expect_url(url, false, false);
    url[SUBS_URL_BYTES_MAX] = '\0';
    expect_url(url, false, true);
}
