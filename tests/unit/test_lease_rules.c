/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lease_rules.h"

#include <criterion/criterion.h>

#include "common/mem.h"

#define PARTITIONS    64
#define INSTANCES_MAX 70
#define ROUNDS_MAX    10

/* What Postgres would hold: an owner for each partition, or none. */
typedef struct Fleet {
    int owner[PARTITIONS];
    LeaseTable tables[INSTANCES_MAX];
    bool lives[INSTANCES_MAX];
    unsigned moves; /* partitions that changed hands, or were given up */
} Fleet;

static unsigned
living(const Fleet *fleet)
{
    unsigned count = 0;

    for (int i = 0; i < INSTANCES_MAX; i++) {
        count += fleet->lives[i];
    }
    return count;
}

static unsigned
free_partitions(const Fleet *fleet)
{
    unsigned count = 0;

    for (int i = 0; i < PARTITIONS; i++) {
        count += fleet->owner[i] < 0;
    }
    return count;
}

static void
instance_looks(Fleet *fleet, int instance)
{
    LeaseTable *table = &fleet->tables[instance];
    unsigned surplus = lease_surplus(table, living(fleet));
    unsigned claim = lease_claimable(table, living(fleet), free_partitions(fleet));

    cr_expect(surplus == 0 || claim == 0, "nobody takes and gives back at once");
    for (unsigned i = 0; i < PARTITIONS; i++) {
        if (fleet->owner[i] == instance && surplus > 0) {
            surplus--;
            fleet->owner[i] = -1;
            fleet->moves++;
            lease_table_set(table, i, LEASE_SLOT_NONE, 0);
        } else if (fleet->owner[i] < 0 && claim > 0) {
            claim--;
            fleet->owner[i] = instance;
            fleet->moves++;
            lease_table_claimed(table, i, 1, 0, 15000);
        }
    }
}

/* Everybody looks in turn until nothing moves any more. */
static void
settle(Fleet *fleet)
{
    unsigned before;
    int rounds = 0;

    do {
        before = fleet->moves;
        for (int i = 0; i < INSTANCES_MAX; i++) {
            if (fleet->lives[i]) {
                instance_looks(fleet, i);
            }
        }
        cr_assert_lt(rounds++, ROUNDS_MAX, "partitions are passed round and round");
    } while (fleet->moves != before);
}

static Fleet *
fleet_new(void)
{
    Fleet *fleet = mem_zalloc(sizeof(*fleet));

    for (int i = 0; i < INSTANCES_MAX; i++) {
        lease_table_init(&fleet->tables[i], PARTITIONS);
    }
    for (int i = 0; i < PARTITIONS; i++) {
        fleet->owner[i] = -1;
    }
    return fleet;
}

static void
fleet_free(Fleet *fleet)
{
    for (int i = 0; i < INSTANCES_MAX; i++) {
        lease_table_done(&fleet->tables[i]);
    }
    free(fleet);
}

static void
expect_fair(const Fleet *fleet)
{
    cr_expect_eq(free_partitions(fleet), 0, "nobody loads some partition");
    for (int i = 0; i < INSTANCES_MAX; i++) {
        unsigned held = fleet->tables[i].in_state[LEASE_SLOT_HELD];

        cr_expect(!fleet->lives[i] || held <= lease_share(PARTITIONS, living(fleet)));
    }
}

static void
leave(Fleet *fleet, int instance)
{
    fleet->lives[instance] = false;
    for (unsigned i = 0; i < PARTITIONS; i++) {
        if (fleet->owner[i] == instance) {
            fleet->owner[i] = -1;
            lease_table_set(&fleet->tables[instance], i, LEASE_SLOT_NONE, 0);
        }
    }
}

Test(lease_rules, shares_of_all_cover_every_partition)
{
    for (unsigned partitions = 1; partitions <= 200; partitions++) {
        for (unsigned count = 1; count <= 80; count++) {
            unsigned share = lease_share(partitions, count);

            cr_assert_geq(share * count, partitions);
            cr_assert_lt((share - 1) * count, partitions, "less than a share each would do, too");
        }
    }
    cr_expect_eq(lease_share(64, 0), 64, "before the first look");
}

Test(lease_rules, one_instance_takes_all)
{
    Fleet *fleet = fleet_new();

    fleet->lives[0] = true;
    settle(fleet);
    cr_expect_eq(fleet->tables[0].in_state[LEASE_SLOT_HELD], PARTITIONS);
    fleet_free(fleet);
}

Test(lease_rules, joining_and_leaving_ends_in_fair_shares_and_then_nothing_moves)
{
    Fleet *fleet = fleet_new();

    for (int i = 0; i < INSTANCES_MAX; i++) {
        fleet->lives[i] = true;
        settle(fleet);
        expect_fair(fleet);
    }
    for (int i = 0; i < INSTANCES_MAX - 1; i++) {
        leave(fleet, i);
        settle(fleet);
        expect_fair(fleet);
    }
    unsigned moves = fleet->moves;
    settle(fleet);
    cr_expect_eq(fleet->moves, moves);
    fleet_free(fleet);
}

Test(lease_rules, who_joins_moves_no_more_than_its_share)
{
    Fleet *fleet = fleet_new();

    fleet->lives[0] = fleet->lives[1] = true;
    settle(fleet);
    unsigned moves = fleet->moves;
    fleet->lives[2] = true;
    settle(fleet);
    /* Each partition that moves is given up once and taken once. */
    cr_expect_leq(fleet->moves - moves, 2 * lease_share(PARTITIONS, 3));
    fleet_free(fleet);
}

Test(lease_rules, what_is_being_given_back_is_not_held_and_not_given_back_twice)
{
    LeaseTable table;

    lease_table_init(&table, 4);
    for (unsigned i = 0; i < 4; i++) {
        lease_table_claimed(&table, i, 7, 0, 15000);
    }
    cr_expect_eq(lease_surplus(&table, 2), 2);
    lease_table_set(&table, 3, LEASE_SLOT_YIELDING, 7);
    lease_table_set(&table, 2, LEASE_SLOT_YIELDED, 7);
    cr_expect_eq(lease_surplus(&table, 2), 0);
    cr_expect_eq(lease_claimable(&table, 2, 4), 0);
    cr_expect_eq(lease_table_working(&table), 3, "what yields still needs its lease");
    lease_table_done(&table);
}

Test(lease_rules, what_is_yielded_while_others_are_released_is_not_forgotten)
{
    LeaseTable table;

    lease_table_init(&table, 4);
    lease_table_set(&table, 1, LEASE_SLOT_YIELDED, 7);
    lease_table_move(&table, LEASE_SLOT_YIELDED, LEASE_SLOT_RELEASING);
    cr_expect_eq(table.slots[1].epoch, 7);
    lease_table_set(&table, 2, LEASE_SLOT_YIELDED, 8);
    lease_table_move(&table, LEASE_SLOT_RELEASING, LEASE_SLOT_NONE);
    cr_expect_eq(table.slots[1].state, LEASE_SLOT_NONE);
    cr_expect_eq(table.slots[2].state, LEASE_SLOT_YIELDED);
    cr_expect_eq(table.in_state[LEASE_SLOT_YIELDED], 1);
    cr_expect_eq(table.in_state[LEASE_SLOT_RELEASING], 0);
    lease_table_done(&table);
}

Test(lease_rules, a_lease_is_over_for_us_before_it_is_for_postgres)
{
    LeaseTable table;

    lease_table_init(&table, 4);
    cr_expect_not(lease_table_is_over(&table, INT64_MAX), "who holds nothing loses nothing");
    lease_table_claimed(&table, 0, 1, 1000, 15000);
    cr_expect_not(lease_table_is_over(&table, 1000 + 13499));
    cr_expect(lease_table_is_over(&table, 1000 + 13500));
    lease_table_renewed(&table, 6000, 15000);
    cr_expect_not(lease_table_is_over(&table, 1000 + 13500));
    /* One more that was taken later does not prolong the others. */
    lease_table_claimed(&table, 1, 1, 9000, 15000);
    cr_expect(lease_table_is_over(&table, 6000 + 13500));
    for (int64_t lease_ms = LEASE_MS_MIN; lease_ms <= LEASE_MS_MAX; lease_ms += 997) {
        int64_t spare_ms = lease_deadline_ms(0, lease_ms) - 2 * lease_renew_ms(lease_ms);

        cr_assert_lt(lease_deadline_ms(0, lease_ms), lease_ms);
        cr_assert_gt(spare_ms, 0, "a renewal may fail once");
    }
    lease_table_done(&table);
}
