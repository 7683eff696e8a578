/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/listing.h"

#include <criterion/criterion.h>

typedef struct Trace {
    Buf text;
} Trace;

static void
record(void *arg, const ListingStream *stream)
{
    static const char letters[] = {[LISTING_EXISTS] = '=',
                                   [LISTING_CREATED] = '+',
                                   [LISTING_CLOSED] = '.',
                                   [LISTING_DELETED] = '-'};
    Trace *trace = arg;
    Error err;

    cr_assert(
        buf_printf(&trace->text, &err, "%c%.*s", letters[stream->kind], STR_ARG(stream->name)));
    if (stream->era != 0) {
        cr_assert(buf_printf(&trace->text, &err, "@%llx", (unsigned long long)stream->era));
    }
    if (stream->created_ms != 0) {
        cr_assert(buf_printf(&trace->text, &err, "#%lld/%lld", (long long)stream->created_ms,
                             (long long)stream->told_ms));
    }
    cr_assert(buf_append_char(&trace->text, '|', &err));
}

static const char page[] =
    "{\"streams\":[{\"name\":\"a\",\"closed\":false},{\"name\":\"b\\u002fc\"},{\"name\":7},{},[],"
    "{\"name\":\"\"},{\"name\":\"x\\ny\"}],\"next\":\"b/c\",\"token\":\"0_1\"}";
static const char changes[] = "{\"changes\":[{\"change\":\"created\",\"name\":\"a\",\"era\":\"0\"},"
                              "{\"change\":\"closed\",\"name\":"
                              "\"a\"},{\"change\":\"renamed\",\"name\":\"a\"},{\"change\":"
                              "\"deleted\",\"name\":\"b\"}],\"token\":\"t\"}";

static void
expect_page(const char *json, const char *names, const char *next, const char *token)
{
    Trace trace;
    Listing listing;
    Error err = {0};

    buf_init(&trace.text, 4096);
    listing_init(&listing);
    cr_assert(listing_read_page(str_c(json), record, &trace, &listing, &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&trace.text), names);
    cr_expect_str_eq(buf_cstr(&listing.next), next);
    cr_expect_str_eq(buf_cstr(&listing.token), token);
    listing_done(&listing);
    buf_done(&trace.text);
}

Test(listing, a_page_says_names_and_where_to_go_on)
{
    expect_page(page, "=a|=b/c|", "b/c", "0_1");
    expect_page("{\"streams\":[],\"next\":null}", "", "", "");
}

Test(listing, a_listed_stream_has_the_era_of_its_offsets_and_a_time)
{
    expect_page(
        "{\"streams\":[{\"name\":\"a\",\"next_offset\":\"00000000000000ab_0000000000000001\","
        "\"created_at\":\"1970-01-01T00:00:02.500Z\"},{\"name\":\"b\",\"next_offset\":\"o7\","
        "\"created_at\":7}],\"next\":null,\"token\":\"0_1\","
        "\"now\":\"1970-01-01T00:00:03.000Z\"}",
        "=a@ab#2500/3000|=b|", "", "0_1");
    expect_page("{\"streams\":[{\"name\":\"a\",\"created_at\":\"1970-01-01T00:00:02.500Z\"}]}",
                "=a#2500/0|", "", "");
}

Test(listing, a_change_says_the_era)
{
    Trace trace;
    Listing listing;
    Error err = {0};

    buf_init(&trace.text, 4096);
    listing_init(&listing);
    cr_assert(listing_read_changes(
        STR("{\"changes\":[{\"change\":\"created\",\"name\":\"a\",\"era\":\"00000000000000ab\"},"
            "{\"change\":\"deleted\",\"name\":\"b\",\"era\":\"ab\"}],\"token\":\"t\"}"),
        record, &trace, &listing, &err));
    cr_expect_str_eq(buf_cstr(&trace.text), "+a@ab|-b|");
    listing_done(&listing);
    buf_done(&trace.text);
}

Test(listing, changes_say_what_became_of_a_stream)
{
    Trace trace;
    Listing listing;
    Error err = {0};

    buf_init(&trace.text, 4096);
    listing_init(&listing);
    cr_assert(listing_read_changes(str_c(changes), record, &trace, &listing, &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&trace.text), "+a|.a|-b|");
    cr_expect_str_eq(buf_cstr(&listing.token), "t");
    listing_done(&listing);
    buf_done(&trace.text);
}

Test(listing, a_subscription_names_its_streams_by_path)
{
    Trace trace;
    Error err = {0};

    buf_init(&trace.text, 4096);
    cr_assert(listing_read_subscription(STR("{\"id\":\"s\",\"streams\":[{\"path\":\"a/"
                                            "b\",\"link_type\":\"glob\"}],\"token\":null}"),
                                        record, &trace, &err));
    cr_expect_str_eq(buf_cstr(&trace.text), "=a/b|");
    buf_done(&trace.text);
}

Test(listing, what_is_cut_anywhere_is_refused_before_a_name_is_handed_out)
{
    for (size_t cut = 0; cut < sizeof(page) - 1; cut++) {
        Trace trace;
        Listing listing;
        Error err = {0};

        buf_init(&trace.text, 4096);
        listing_init(&listing);
        cr_expect_not(listing_read_page(str_n(page, cut), record, &trace, &listing, &err),
                      "cut at %zu", cut);
        cr_expect_eq(err.code, ERR_PROTOCOL);
        cr_expect_eq(trace.text.len, 0);
        listing_done(&listing);
        buf_done(&trace.text);
    }
}

Test(listing, another_document_is_refused)
{
    static const char *const others[] = {"[]",
                                         "{}",
                                         "{\"streams\":{}}",
                                         "{\"streams\":[],\"next\":1}",
                                         "{\"streams\":[],\"token\":[]}",
                                         "null"};

    for (size_t i = 0; i < DS_COUNT(others); i++) {
        Trace trace;
        Listing listing;
        Error err = {0};

        buf_init(&trace.text, 4096);
        listing_init(&listing);
        cr_expect_not(listing_read_page(str_c(others[i]), record, &trace, &listing, &err), "%s",
                      others[i]);
        cr_expect_eq(err.code, ERR_PROTOCOL);
        listing_done(&listing);
        buf_done(&trace.text);
    }
}
