/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/directory_model.h"

#include <criterion/criterion.h>
#include <stdio.h>

static const Server here = {.name = "default", .url = "http://here"};
static const Server there = {.name = "there", .url = "http://there"};

#define STREAMS_MAX 5

static DirectoryModel *model;
static Buf trace;

static void
on_want(void *arg, const StreamKey *key, const StreamPlan *plan)
{
    Error err;

    (void)arg;
    cr_assert_eq(strncmp(plan->url, plan->route->server->url, strlen(plan->route->server->url)), 0);
    cr_assert(buf_printf(&trace, &err, "+%.*s/%.*s>%.*s.%d%s|", STR_ARG(key->source),
                         STR_ARG(key->name), STR_ARG(key->route), (int)plan->route->version,
                         plan->from_start ? "!" : ""));
}

static void
on_unwant(void *arg, const StreamKey *key)
{
    Error err;

    (void)arg;
    cr_assert(buf_printf(&trace, &err, "-%.*s/%.*s>%.*s|", STR_ARG(key->source), STR_ARG(key->name),
                         STR_ARG(key->route)));
}

static void
expect(const char *happened)
{
    cr_expect_str_eq(buf_cstr(&trace), happened);
    buf_reset(&trace);
}

static Route *
make_route(const char *name, const Server *server, int64_t version, const char *pattern)
{
    char json[512];
    RouteSpec spec;
    Error err = {0};

    (void)snprintf(
        json, sizeof(json),
        "{\"name\":\"%s\",\"server\":\"%s\",\"streams\":[\"%s\"],\"table\":\"public.%s\","
        "\"as\":\"events\"}",
        name, server->name, pattern, name);
    cr_assert(route_spec_parse(&spec, str_c(json), &err), "%s", err.text);
    return route_new(&spec, sink_ref(sink_default_events()), server, version);
}

/* Takes the references. */
static void
set_routes(Route **routes, size_t count)
{
    directory_model_set_routes(model, routes, count);
    for (size_t i = 0; i < count; i++) {
        route_unref(routes[i]);
    }
}

static bool
tell_life(const Server *server, ListingKind kind, const char *name, uint64_t era,
          int64_t created_ms, int64_t now_ms)
{
    return directory_model_tell(
        model, server,
        &(ListingStream){.kind = kind, .name = str_c(name), .era = era, .created_ms = created_ms},
        now_ms);
}

static void
tell(const Server *server, ListingKind kind, const char *name, int64_t now_ms)
{
    (void)tell_life(server, kind, name, 0, kind == LISTING_CREATED ? now_ms : 0, now_ms);
}

static void
list(const Server *server, const char *const *names, int64_t now_ms)
{
    directory_model_list_begin(model, server);
    for (size_t i = 0; names[i] != NULL; i++) {
        tell(server, LISTING_EXISTS, names[i], now_ms);
    }
    directory_model_list_end(model, server, now_ms);
}

#define LIST(server, now_ms, ...) list(server, (const char *const[]){__VA_ARGS__, NULL}, now_ms)

static void
setup(void)
{
    static const DirectoryModelCallbacks callbacks = {.want = on_want, .unwant = on_unwant};

    model = directory_model_new(STREAMS_MAX, &callbacks, NULL);
    buf_init(&trace, 65536);
}

static void
teardown(void)
{
    directory_model_free(model);
    buf_done(&trace);
}

TestSuite(directory_model, .init = setup, .fini = teardown);

Test(directory_model, a_named_stream_is_wanted_whether_it_exists_or_not)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/b")}, 1);
    expect("+default/a/b>r.1|");
    LIST(&here, 1, "a/b", "a/c");
    expect("+default/a/b>r.1|"); /* the same again: it was told for the first time */
    tell(&here, LISTING_DELETED, "a/b", 2);
    directory_model_sweep(model, 2 + DIRECTORY_GONE_MS);
    expect("");
    set_routes(NULL, 0);
    expect("-default/a/b>r|");
    cr_expect_eq(directory_model_streams(model), 0);
}

Test(directory_model, a_pattern_wants_what_exists_and_what_is_made)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    expect("");
    LIST(&here, 1, "a/1", "b/1", "a/1/x");
    expect("+default/a/1>r.1|");
    tell(&here, LISTING_CREATED, "a/2", 2);
    tell(&here, LISTING_CREATED, "b/2", 2);
    expect("+default/a/2>r.1!|");
    tell(&here, LISTING_CLOSED, "a/2", 3);
    expect("");
    cr_expect_eq(directory_model_streams(model), 2);
}

Test(directory_model, servers_do_not_see_each_others_streams)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*"), make_route("s", &there, 1, "a/*")}, 2);
    LIST(&here, 1, "a/1");
    LIST(&there, 1, "a/1", "a/2");
    expect("+default/a/1>r.1|+there/a/1>s.1|+there/a/2>s.1|");
    LIST(&here, 2, "a/3");
    expect("+default/a/3>r.1|");
    directory_model_sweep(model, 2 + DIRECTORY_GONE_MS);
    expect("-default/a/1>r|");
}

Test(directory_model, what_is_gone_is_let_go_of_after_its_session_could_see_it)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    LIST(&here, 1, "a/1");
    buf_reset(&trace);
    tell(&here, LISTING_DELETED, "a/1", 1000);
    directory_model_sweep(model, 1000 + DIRECTORY_GONE_MS - 1);
    expect("");
    directory_model_sweep(model, 1000 + DIRECTORY_GONE_MS);
    expect("-default/a/1>r|");
    tell(&here, LISTING_CREATED, "a/1", 90000);
    expect("+default/a/1>r.1!|");
}

Test(directory_model, what_is_made_anew_at_once_stays_with_its_session_which_is_told)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    LIST(&here, 1, "a/1");
    buf_reset(&trace);
    tell(&here, LISTING_DELETED, "a/1", 1000);
    tell(&here, LISTING_CREATED, "a/1", 1001);
    directory_model_sweep(model, 1000 + 2 * DIRECTORY_GONE_MS);
    expect("+default/a/1>r.1!|");
    tell(&here, LISTING_CREATED, "a/1", 1002);
    expect("+default/a/1>r.1!|");
}

Test(directory_model, a_listing_says_what_is_gone_as_well)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    LIST(&here, 1, "a/1", "a/2");
    buf_reset(&trace);
    LIST(&here, 1000, "a/2");
    directory_model_sweep(model, 1000 + DIRECTORY_GONE_MS);
    expect("-default/a/1>r|");
}

Test(directory_model, a_stream_may_belong_to_several_routes)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*"), make_route("s", &here, 1, "**")}, 2);
    LIST(&here, 1, "a/1", "b");
    expect("+default/a/1>r.1|+default/a/1>s.1|+default/b>s.1|");
}

Test(directory_model, routes_that_change_change_what_is_wanted)
{
    Route *kept = make_route("kept", &here, 1, "**");

    set_routes((Route *[]){route_ref(kept), make_route("r", &here, 1, "a/*")}, 2);
    LIST(&here, 1, "a/1", "b");
    buf_reset(&trace);
    /* Another version of r: told again.  The other one is as it was. */
    set_routes((Route *[]){route_ref(kept), make_route("r", &here, 2, "*")}, 2);
    expect("-default/a/1>r|+default/b>r.2|");
    set_routes((Route *[]){route_ref(kept), make_route("r", &here, 3, "*")}, 2);
    expect("+default/b>r.3|");
    set_routes((Route *[]){route_ref(kept)}, 1);
    expect("-default/b>r|");
    set_routes((Route *[]){make_route("kept", &there, 2, "**")}, 1);
    expect("-default/a/1>kept|-default/b>kept|");
    cr_expect_eq(directory_model_streams(model), 0);
    route_unref(kept);
}

Test(directory_model, a_stream_that_nobody_knows_may_be_deleted)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    tell(&here, LISTING_DELETED, "a/1", 1);
    tell(&here, LISTING_CLOSED, "a/2", 1);
    expect("+default/a/2>r.1|");
}

Test(directory_model, another_era_is_another_stream_however_it_is_told)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/b")}, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/b", 7, 100, 1);
    buf_reset(&trace);
    (void)tell_life(&here, LISTING_EXISTS, "a/b", 7, 100, 2);
    (void)tell_life(&here, LISTING_CREATED, "a/b", 7, 2, 2);
    (void)tell_life(&here, LISTING_CLOSED, "a/b", 7, 0, 2);
    expect("");
    (void)tell_life(&here, LISTING_EXISTS, "a/b", 8, 200, 3);
    expect("+default/a/b>r.1!|");
    (void)tell_life(&here, LISTING_CLOSED, "a/b", 9, 0, 4);
    expect("+default/a/b>r.1|");
}

Test(directory_model, the_end_of_an_earlier_life_ends_no_later_one)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/b", 8, 100, 1);
    buf_reset(&trace);
    (void)tell_life(&here, LISTING_DELETED, "a/b", 7, 0, 2);
    directory_model_sweep(model, 2 + DIRECTORY_GONE_MS);
    expect("");
    (void)tell_life(&here, LISTING_DELETED, "a/b", 8, 0, 3);
    directory_model_sweep(model, 3 + DIRECTORY_GONE_MS);
    expect("-default/a/b>r|");
}

Test(directory_model, what_was_made_since_a_route_is_read_from_its_start)
{
    Route *early = make_route("early", &here, 1, "a/*");
    Route *late = make_route("late", &here, 1, "a/*");

    early->applied_ms = 1000;
    late->applied_ms = 2000;
    set_routes((Route *[]){early, route_ref(late)}, 2);
    (void)tell_life(&here, LISTING_EXISTS, "a/1", 5, 999, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/2", 6, 1000, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/3", 7, 2000, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/4", 8, 0, 1);
    expect("+default/a/1>early.1|+default/a/1>late.1|+default/a/2>early.1!|+default/a/2>late.1|"
           "+default/a/3>early.1!|+default/a/3>late.1!|+default/a/4>early.1|+default/a/4>late.1|");
    route_unref(late);
}

Test(directory_model, who_knows_when_a_stream_was_made_is_believed_before_who_does_not)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    (void)tell_life(&here, LISTING_EXISTS, "a/1", 0, 0, 1);
    expect("+default/a/1>r.1|");
    (void)tell_life(&here, LISTING_EXISTS, "a/1", 0, 5, 1);
    expect("+default/a/1>r.1!|");
    (void)tell_life(&here, LISTING_EXISTS, "a/1", 0, 0, 2);
    (void)tell_life(&here, LISTING_EXISTS, "a/1", 0, 5, 2);
    expect("");
}

Test(directory_model, a_route_that_comes_later_does_not_take_what_was_before_it)
{
    Route *late = make_route("late", &here, 1, "a/*");

    late->applied_ms = 2000;
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    (void)tell_life(&here, LISTING_CREATED, "a/1", 5, 1500, 1);
    expect("+default/a/1>r.1!|");
    set_routes((Route *[]){late}, 1);
    expect("-default/a/1>r|+default/a/1>late.1|");
}

Test(directory_model, there_is_no_room_beyond_the_limit_and_again_once_something_goes)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*"), make_route("s", &here, 1, "named")},
               2);
    expect("+default/named>s.1|");
    for (int i = 1; i < STREAMS_MAX; i++) {
        char name[8];

        (void)snprintf(name, sizeof(name), "a/%d", i);
        cr_expect(tell_life(&here, LISTING_EXISTS, name, 0, 0, 1));
    }
    buf_reset(&trace);
    cr_expect_not(directory_model_has_room(model));
    cr_expect_not(tell_life(&here, LISTING_EXISTS, "a/more", 0, 0, 1));
    cr_expect(tell_life(&here, LISTING_EXISTS, "b/nobody's", 0, 0, 1));
    cr_expect(tell_life(&here, LISTING_EXISTS, "a/1", 0, 0, 1), "it is in already");
    expect("");
    cr_expect_eq(directory_model_streams(model), STREAMS_MAX);
    tell(&here, LISTING_DELETED, "a/1", 1000);
    directory_model_sweep(model, 1000 + DIRECTORY_GONE_MS);
    expect("-default/a/1>r|");
    cr_expect(directory_model_has_room(model));
    cr_expect(tell_life(&here, LISTING_EXISTS, "a/more", 0, 0, 1));
    expect("+default/a/more>r.1|");
    cr_expect_eq(directory_model_streams_of(model, &here), STREAMS_MAX);
    cr_expect_eq(directory_model_streams_of(model, &there), 0);
}

Test(directory_model, a_name_without_room_is_taken_in_later)
{
    set_routes((Route *[]){make_route("r", &here, 1, "a/*")}, 1);
    LIST(&here, 1, "a/1", "a/2", "a/3", "a/4", "a/5");
    set_routes((Route *[]){make_route("r", &here, 1, "a/*"), make_route("s", &here, 1, "named")},
               2);
    buf_reset(&trace);
    cr_expect_eq(directory_model_names_refused(model), 1);
    tell(&here, LISTING_DELETED, "a/1", 1000);
    directory_model_sweep(model, 1000 + DIRECTORY_GONE_MS);
    buf_reset(&trace);
    directory_model_take_names(model);
    expect("+default/named>s.1|");
    cr_expect_eq(directory_model_names_refused(model), 0);
}
