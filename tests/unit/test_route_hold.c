/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route_hold.h"

#include <criterion/criterion.h>

Test(route_hold, letters_of_many_transactions_at_once_are_no_more_than_the_limit)
{
    RouteHold hold = {0};
    size_t pending;
    size_t admitted = 0;

    while (route_hold_admit(&hold, 300, 0, &pending)) {
        admitted += 300;
    }
    cr_expect_leq(admitted, ROUTE_LETTERS_MAX);
    cr_expect_gt(admitted, ROUTE_LETTERS_MAX - 300);
    for (size_t done = 0; done < admitted; done += 300) {
        route_hold_settled(&hold, 300);
        route_hold_count(&hold, 300, 0);
    }
    cr_expect_not(route_hold_admit(&hold, 300, 0, &pending));
}

Test(route_hold, letters_under_way_are_redeemed_by_the_rows_under_way_with_them)
{
    RouteHold hold = {0};
    size_t pending;

    /* As many writers as there may be, each with a batch of which two in five are bad. */
    for (int i = 0; i < 64; i++) {
        cr_assert(route_hold_admit(&hold, 2000, 3000, &pending), "writer %d", i);
        cr_expect_eq(pending, 0);
    }
}

Test(route_hold, letters_that_were_not_committed_are_forgotten)
{
    RouteHold hold = {0};
    size_t pending;

    for (int i = 0; i < 100; i++) {
        cr_assert(route_hold_admit(&hold, ROUTE_LETTERS_MAX, 0, &pending));
        route_hold_settled(&hold, ROUTE_LETTERS_MAX);
    }
}

Test(route_hold, rows_beside_the_letters_redeem_them)
{
    RouteHold hold = {0};
    size_t pending;

    for (int i = 0; i < 100; i++) {
        cr_assert(route_hold_admit(&hold, 3000, 1000, &pending));
        route_hold_settled(&hold, pending);
        route_hold_count(&hold, 3000, 1000);
    }
    cr_expect_not(route_hold_admit(&hold, ROUTE_LETTERS_MAX + 1, 0, &pending));
    cr_expect(route_hold_admit(&hold, ROUTE_LETTERS_MAX + 3, 1, &pending));
}

Test(route_hold, the_first_reason_stays_until_it_is_released)
{
    Error first;
    Error second;
    RouteHold hold = {0};
    size_t pending;

    (void)error_set(&first, ERR_CONFIG, "first");
    (void)error_set(&second, ERR_CONFIG, "second");
    route_hold(&hold, ROUTE_HOLD_RETRY, &first);
    route_hold(&hold, ROUTE_HOLD_STOP, &second);
    cr_expect_eq(hold.kind, ROUTE_HOLD_RETRY);
    cr_expect_str_eq(hold.why.text, "first");
    cr_assert(route_hold_admit(&hold, ROUTE_LETTERS_MAX, 0, &pending));
    route_hold_settled(&hold, ROUTE_LETTERS_MAX);
    route_hold_count(&hold, ROUTE_LETTERS_MAX, 0);
    route_hold_release(&hold);
    cr_expect_eq(hold.kind, ROUTE_HOLD_NONE);
    cr_expect(route_hold_admit(&hold, 1, 0, &pending));
}

Test(route_hold, the_reason_says_what_to_do_even_when_what_was_refused_is_long)
{
    Error refused = {.sqlstate = "23514"};
    Error why;

    memset(refused.text, 'x', sizeof(refused.text) - 1);
    route_hold_explain(&refused, &why);
    cr_expect_str_eq(why.sqlstate, "23514");
    cr_expect_not_null(strstr(why.text, "dsctl route resume"));
}

static Error
reason_of(const char *sqlstate, const char *text)
{
    Error reason;

    (void)error_set(&reason, ERR_INPUT, "%s", text);
    (void)memcpy(reason.sqlstate, sqlstate, 6);
    return reason;
}

Test(route_hold, first_messages_that_are_all_refused_alike_are_the_fault_of_the_table)
{
    Error reason = reason_of("23514", "the check");
    RouteHold hold = {0};

    cr_expect_not(route_hold_refuses_all(&hold, &reason, ROUTE_ALIKE_MAX - 1));
    cr_expect(route_hold_refuses_all(&hold, &reason, ROUTE_ALIKE_MAX));
    route_hold_note(&hold, &reason, ROUTE_ALIKE_MAX - 1);
    cr_expect(route_hold_refuses_all(&hold, &reason, 1));
    cr_expect_not(route_hold_refuses_all(&hold, NULL, ROUTE_ALIKE_MAX));
}

Test(route_hold, one_row_or_another_reason_makes_it_a_matter_of_the_messages)
{
    Error reason = reason_of("23514", "the check");
    Error other = reason_of("23514", "another check");
    RouteHold row = {0};
    RouteHold mixed = {0};
    RouteHold several = {0};

    route_hold_count(&row, 0, 1);
    cr_expect_not(route_hold_refuses_all(&row, &reason, 1000));
    route_hold_note(&mixed, &reason, 1);
    cr_expect_not(route_hold_refuses_all(&mixed, &other, 1000));
    route_hold_note(&mixed, &other, 1);
    cr_expect_not(route_hold_refuses_all(&mixed, &reason, 1000));
    route_hold_note(&several, NULL, 3);
    cr_expect_not(route_hold_refuses_all(&several, &reason, 1000));
}

/* A transaction whose answer was lost is settled part by part. */
Test(route_hold, a_row_of_any_part_that_was_acknowledged_shows_that_the_table_takes_rows)
{
    Error reason = reason_of("23514", "the check");
    RouteHold hold = {0};

    route_hold_count(&hold, ROUTE_ALIKE_MAX, 0);
    cr_expect(route_hold_refuses_all(&hold, &reason, ROUTE_ALIKE_MAX));
    route_hold_count(&hold, 0, 1);
    cr_expect_not(route_hold_refuses_all(&hold, &reason, ROUTE_ALIKE_MAX));
}

Test(route_hold, rows_that_are_refused_because_of_other_rows_say_nothing_of_the_table)
{
    static const char *const sqlstates[] = {"23503", "23505", "23P01"};

    for (size_t i = 0; i < DS_COUNT(sqlstates); i++) {
        Error reason = reason_of(sqlstates[i], "a key");
        RouteHold hold = {0};

        cr_expect_not(route_hold_refuses_all(&hold, &reason, 1000), "%s", sqlstates[i]);
    }
}
