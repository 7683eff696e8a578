/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/server_list.h"

#include <bsd/string.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

static ServerTexts
texts_with(const char *more, const char *admin_urls, const char *token_files)
{
    return (ServerTexts){.name = "default",
                         .url = "http://h:1",
                         .more = more,
                         .admin_urls = admin_urls,
                         .token_files = token_files};
}

/* True with nothing wrong; else the first of it. */
static bool
load_list(ServerList *list, const ServerTexts *texts, Error *err)
{
    ConfigLoad load = {0};

    server_list_load(list, texts, &load);
    bool good = config_is_good(&load, err);
    config_load_done(&load);
    return good;
}

static void
expect_refused(ServerTexts texts, const char *because)
{
    ServerList list = {0};
    Error err = {0};

    cr_expect_not(load_list(&list, &texts, &err), "accepted: %s", because);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_not_null(strstr(err.text, because), "%s", err.text);
    server_list_done(&list);
}

Test(server_list, the_first_server_is_that_of_the_single_setting)
{
    ServerList list = {0};
    ServerTexts texts = texts_with(" eu = https://eu:2/ ,us=http://us:3", "us=http://us:4/", NULL);
    Error err;

    cr_assert(load_list(&list, &texts, &err), "%s", err.text);
    cr_assert_eq(list.count, 3);
    cr_expect_str_eq(list.servers[0].name, "default");
    cr_expect_str_eq(list.servers[0].url, "http://h:1");
    cr_expect_null(list.servers[0].admin_url);
    cr_expect_str_eq(list.servers[1].name, "eu");
    cr_expect_str_eq(list.servers[1].url, "https://eu:2");
    cr_expect_eq(server_list_find(&list, STR("us")), &list.servers[2]);
    cr_expect_str_eq(list.servers[2].admin_url, "http://us:4");
    cr_expect_null(server_list_find(&list, STR("u")));
    server_list_done(&list);
}

Test(server_list, a_list_that_could_mean_two_things_is_refused)
{
    expect_refused(texts_with("eu", NULL, NULL), "name=value, like default=");
    expect_refused(texts_with("eu=http://h:2/v1/stream/", NULL, NULL),
                   "must end before /v1/stream");
    expect_refused(texts_with("eu=http://a,", NULL, NULL), "name=value");
    expect_refused(texts_with("=http://a", NULL, NULL), "no name");
    expect_refused(texts_with("e/u=http://a", NULL, NULL), "no name");
    expect_refused(texts_with("eu=a:1", NULL, NULL), "http://");
    expect_refused(texts_with("eu=http://u:p@a", NULL, NULL), "without user");
    expect_refused(texts_with("eu=http://a,eu=http://b", NULL, NULL), "two servers");
    expect_refused(texts_with("default=http://a", NULL, NULL), "SYNCD_SOURCE");
    expect_refused(texts_with("eu=http://h:1/", NULL, NULL), "one name for each");
    expect_refused(texts_with("eu=http://a,us=http://a", NULL, NULL), "one name for each");
    expect_refused(texts_with(NULL, "eu=http://a", NULL), "no server");
    expect_refused(texts_with(NULL, "default=http://a,default=http://b", NULL), "twice");
    expect_refused(texts_with(NULL, NULL, "eu=/x"), "no server");
    expect_refused(texts_with(NULL, NULL, "default="), "no file");
    expect_refused(texts_with(NULL, NULL, "default=/does/not/exist"), "/does/not/exist");
}

Test(server_list, no_more_servers_than_the_limit)
{
    ServerList list = {0};
    ServerTexts texts;
    char more[SERVERS_MAX * 20] = "";
    Error err;

    for (int i = 1; i < SERVERS_MAX; i++) {
        size_t at = strlen(more);

        (void)snprintf(more + at, sizeof(more) - at, "%ss%d=http://%d", i == 1 ? "" : ",", i, i);
    }
    texts = texts_with(more, NULL, NULL);
    cr_assert(load_list(&list, &texts, &err), "%s", err.text);
    cr_expect_eq(list.count, SERVERS_MAX);
    server_list_done(&list);
    (void)strlcat(more, ",x=http://a", sizeof(more));
    expect_refused(texts_with(more, NULL, NULL), "more than 64");
}

Test(server_list, each_token_belongs_to_its_server)
{
    char path[] = "/tmp/ds-test-token-XXXXXX";
    char token_files[64];
    ServerList list = {0};
    ServerTexts texts;
    Error err;
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "abc\n", 4), 4);
    (void)close(fd);
    (void)snprintf(token_files, sizeof(token_files), "eu=%s", path);
    texts = texts_with("eu=http://a", NULL, token_files);
    cr_assert(load_list(&list, &texts, &err), "%s", err.text);
    cr_expect_not(secret_is_set(&list.servers[0].token));
    cr_expect_str_eq(secret_reveal(&list.servers[1].token), "abc");
    server_list_done(&list);
    (void)unlink(path);
}
