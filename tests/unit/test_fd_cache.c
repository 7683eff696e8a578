/* SPDX-License-Identifier: Apache-2.0 */
#include "server/fd_cache.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/file_io.h"
#include "tests/support/folder.h"

#define CAP     8
#define FILES   1000
#define THREADS 6

static char folder[FOLDER_PATH_SIZE];
static atomic_int opens;

static bool
open_numbered(void *arg, uint64_t key, bool create, int *out_fd, Error *err)
{
    char path[FOLDER_PATH_SIZE + 32];

    (void)arg;
    (void)snprintf(path, sizeof(path), "%s/%u", folder, (unsigned)key);
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0644);

    if (fd < 0) {
        return file_error(err, "open", path);
    }
    atomic_fetch_add(&opens, 1);
    *out_fd = fd;
    return true;
}

static FdCache *cache;

static void
setup(void)
{
    folder_make(folder);
    cache = fd_cache_new(CAP, open_numbered, NULL);
}

static void
teardown(void)
{
    fd_cache_free(cache);
    folder_remove(folder);
}

TestSuite(fd_cache, .init = setup, .fini = teardown);

static FdPin
pin(uint64_t key, bool create)
{
    FdPin out;
    Error err = {0};

    cr_assert(fd_cache_pin(cache, key, create, &out, &err), "%s", err.text);
    return out;
}

static void
write_own_name(uint64_t key)
{
    FdPin held = pin(key, true);

    cr_assert_eq(pwrite(held.fd, &key, sizeof(key), 0), (ssize_t)sizeof(key));
    fd_cache_unpin(cache, &held);
    cr_assert_eq(held.fd, -1);
}

static bool
has_own_name(uint64_t key)
{
    FdPin held = pin(key, false);
    uint64_t found = 0;
    ssize_t len = pread(held.fd, &found, sizeof(found), 0);

    fd_cache_unpin(cache, &held);
    return len == (ssize_t)sizeof(found) && found == key;
}

Test(fd_cache, a_thousand_files_go_through_eight_descriptors)
{
    for (uint64_t key = 0; key < FILES; key++) {
        write_own_name(key);
        cr_assert_leq(fd_cache_open_count(cache), CAP);
    }
    for (uint64_t key = 0; key < FILES; key++) {
        cr_assert(has_own_name(key * 7 % FILES));
        cr_assert_leq(fd_cache_open_count(cache), CAP);
    }
}

Test(fd_cache, the_one_that_was_not_used_longest_is_closed)
{
    for (uint64_t key = 0; key < CAP; key++) {
        write_own_name(key);
    }
    cr_assert(has_own_name(0));
    write_own_name(CAP); /* closes 1 */
    int before = atomic_load(&opens);

    cr_expect(has_own_name(0));
    cr_expect_eq(atomic_load(&opens), before);
    cr_expect(has_own_name(1));
    cr_expect_eq(atomic_load(&opens), before + 1);
}

Test(fd_cache, what_is_pinned_stays_open_and_more_are_opened_beyond_the_cap)
{
    FdPin held[CAP + 3];

    for (uint64_t key = 0; key < DS_COUNT(held); key++) {
        held[key] = pin(key, true);
    }
    cr_expect_eq(fd_cache_open_count(cache), DS_COUNT(held));
    for (uint64_t key = 0; key < DS_COUNT(held); key++) {
        cr_expect_eq(pwrite(held[key].fd, &key, sizeof(key), 0), (ssize_t)sizeof(key));
        fd_cache_unpin(cache, &held[key]);
    }
    cr_expect_eq(fd_cache_open_count(cache), CAP);
    for (uint64_t key = 0; key < DS_COUNT(held); key++) {
        cr_expect(has_own_name(key));
    }
}

Test(fd_cache, a_file_that_is_not_there_fails_and_leaves_nothing)
{
    FdPin out;
    Error err;

    cr_expect_not(fd_cache_pin(cache, 5, false, &out, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect_eq(fd_cache_open_count(cache), 0);
    write_own_name(5);
    cr_expect(has_own_name(5));
}

Test(fd_cache, a_forgotten_file_is_opened_anew_and_whoever_pins_the_old_one_keeps_it)
{
    write_own_name(3);
    fd_cache_forget(cache, 3);
    cr_expect_eq(fd_cache_open_count(cache), 0);
    FdPin old = pin(3, false);

    fd_cache_forget(cache, 3);
    FdPin new = pin(3, false);

    cr_expect_neq(old.fd, new.fd);
    cr_expect_eq(fcntl(old.fd, F_GETFD), FD_CLOEXEC);
    fd_cache_unpin(cache, &old);
    cr_expect_eq(fd_cache_open_count(cache), 1);
    fd_cache_unpin(cache, &new);
    cr_expect(has_own_name(3));
    fd_cache_forget(cache, 99);
}

static void *
hammer(void *arg)
{
    uint64_t key = (uint64_t)(uintptr_t)arg;
    uintptr_t wrong = 0;

    for (unsigned i = 0; i < 3000; i++) {
        key = (key * 31 + 17) % 40;
        if (i % 97 == 0) {
            fd_cache_forget(cache, key);
        }
        wrong += !has_own_name(key);
        wrong += fd_cache_open_count(cache) > CAP + THREADS;
    }
    return (void *)wrong;
}

Test(fd_cache, threads_see_the_right_files_while_they_are_opened_closed_and_forgotten)
{
    pthread_t threads[THREADS];

    for (uint64_t key = 0; key < 40; key++) {
        write_own_name(key);
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, hammer, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong = NULL;

        cr_assert_eq(pthread_join(threads[i], &wrong), 0);
        cr_expect_null(wrong);
    }
    cr_expect_leq(fd_cache_open_count(cache), CAP);
}
