/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(base, an_assertion_that_holds_does_nothing)
{
    int evaluated = 0;

    DS_ASSERT(++evaluated == 1);
    cr_expect_eq(evaluated, 1);
}

Test(base, an_assertion_that_fails_aborts, .signal = SIGABRT)
{
    volatile int one = 1;

    DS_ASSERT(one == 2);
}

Test(base, the_unreachable_aborts, .signal = SIGABRT)
{
    DS_UNREACHABLE("never");
}

Test(base, a_member_leads_back_to_its_owner)
{
    struct Owner {
        int first;
        char member;
    } owner;

    cr_expect_eq(DS_CONTAINER_OF(&owner.member, struct Owner, member), &owner);
}
