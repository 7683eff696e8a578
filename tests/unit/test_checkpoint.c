/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/checkpoint.h"

#include <criterion/criterion.h>

static Checkpoint
at(int64_t epoch, const char *offset, int64_t skip, int64_t next_seq)
{
    Checkpoint checkpoint = {.stream_id = 1, .epoch = epoch, .generation = 1, .next_seq = next_seq};

    position_set(&checkpoint.position, str_c(offset), skip);
    return checkpoint;
}

Test(checkpoint, what_is_found_says_what_became_of_a_transaction)
{
    Checkpoint before = at(3, "o1", 0, 10);
    Checkpoint after = at(3, "o2", 0, 15);
    Checkpoint found;

    found = at(3, "o1", 0, 10);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_OLD);
    found = at(3, "o2", 0, 15);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_NEW);
    found = at(3, "o1", 5, 15);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_MOVED);
    found = at(3, "o2", 0, 14);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_MOVED);
}

/* A successor that stands exactly where we would be is still a successor. */
Test(checkpoint, a_later_epoch_is_fenced_wherever_it_stands)
{
    Checkpoint before = at(3, "o1", 0, 10);
    Checkpoint after = at(3, "o2", 0, 15);
    Checkpoint found;

    found = at(4, "o2", 0, 15);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_FENCED);
    found = at(4, "o1", 0, 10);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_FENCED);
}

/* A failover to a standby that was behind: nobody took over, and what we loaded is gone. */
Test(checkpoint, an_earlier_epoch_has_moved_wherever_it_stands)
{
    Checkpoint before = at(3, "o1", 0, 10);
    Checkpoint after = at(3, "o2", 0, 15);
    Checkpoint found;

    found = at(2, "o1", 0, 10);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_MOVED);
    found = at(2, "o2", 0, 15);
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_MOVED);
}

Test(checkpoint, closing_alone_is_a_change)
{
    Checkpoint before = at(3, "o1", 0, 10);
    Checkpoint after = before;
    Checkpoint found = before;

    after.closed = true;
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_OLD);
    found.closed = true;
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_NEW);
}

Test(checkpoint, another_generation_has_moved)
{
    Checkpoint before = at(3, "o1", 0, 10);
    Checkpoint after = at(3, "o2", 0, 15);
    Checkpoint found = before;

    found.generation = 2;
    cr_expect_eq(checkpoint_judge(&found, &before, &after), CHECKPOINT_MOVED);
}
