/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_store.h"

#include <bsd/stdlib.h>
#include <criterion/criterion.h>
#include <sys/stat.h>

#include "tests/support/temp_dir.h"

static char dir[TEMP_DIR_BYTES];

static void
make_dir(void)
{
    temp_dir_make(dir);
}

static void
remove_dir(void)
{
    temp_dir_remove(dir);
}

TestSuite(subs_store, .init = make_dir, .fini = remove_dir);

static SubsModel *
model_new(void)
{
    return subs_model_new(&(SubsLimits){10, 10}, arc4random_uniform);
}

static SubsStore *
open_store(void)
{
    SubsStore *store = NULL;
    Error err = {0};

    cr_assert(subs_store_open(dir, true, &store, &err), "%s", err.text);
    return store;
}

static SubsKeys *
load(SubsStore *store, SubsModel *model, bool *out_new)
{
    SubsKeys *keys = NULL;
    Error err = {0};

    cr_assert(subs_store_load(store, model, &keys, out_new, &err), "%s", err.text);
    return keys;
}

static void
commit(SubsStore *store, SubsModel *model, const SubsKeys *keys)
{
    SubsChanges changes;
    SubsKeyDump dump;
    Error err = {0};

    subs_model_changes(model, &changes);
    if (keys != NULL) {
        subs_keys_dump(keys, &dump);
    }
    cr_assert(subs_store_commit(store, &changes, keys == NULL ? NULL : &dump, &err), "%s",
              err.text);
    subs_changes_done(&changes);
}

static Subscription *
add(SubsModel *model, const char *id, SubsType type)
{
    SubsDefinition *definition = subs_definition_new();
    Subscription *subscription = NULL;

    definition->id = str_dup(str_c(id));
    definition->type = type;
    definition->pattern = str_dup(STR("a/*"));
    *(type == SUBS_WEBHOOK ? &definition->url : &definition->wake_stream) = str_dup(STR("x"));
    definition->description = str_dup(STR("d\xc3\xa9"));
    definition->origin = str_dup(STR("http://h"));
    definition->lease_ms = 1500;
    definition->created_ms = 77;
    (void)snprintf(definition->hash, sizeof(definition->hash), "abc");
    cr_assert_eq(subs_model_create(model, definition, &subscription), SUBS_OK);
    return subscription;
}

Test(subs_store, everything_is_there_after_it_is_opened_again)
{
    SubsStore *store = open_store();
    SubsModel *model = model_new();
    SubsTail at = {.id = 9, .era = UINT64_MAX - 1, .tail = 4};
    bool is_new = false;
    SubsKeys *keys = load(store, model, &is_new);
    char key_id[SUBS_KEY_ID_SIZE];
    Subscription *subscription;

    cr_expect(is_new);
    subs_keys_rotate(keys, 5);
    (void)snprintf(key_id, sizeof(key_id), "%s", subs_keys_id(keys));
    subscription = add(model, "one", SUBS_PULL_WAKE);
    cr_assert_eq(subs_model_link(model, subscription, STR("a/b"), true, &at, false, 1, NULL),
                 SUBS_OK);
    at.tail = 6;
    subs_model_stream_is(model, subs_model_stream(model, STR("a/b")), &at, 1);
    cr_assert_eq(subs_model_claim(model, subscription, STR("worker"), "w_1", 1000), SUBS_OK);
    commit(store, model, keys);
    subs_model_free(model);
    subs_keys_free(keys);
    subs_store_close(store);

    store = open_store();
    model = model_new();
    keys = load(store, model, &is_new);
    cr_expect_not(is_new);
    cr_expect_str_eq(subs_keys_id(keys), key_id);
    subscription = subs_model_find(model, STR("one"));
    cr_assert_not_null(subscription);
    cr_expect_str_eq(subscription->definition->pattern, "a/*");
    cr_expect_str_eq(subscription->definition->wake_stream, "x");
    cr_expect_null(subscription->definition->url);
    cr_expect_str_eq(subscription->definition->description, "d\xc3\xa9");
    cr_expect_str_eq(subscription->definition->hash, "abc");
    cr_expect_eq(subscription->definition->lease_ms, 1500);
    cr_expect_eq(subscription->definition->created_ms, 77);
    cr_expect_eq(subscription->state.phase, SUBS_LEASED);
    cr_expect_eq(subscription->state.generation, 1);
    cr_expect_str_eq(subscription->state.wake_id, "w_1");
    cr_expect_str_eq(subscription->state.holder, "worker");
    cr_expect_eq(subscription->state.lease_until_ms, 2500);
    SubsLink *link = subs_link_find(subscription, STR("a/b"));
    cr_assert_not_null(link);
    cr_expect(link->cursor.is_explicit && !link->cursor.is_glob && link->cursor.placed);
    cr_expect_eq(link->cursor.id, 9);
    cr_expect_eq(link->cursor.era, UINT64_MAX - 1);
    cr_expect_eq(link->cursor.position, 4);
    cr_expect_eq(add(model, "two", SUBS_WEBHOOK)->definition->serial, 2);
    subs_model_free(model);
    subs_keys_free(keys);
    subs_store_close(store);
}

Test(subs_store, what_is_deleted_is_gone_with_its_cursors)
{
    SubsStore *store = open_store();
    SubsModel *model = model_new();
    SubsTail at = {.id = 9, .era = 9};
    bool is_new = false;
    SubsKeys *keys = load(store, model, &is_new);
    Subscription *subscription = add(model, "one", SUBS_WEBHOOK);
    Subscription *other = add(model, "two", SUBS_WEBHOOK);

    subs_model_link(model, subscription, STR("a"), true, &at, false, 1, NULL);
    subs_model_link(model, other, STR("a"), true, &at, false, 1, NULL);
    subs_model_link(model, other, STR("b"), true, &at, false, 1, NULL);
    commit(store, model, keys);
    subs_model_delete(model, subscription);
    subs_model_unlink(model, other, STR("b"), true, 1);
    commit(store, model, NULL);
    subs_model_free(model);
    subs_keys_free(keys);
    model = model_new();
    keys = load(store, model, &is_new);
    cr_expect_null(subs_model_find(model, STR("one")));
    other = subs_model_find(model, STR("two"));
    cr_assert_not_null(other);
    cr_expect_eq(other->link_count, 1);
    cr_expect_not_null(subs_link_find(other, STR("a")));
    subs_model_free(model);
    subs_keys_free(keys);
    subs_store_close(store);
}

Test(subs_store, only_its_owner_can_read_the_keys)
{
    SubsStore *store = open_store();
    char path[TEMP_PATH_BYTES];
    static const char *const names[] = {SUBS_STORE_FILE, SUBS_STORE_FILE "-wal"};

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        struct stat info;

        temp_dir_path(dir, names[i], path);
        cr_assert_eq(stat(path, &info), 0, "%s", path);
        cr_expect_eq(info.st_mode & 0777, 0600, "%s", path);
    }
    subs_store_close(store);
}

Test(subs_store, a_file_that_is_no_database_or_of_a_newer_format_is_refused)
{
    SubsStore *store = open_store();
    char path[TEMP_PATH_BYTES];
    Error err = {0};
    FILE *file;

    subs_store_close(store);
    temp_dir_path(dir, SUBS_STORE_FILE, path);
    file = fopen(path, "r+");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 60, SEEK_SET), 0); /* user_version, big-endian */
    cr_assert_eq(fwrite("\0\0\0\7", 1, 4, file), 4);
    (void)fclose(file);
    store = NULL;
    cr_expect_not(subs_store_open(dir, true, &store, &err));
    cr_expect_eq(err.code, ERR_CONFIG, "%s", err.text);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(fwrite("rubbish", 1, 7, file), 7);
    }
    (void)fclose(file);
    cr_expect_not(subs_store_open(dir, true, &store, &err));
    cr_expect_eq(err.code, ERR_CORRUPT, "%s", err.text);
}
