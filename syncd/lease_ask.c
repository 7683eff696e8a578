/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lease_ask.c -- what an instance asks Postgres about its membership and its leases, a
 * statement each.
 */
#include "syncd/lease_internal.h"

#include <unistd.h>

#include "common/clock.h"
#include "sql/queries.h"

#define LIST_BYTES_MAX (LEASE_PARTITIONS_MAX * 24u)

static void
ask(Lease *lease, LeaseAsked asked, const char *sql, const char *const *params, size_t count)
{
    lease->asked = asked;
    lease->asked_ms = clock_mono_ms();
    control_link_query(lease->link, sql, params, count, lease_answered, lease);
}

static void
number_text(char *out, size_t size, int64_t number)
{
    (void)snprintf(out, size, "%lld", (long long)number); /* 24 bytes hold any */
}

void
lease_ask_join(Lease *lease)
{
    char pid[24];
    char lease_ms[24];

    number_text(pid, sizeof(pid), getpid());
    number_text(lease_ms, sizeof(lease_ms), lease->config.lease_ms);
    const char *params[] = {lease->config.instance,
                            DS_VERSION,
                            lease->host,
                            pid,
                            lease_ms,
                            lease->joined_before ? "false" : "true",
                            buf_cstr(&lease->dead),
                            lease->config.servers,
                            lease->config.server_urls};
    ask(lease, ASKED_JOIN, sql_lease_join, params, DS_COUNT(params));
}

/* Array literals of the slots in these states and of their epochs. */
static void
list_slots(const Lease *lease, unsigned states, Buf *partitions, Buf *epochs)
{
    const char *between = "";
    Error err;

    buf_init(partitions, LIST_BYTES_MAX);
    buf_init(epochs, LIST_BYTES_MAX);
    bool ok = buf_append(partitions, STR("{"), &err) && buf_append(epochs, STR("{"), &err);
    for (unsigned i = 0; i < lease->table.count && ok; i++) {
        const LeaseSlot *slot = &lease->table.slots[i];

        if ((states & DS_BIT(slot->state)) != 0) {
            ok = buf_printf(partitions, &err, "%s%u", between, i) &&
                 buf_printf(epochs, &err, "%s%lld", between, (long long)slot->epoch);
            between = ",";
        }
    }
    ok = ok && buf_append(partitions, STR("}"), &err) && buf_append(epochs, STR("}"), &err);
    DS_ASSERT(ok); /* a bounded number of numbers */
}

void
lease_ask_renew(Lease *lease)
{
    char lease_ms[24];
    Buf partitions;
    Buf epochs;

    number_text(lease_ms, sizeof(lease_ms), lease->config.lease_ms);
    list_slots(lease, DS_BIT(LEASE_SLOT_HELD) | DS_BIT(LEASE_SLOT_YIELDING), &partitions, &epochs);
    const char *params[] = {lease->config.instance, lease->started, lease_ms, buf_cstr(&partitions),
                            buf_cstr(&epochs)};
    ask(lease, ASKED_RENEW, sql_lease_renew, params, DS_COUNT(params));
    lease->renew_at_ms = lease->asked_ms + lease_renew_ms(lease->config.lease_ms);
    lease->renew_due = false;
    buf_done(&partitions);
    buf_done(&epochs);
}

void
lease_ask_release(Lease *lease)
{
    Buf partitions;
    Buf epochs;

    lease_table_move(&lease->table, LEASE_SLOT_YIELDED, LEASE_SLOT_RELEASING);
    list_slots(lease, DS_BIT(LEASE_SLOT_RELEASING), &partitions, &epochs);
    const char *params[] = {lease->config.instance, buf_cstr(&partitions), buf_cstr(&epochs)};
    ask(lease, ASKED_RELEASE, sql_lease_release, params, DS_COUNT(params));
    buf_done(&partitions);
    buf_done(&epochs);
}

void
lease_ask_claim(Lease *lease, unsigned count)
{
    char lease_ms[24];
    char limit[24];

    number_text(lease_ms, sizeof(lease_ms), lease->config.lease_ms);
    number_text(limit, sizeof(limit), count);
    const char *params[] = {lease->config.instance, lease->started, lease_ms, limit};
    ask(lease, ASKED_CLAIM, sql_lease_claim, params, DS_COUNT(params));
}

void
lease_ask_look(Lease *lease)
{
    char lease_ms[24];
    char statement_ms[24];

    number_text(lease_ms, sizeof(lease_ms), lease->config.lease_ms);
    number_text(statement_ms, sizeof(statement_ms), lease->config.statement_ms);
    const char *params[] = {lease_ms, statement_ms};
    lease->look_due = false;
    ask(lease, ASKED_LOOK, sql_lease_look, params, DS_COUNT(params));
}

void
lease_ask_neighbours(Lease *lease)
{
    const char *params[] = {lease->host, lease->config.instance};

    ask(lease, ASKED_NEIGHBOURS, sql_lease_neighbours, params, DS_COUNT(params));
}

void
lease_ask_leave(Lease *lease)
{
    const char *params[] = {lease->config.instance, lease->started};

    ask(lease, ASKED_LEAVE, sql_lease_leave, params, DS_COUNT(params));
}
