/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lease_rules.h"

#include "common/mem.h"

void
lease_table_init(LeaseTable *table, unsigned count)
{
    DS_ASSERT(count >= 1 && count <= LEASE_PARTITIONS_MAX);
    *table = (LeaseTable){.slots = mem_array(count, sizeof(LeaseSlot)), .count = count};
    table->in_state[LEASE_SLOT_NONE] = count;
}

void
lease_table_done(LeaseTable *table)
{
    free(table->slots);
    *table = (LeaseTable){.slots = NULL};
}

void
lease_table_set(LeaseTable *table, unsigned partition, LeaseSlotState state, int64_t epoch)
{
    LeaseSlot *slot = &table->slots[partition];

    DS_ASSERT(partition < table->count);
    table->in_state[slot->state]--;
    table->in_state[state]++;
    *slot = (LeaseSlot){.state = state, .epoch = epoch};
}

void
lease_table_move(LeaseTable *table, LeaseSlotState from, LeaseSlotState to)
{
    for (unsigned i = 0; i < table->count; i++) {
        if (table->slots[i].state == from) {
            lease_table_set(table, i, to, to == LEASE_SLOT_NONE ? 0 : table->slots[i].epoch);
        }
    }
}

unsigned
lease_table_working(const LeaseTable *table)
{
    return table->in_state[LEASE_SLOT_HELD] + table->in_state[LEASE_SLOT_YIELDING];
}

unsigned
lease_share(unsigned partitions, unsigned living)
{
    unsigned among = DS_MAX(living, 1u);

    return (partitions + among - 1) / among;
}

unsigned
lease_claimable(const LeaseTable *table, unsigned living, unsigned free_partitions)
{
    unsigned share = lease_share(table->count, living);
    unsigned held = table->in_state[LEASE_SLOT_HELD];

    return held >= share ? 0 : DS_MIN(share - held, free_partitions);
}

unsigned
lease_surplus(const LeaseTable *table, unsigned living)
{
    unsigned share = lease_share(table->count, living);
    unsigned held = table->in_state[LEASE_SLOT_HELD];

    return held > share ? held - share : 0;
}

int64_t
lease_deadline_ms(int64_t asked_ms, int64_t lease_ms)
{
    return asked_ms + lease_ms - lease_ms / 10;
}

int64_t
lease_renew_ms(int64_t lease_ms)
{
    return lease_ms / 3;
}

void
lease_table_claimed(LeaseTable *table, unsigned partition, int64_t epoch, int64_t asked_ms,
                    int64_t lease_ms)
{
    int64_t deadline_ms = lease_deadline_ms(asked_ms, lease_ms);

    if (lease_table_working(table) == 0 || deadline_ms < table->deadline_ms) {
        table->deadline_ms = deadline_ms;
    }
    lease_table_set(table, partition, LEASE_SLOT_HELD, epoch);
}

void
lease_table_renewed(LeaseTable *table, int64_t asked_ms, int64_t lease_ms)
{
    table->deadline_ms = lease_deadline_ms(asked_ms, lease_ms);
}

bool
lease_table_is_over(const LeaseTable *table, int64_t now_ms)
{
    return lease_table_working(table) > 0 && now_ms >= table->deadline_ms;
}
