/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/view_memory.h"

#include <criterion/criterion.h>
#include <stdio.h>

static ViewMemory memory;

static void
setup(void)
{
    view_memory_init(&memory);
}

static void
teardown(void)
{
    view_memory_done(&memory);
}

TestSuite(view_memory, .init = setup, .fini = teardown);

static int64_t
see(const char *name, int64_t now_ms)
{
    return view_memory_see(&memory, str_c(name), now_ms);
}

Test(view_memory, of_what_is_in_the_first_view_nobody_knows_since_when)
{
    view_memory_begin(&memory);
    cr_expect_eq(see("a", 100), 0);
    view_memory_end(&memory);
    view_memory_begin(&memory);
    cr_expect_eq(see("a", 200), 0);
    view_memory_end(&memory);
}

Test(view_memory, what_was_not_in_the_view_before_came_since_and_stays_so)
{
    view_memory_begin(&memory);
    view_memory_end(&memory);
    for (int64_t now_ms = 200; now_ms < 500; now_ms += 100) {
        view_memory_begin(&memory);
        cr_expect_eq(see("a", now_ms), 200, "whoever asks when");
        view_memory_end(&memory);
    }
}

Test(view_memory, what_was_gone_for_a_view_is_new_again)
{
    for (int64_t now_ms = 100; now_ms < 400; now_ms += 100) {
        view_memory_begin(&memory);
        if (now_ms != 200) {
            cr_expect_eq(see("a", now_ms), now_ms == 100 ? 0 : 300);
        }
        view_memory_end(&memory);
    }
}

Test(view_memory, a_view_that_was_not_read_to_its_end_never_was)
{
    view_memory_begin(&memory);
    cr_expect_eq(see("a", 100), 0);
    view_memory_begin(&memory);
    cr_expect_eq(see("b", 200), 0, "there was no whole view before it");
    view_memory_end(&memory);
    view_memory_begin(&memory);
    cr_expect_eq(see("a", 300), 300);
    view_memory_begin(&memory);
    cr_expect_eq(see("a", 400), 400);
    cr_expect_eq(see("b", 400), 0);
    view_memory_end(&memory);
}

Test(view_memory, many_are_told_apart)
{
    char name[16];

    for (int64_t round = 0; round < 3; round++) {
        view_memory_begin(&memory);
        for (int i = 0; i < 1000 * (int)(round + 1); i++) {
            (void)snprintf(name, sizeof(name), "s/%d", i);
            cr_assert_eq(see(name, round), i / 1000, "%s in round %d", name, (int)round);
        }
        view_memory_end(&memory);
    }
}
