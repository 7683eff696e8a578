/* SPDX-License-Identifier: Apache-2.0 */
#include "server/manifest.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "server/cores.h"

/* A directory of the test's own; its files are few and named here. */
static char *
make_dir(void)
{
    char *path = mem_strdup("/tmp/ds-manifest-XXXXXX");

    cr_assert_not_null(mkdtemp(path));
    return path;
}

static void
remove_dir(char *path)
{
    static const char *const names[] = {"LOCK", "MANIFEST", "MANIFEST.new", "stranger"};
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        unlinkat(fd, names[i], 0);
    }
    close(fd);
    cr_expect_eq(rmdir(path), 0);
    free(path);
}

static void
write_file(const char *dir, const char *name, const char *text)
{
    char path[200];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static void
expect_refused(const char *path, const char *mode, uint64_t shards, const char *why)
{
    DataDir dir;
    Error err = {0};

    cr_assert_not(data_dir_open(path, mode, shards, &dir, &err));
    cr_expect_not_null(strstr(err.text, why), "\"%s\" does not say \"%s\"", err.text, why);
    cr_expect_not_null(strstr(err.text, path));
}

Test(manifest, a_new_directory_is_made_with_its_parents_for_the_owner_alone)
{
    char *path = make_dir();
    char inner[300];
    char outer[200];
    struct stat info;
    DataDir dir;
    Error err;

    (void)snprintf(outer, sizeof(outer), "%s/a", path);
    (void)snprintf(inner, sizeof(inner), "%s/b", outer);
    cr_assert(data_dir_open(inner, "acid", 16, &dir, &err), "%s", err.text);
    cr_expect(dir.is_new && dir.was_clean);
    cr_expect_eq(stat(inner, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0700);
    cr_expect_eq(strlen(dir.manifest.server_uuid), MANIFEST_UUID_CHARS);
    data_dir_close(&dir);
    remove_dir(mem_strdup(inner));
    remove_dir(mem_strdup(outer));
    remove_dir(path);
}

Test(manifest, only_a_sealed_directory_was_left_clean)
{
    char *path = make_dir();
    char uuid[MANIFEST_UUID_CHARS + 1];
    DataDir dir;
    Error err;

    cr_assert(data_dir_open(path, "file-fast", 2, &dir, &err), "%s", err.text);
    memcpy(uuid, dir.manifest.server_uuid, sizeof(uuid));
    data_dir_close(&dir);
    cr_assert(data_dir_open(path, "file-fast", 2, &dir, &err), "%s", err.text);
    cr_expect(!dir.is_new && !dir.was_clean && dir.same_boot);
    cr_assert(data_dir_seal(&dir, &err), "%s", err.text);
    data_dir_close(&dir);
    cr_assert(data_dir_open(path, "file-fast", 2, &dir, &err), "%s", err.text);
    cr_expect(dir.was_clean);
    cr_expect_str_eq(dir.manifest.server_uuid, uuid);
    cr_expect_not(dir.manifest.clean, "it is in use again");
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, whoever_asks_for_no_number_of_shards_gets_what_the_data_has)
{
    char *path = make_dir();
    DataDir dir;
    Error err;

    cr_assert(data_dir_open(path, "file-durable", 8, &dir, &err), "%s", err.text);
    data_dir_close(&dir);
    cr_assert(data_dir_check(path, "file-durable", 0, &err), "%s", err.text);
    cr_assert(data_dir_open(path, "file-durable", 0, &dir, &err), "%s", err.text);
    cr_expect_eq(dir.manifest.shards, 8);
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, a_new_directory_has_shards_for_the_cores_when_no_number_is_asked_for)
{
    char *path = make_dir();
    DataDir dir;
    Error err;

    cr_assert(data_dir_open(path, "file-durable", 0, &dir, &err), "%s", err.text);
    cr_expect_eq(dir.manifest.shards, cores_allowed() <= 2 ? 1 : 2);
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, a_number_of_shards_that_no_server_wrote_is_damage)
{
    static const char *const numbers[] = {"0", "3", "512", "4294967296", "-1", "\"2\""};

    for (size_t i = 0; i < DS_COUNT(numbers); i++) {
        Manifest manifest;
        char text[MANIFEST_BYTES_MAX];
        Error err = {0};
        int len = snprintf(text, sizeof(text),
                           "{\"format_version\":1,\"mode\":\"acid\",\"shards\":%s,"
                           "\"hash\":\"fnv1a64-mix\",\"server_uuid\":\"x\",\"clean\":false,"
                           "\"boot_id\":\"\",\"next_number\":1}",
                           numbers[i]);

        cr_expect_not(manifest_parse(text, (size_t)len, &manifest, &err), "%s", numbers[i]);
        cr_expect_eq(err.code, ERR_PROTOCOL);
    }
}

Test(manifest, another_boot_is_noticed)
{
    char *path = make_dir();
    DataDir dir;
    Error err;

    write_file(path, "MANIFEST",
               "{\"format_version\":1,\"mode\":\"acid\",\"shards\":4,\"hash\":\"fnv1a64-mix\","
               "\"server_uuid\":\"x\",\"clean\":false,\"boot_id\":\"of-another-time\","
               "\"next_number\":18000000000000000000}");
    cr_assert(data_dir_open(path, "acid", 4, &dir, &err), "%s", err.text);
    cr_expect(!dir.same_boot && !dir.was_clean);
    cr_expect_eq(dir.first_number, UINT64_C(18000000000000000000), "whatever the clock says");
    cr_expect_gt(dir.manifest.next_number, dir.first_number);
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, another_boot_is_noticed_until_what_it_cost_is_made_good)
{
    char *path = make_dir();
    DataDir dir;
    Error err;

    write_file(path, "MANIFEST",
               "{\"format_version\":1,\"mode\":\"file-fast\",\"shards\":4,\"hash\":\"fnv1a64-mix\","
               "\"server_uuid\":\"x\",\"clean\":false,\"boot_id\":\"of-another-time\","
               "\"next_number\":1}");
    for (int i = 0; i < 2; i++) {
        cr_assert(data_dir_open(path, "file-fast", 4, &dir, &err), "%s", err.text);
        cr_expect_not(dir.same_boot, "start %d, which was cut short", i);
        data_dir_close(&dir);
    }
    cr_assert(data_dir_open(path, "file-fast", 4, &dir, &err), "%s", err.text);
    cr_assert(data_dir_recovered(&dir, &err), "%s", err.text);
    data_dir_close(&dir);
    cr_assert(data_dir_open(path, "file-fast", 4, &dir, &err), "%s", err.text);
    cr_expect(dir.same_boot && !dir.was_clean);
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, two_servers_never_share_a_directory)
{
    char *path = make_dir();
    char pid[32];
    DataDir dir;
    Error err;

    cr_assert(data_dir_open(path, "acid", 4, &dir, &err), "%s", err.text);
    (void)snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
    expect_refused(path, "acid", 4, pid);
    data_dir_close(&dir);
    cr_assert(data_dir_open(path, "acid", 4, &dir, &err), "%s", err.text);
    data_dir_close(&dir);
    remove_dir(path);
}

Test(manifest, what_does_not_fit_is_refused_with_what_to_do)
{
    char *path = make_dir();
    uint64_t from;
    DataDir dir;
    Error err;

    write_file(path, "stranger", "");
    expect_refused(path, "acid", 4, "stranger");
    remove_dir(path);

    path = make_dir();
    cr_assert(data_dir_open(path, "acid", 4, &dir, &err), "%s", err.text);
    data_dir_close(&dir);
    expect_refused(path, "file-fast", 4, "DS_STORAGE__MODE=acid");
    expect_refused(path, "acid", 8, "DS_STORAGE__ACID_SHARD_COUNT=4");
    cr_assert(data_dir_upgrade(path, &from, &err), "%s", err.text);
    cr_expect_eq(from, 1);

    write_file(path, "MANIFEST", "{\"format_version\":2}");
    expect_refused(path, "acid", 4, "version 2");
    cr_expect_not(data_dir_upgrade(path, &from, &err));
    cr_expect_not_null(strstr(err.text, "version 2"));
    write_file(path, "MANIFEST", "{\"format_version\":1}");
    expect_refused(path, "acid", 4, "missing");
    write_file(path, "MANIFEST", "");
    expect_refused(path, "acid", 4, "MANIFEST");
    remove_dir(path);
}

Test(manifest, an_upgrade_needs_a_data_directory)
{
    char *path = make_dir();
    uint64_t from;
    Error err = {0};

    cr_expect_not(data_dir_upgrade(path, &from, &err));
    cr_expect_not_null(strstr(err.text, "no MANIFEST"));
    remove_dir(path);
    cr_expect_not(data_dir_upgrade("/nowhere/at/all", &from, &err));
}

Test(manifest, what_is_written_can_be_read_and_no_part_of_it_can)
{
    Manifest manifest = {.format_version = 1,
                         .mode = "file-durable",
                         .shards = 64,
                         .server_uuid = "abc",
                         .clean = true};
    Manifest again;
    char text[MANIFEST_BYTES_MAX];
    size_t len = manifest_format(&manifest, text);
    Error err;

    cr_assert(manifest_parse(text, len, &again, &err), "%s", err.text);
    cr_expect_str_eq(again.mode, "file-durable");
    cr_expect_eq(again.shards, 64);
    cr_expect(again.clean);
    cr_expect_str_eq(again.boot_id, "");
    for (size_t cut = 0; cut + 1 < len; cut++) {
        cr_expect_not(manifest_parse(text, cut, &again, &err), "cut at byte %zu", cut);
    }
}
