/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <criterion/criterion.h>

Test(arena, pieces_are_aligned_and_do_not_overlap)
{
    enum { PIECES = 500 };
    unsigned char *pieces[PIECES];
    Arena arena;
    Error err;

    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = arena_alloc(&arena, i, &err);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xff), i);
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_eq(pieces[i][k], i & 0xff, "piece %zu", i);
        }
    }
    arena_done(&arena);
}

Test(arena, one_piece_may_be_larger_than_a_block)
{
    Arena arena;
    Error err;

    arena_init(&arena, 1 << 20);
    char *small = arena_alloc(&arena, 1, &err);
    char *large = arena_alloc(&arena, 100000, &err);
    cr_assert(small != NULL && large != NULL);
    *small = 's';
    memset(large, 'l', 100000);
    cr_expect_eq(*small, 's');
    arena_done(&arena);
}

Test(arena, the_limit_can_be_used_up_and_not_passed)
{
    Arena arena;
    Error err = {0};

    arena_init(&arena, 1024);
    cr_expect_not_null(arena_alloc(&arena, 1000, &err));
    cr_expect_not_null(arena_alloc(&arena, 16, &err));
    cr_expect_null(arena_alloc(&arena, 1, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_null(arena_alloc(&arena, SIZE_MAX, &err));
    cr_expect_null(arena_alloc(&arena, 2000, &err));
    arena_reset(&arena);
    cr_expect_not_null(arena_alloc(&arena, 1024, &err));
    arena_done(&arena);
}

Test(arena, many_tiny_pieces_stay_within_the_limit_too)
{
    Arena arena;
    Error err = {0};
    size_t pieces = 0;

    arena_init(&arena, 16000);
    while (arena_alloc(&arena, pieces % 2, &err) != NULL) {
        pieces++;
        cr_assert_leq(pieces, 1000);
    }
    cr_expect_eq(pieces, 1000);
    cr_expect_eq(err.code, ERR_LIMIT);
    arena_done(&arena);
}

Test(arena, reset_keeps_an_ordinary_block_and_gives_back_large_ones)
{
    Arena arena;
    Error err;

    arena_init(&arena, 1 << 20);
    void *first = arena_alloc(&arena, 100, &err);
    cr_assert_not_null(arena_alloc(&arena, 100000, &err));
    arena_reset(&arena);
    cr_expect_eq(arena.bytes_used, 0);
    cr_assert_not_null(arena.head);
    cr_expect_eq(arena_alloc(&arena, 100, &err), first, "the same memory again");
    arena_reset(&arena);
    arena_reset(&arena);
    arena_done(&arena);

    arena_init(&arena, 1 << 20);
    cr_assert_not_null(arena_alloc(&arena, 100000, &err));
    arena_reset(&arena);
    cr_expect_null(arena.head);
    arena_done(&arena);
    arena_done(&arena);
}

Test(arena, a_copy_is_terminated_and_a_refused_one_leaves_the_output)
{
    Arena arena;
    Error err = {0};
    Str copy = STR("before");

    arena_init(&arena, 64);
    memset(arena_alloc(&arena, 64, &err), 'x', 64);
    arena_reset(&arena);
    cr_expect(arena_copy(&arena, STR("a\0b"), &copy, &err));
    cr_expect(str_eq(copy, STR("a\0b")));
    cr_expect_eq(copy.ptr[3], '\0');
    cr_expect(arena_copy(&arena, str_n(NULL, 0), &copy, &err));
    cr_expect_str_eq(copy.ptr, "");
    Str kept = copy;
    cr_expect_not(arena_copy(&arena, STR("0123456789012345678901234567890123"), &copy, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_eq(copy.ptr, kept.ptr);
    arena_done(&arena);
}
