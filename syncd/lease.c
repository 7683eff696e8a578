/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lease.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "syncd/lease_internal.h"

#define NAMES_BYTES_MAX     (1u << 20) /* of dead neighbours */
#define NEIGHBOUR_BYTES_MAX 512        /* a longer name is not one of ours */
#define LEAVE_RETRY_MS      250        /* between two tries to give back what is ours */

static const LogScope scope = {.name = "syncd.lease"};

/* Every legal edge and no other. */
static const uint32_t lease_edges[LEASE_STATE_COUNT] = {
    [LEASE_OFF] = DS_BIT(LEASE_NEIGHBOURS) | DS_BIT(LEASE_LEFT),
    [LEASE_NEIGHBOURS] = DS_BIT(LEASE_JOIN) | DS_BIT(LEASE_LEFT),
    [LEASE_JOIN] = DS_BIT(LEASE_MEMBER) | DS_BIT(LEASE_LEFT),
    [LEASE_MEMBER] = DS_BIT(LEASE_NEIGHBOURS) | DS_BIT(LEASE_LEAVE) | DS_BIT(LEASE_LEFT),
    [LEASE_LEAVE] = DS_BIT(LEASE_LEFT),
};

static void lease_step(void *arg);

static void
lease_enter(Lease *lease, LeaseState state)
{
    DS_ASSERT((lease_edges[lease->state] & DS_BIT(state)) != 0);
    lease->state = state;
}

static void
lease_wake(Lease *lease)
{
    timer_start(lease->next, 0);
}

/* --- what ends --- */

static void
lease_left(Lease *lease)
{
    if (lease->state == LEASE_LEFT) {
        return;
    }
    lease_enter(lease, LEASE_LEFT);
    control_link_forget(lease->link, lease);
    timer_stop(lease->tick);
    timer_stop(lease->next);
    timer_stop(lease->deadline);
    timer_stop(lease->leave);
    lease->callbacks->on_left(lease->arg);
}

static void
lease_lose(Lease *lease, unsigned partition, LeaseSlotState state)
{
    lease_table_set(&lease->table, partition, state, lease->table.slots[partition].epoch);
    lease->callbacks->on_lost(lease->arg, partition);
}

static unsigned
lease_lose_all(Lease *lease)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < lease->table.count; i++) {
        LeaseSlotState state = lease->table.slots[i].state;

        if (state == LEASE_SLOT_HELD || state == LEASE_SLOT_YIELDING) {
            lost++;
            lease_lose(lease, i, LEASE_SLOT_NONE);
        }
    }
    return lost;
}

static void
lease_log_lost(unsigned lost, const char *why)
{
    if (lost > 0) {
        log_warn(&scope, EVENT_LEASE_LOST, LOG_FIELDS(log_u64("partitions", lost)),
                 "%s: their streams are fenced here until the partitions are held again", why);
    }
}

static void
lease_on_deadline(void *arg)
{
    Lease *lease = arg;
    int64_t now_ms = clock_mono_ms();

    if (lease_table_is_over(&lease->table, now_ms)) {
        lease_log_lost(lease_lose_all(lease), "leases could not be renewed in time");
    } else if (lease_table_working(&lease->table) > 0) {
        timer_start(lease->deadline, lease->table.deadline_ms - now_ms);
    }
}

static void
lease_refuse(Lease *lease, Error *err)
{
    (void)lease_lose_all(lease);
    timer_stop(lease->tick);
    lease->leaving = true;
    lease->callbacks->on_refused(lease->arg, err);
}

/* --- reading answers --- */

static int64_t
answer_number(const PgReply *reply, int row, int column)
{
    int64_t number;

    /* Only what Postgres itself made of integers is asked for here. */
    return parse_i64(pg_get(reply, row, column), &number) ? number : -1;
}

static bool
partitioning_check(const PgReply *reply, int first_column, Error *err)
{
    int64_t count = answer_number(reply, 0, first_column);
    Str hash = pg_get(reply, 0, first_column + 1);

    if (!str_eq(hash, STR(LEASE_HASH)) || count < 1 || count > LEASE_PARTITIONS_MAX) {
        return error_set(err, ERR_CONFIG,
                         "ds_sync.work_partitioning says %lld partitions by %.*s; this program "
                         "works with 1 to %d by " LEASE_HASH,
                         (long long)count, STR_ARG(str_head(hash, 64)), LEASE_PARTITIONS_MAX);
    }
    return true;
}

static void
partitioning_changed(Error *err)
{
    (void)error_set(err, ERR_CONFIG,
                    "ds_sync.work_partitioning was changed: every instance must be restarted");
}

static void
neighbours_answered(Lease *lease, const PgReply *reply)
{
    Error err;
    bool first = true;

    buf_reset(&lease->dead);
    bool ok = buf_append(&lease->dead, STR("{"), &err);
    for (int row = 0; row < reply->rows && ok; row++) {
        Str name = pg_get(reply, row, 0);

        if (name.len <= NEIGHBOUR_BYTES_MAX &&
            lease_host_is_dead(str_c(lease->host), answer_number(reply, row, 1))) {
            ok = pg_array_append(&lease->dead, name, first, &err);
            first = false;
        }
    }
    ok = ok && buf_append(&lease->dead, STR("}"), &err);
    DS_ASSERT(ok); /* a thousand bounded names */
    lease_enter(lease, LEASE_JOIN);
}

static void
join_answered(Lease *lease, const PgReply *reply)
{
    Error err;

    if (reply->rows == 0) {
        if (!lease->name_told) {
            log_error(&scope, EVENT_LEASE_NAME_TAKEN,
                      LOG_FIELDS(log_str("instance", str_c(lease->config.instance))),
                      "another instance of this name has joined; nothing is loaded here until it "
                      "is gone");
        }
        lease->name_told = true;
        return;
    }
    if (!partitioning_check(reply, 1, &err)) {
        lease_refuse(lease, &err);
        return;
    }
    int64_t count = answer_number(reply, 0, 1);
    if (lease->table.slots != NULL && count != lease->table.count) {
        partitioning_changed(&err);
        lease_refuse(lease, &err);
        return;
    }
    if (answer_number(reply, 0, 3) != count || answer_number(reply, 0, 4) != count) {
        (void)error_set(&err, ERR_CONFIG,
                        "ds_sync.work_partition does not have the rows 0 to %lld and no other, as "
                        "ds_sync.work_partitioning says",
                        (long long)count - 1);
        lease_refuse(lease, &err);
        return;
    }
    if (lease->table.slots == NULL) {
        lease_table_init(&lease->table, (unsigned)count);
        lease->callbacks->on_joined(lease->arg, (unsigned)count);
    }
    (void)snprintf(lease->started, sizeof(lease->started), "%.*s", STR_ARG(pg_get(reply, 0, 0)));
    log_info(&scope,
             LOG_FIELDS(log_str("instance", str_c(lease->config.instance)),
                        log_i64("partitions", count), log_i64("lease_ms", lease->config.lease_ms)),
             "joined");
    lease->joined_before = true;
    lease->name_told = false;
    lease->renew_at_ms = lease->asked_ms + lease_renew_ms(lease->config.lease_ms);
    lease->look_due = true;
    lease_enter(lease, LEASE_MEMBER);
}

/* From the highest number down, so that everybody keeps the same ones. */
static void
lease_give_back(Lease *lease, unsigned count)
{
    unsigned left = count;

    for (unsigned i = lease->table.count; i > 0 && left > 0; i--) {
        if (lease->table.slots[i - 1].state == LEASE_SLOT_HELD) {
            lease_table_set(&lease->table, i - 1, LEASE_SLOT_YIELDING,
                            lease->table.slots[i - 1].epoch);
            left--;
            lease->callbacks->on_yield(lease->arg, i - 1);
        }
    }
}

static void
look_answered(Lease *lease, const PgReply *reply)
{
    Error err;

    if (reply->rows == 0 || !partitioning_check(reply, 0, &err) ||
        answer_number(reply, 0, 0) != lease->table.count) {
        partitioning_changed(&err);
        lease_refuse(lease, &err);
        return;
    }
    lease->living = (unsigned)DS_MAX(answer_number(reply, 0, 2), 1);
    lease->free_partitions = (unsigned)DS_MAX(answer_number(reply, 0, 3), 0);
    if (answer_number(reply, 0, 4) > 0) {
        log_warn(&scope, EVENT_LEASE_FROZEN_ENDED,
                 LOG_FIELDS(log_i64("sessions", answer_number(reply, 0, 4))),
                 "sessions of Postgres that held streams and waited for a writer that is frozen or "
                 "gone were ended");
    }
    if (lease->leaving) {
        return;
    }
    unsigned surplus = lease_surplus(&lease->table, lease->living);
    if (surplus > 0) {
        log_info(&scope,
                 LOG_FIELDS(log_u64("partitions", surplus), log_u64("instances", lease->living)),
                 "gives partitions back, since others should have them");
        lease_give_back(lease, surplus);
    }
    if (lease_claimable(&lease->table, lease->living, lease->free_partitions) == 0) {
        lease->settled = true;
    }
}

static void
claim_answered(Lease *lease, const PgReply *reply)
{
    lease->free_partitions = 0;
    lease->settled = true;
    if (reply->rows > 0) {
        log_info(
            &scope,
            LOG_FIELDS(log_i64("partitions", reply->rows), log_u64("instances", lease->living)),
            "has taken partitions");
    }
    for (int row = 0; row < reply->rows; row++) {
        int64_t partition = answer_number(reply, row, 0);
        int64_t epoch = answer_number(reply, row, 1);

        DS_ASSERT(partition >= 0 && partition < lease->table.count);
        lease_table_claimed(&lease->table, (unsigned)partition, epoch, lease->asked_ms,
                            lease->config.lease_ms);
        lease->callbacks->on_gained(lease->arg, (unsigned)partition, epoch);
    }
    if (lease->leaving) {
        lease_give_back(lease, lease->table.count);
    }
    lease_on_deadline(lease);
}

/* Its row is locked: the lease lasts until after the next renewal, but no longer. */
static bool
lease_wait_for(LeaseSlot *slot)
{
    bool was_late = slot->is_late;

    slot->is_late = true;
    return !was_late;
}

static void
renew_answered(Lease *lease, const PgReply *reply)
{
    bool *kept = mem_array(lease->table.count, sizeof(bool));
    bool is_member = false;
    unsigned lost = 0;

    for (int row = 0; row < reply->rows; row++) {
        int64_t partition = answer_number(reply, row, 0);

        is_member = is_member || partition == -1;
        if (partition <= -2 && partition > -2 - (int64_t)lease->table.count) {
            kept[-2 - partition] = lease_wait_for(&lease->table.slots[-2 - partition]);
        }
        if (partition >= 0 && partition < lease->table.count) {
            kept[partition] = true;
            lease->table.slots[partition].is_late = false;
        }
    }
    for (unsigned i = 0; i < lease->table.count; i++) {
        LeaseSlotState state = lease->table.slots[i].state;

        if (!kept[i] && (state == LEASE_SLOT_HELD || state == LEASE_SLOT_YIELDING)) {
            lost++;
            lease_lose(lease, i, LEASE_SLOT_NONE);
        }
    }
    free(kept);
    lease_log_lost(lost, "leases were taken over or released by somebody else, or their rows are "
                         "locked");
    lease_table_renewed(&lease->table, lease->asked_ms, lease->config.lease_ms);
    lease_on_deadline(lease);
    if (!is_member && lease->leaving) {
        lease_left(lease);
    } else if (!is_member) {
        lease->settled = false;
        lease_enter(lease, LEASE_NEIGHBOURS);
    }
}

/* What was yielded since it was asked is for the next time. */
static void
release_answered(Lease *lease)
{
    lease_table_move(&lease->table, LEASE_SLOT_RELEASING, LEASE_SLOT_NONE);
}

/* Whether others would have to wait for something of ours to end by itself. */
static bool
lease_owes(const Lease *lease)
{
    return lease->table.in_state[LEASE_SLOT_HELD] + lease->table.in_state[LEASE_SLOT_YIELDING] +
               lease->table.in_state[LEASE_SLOT_YIELDED] +
               lease->table.in_state[LEASE_SLOT_RELEASING] >
           0;
}

static void
lease_failed(Lease *lease, LeaseAsked asked, const PgReply *reply)
{
    lease_table_move(&lease->table, LEASE_SLOT_RELEASING, LEASE_SLOT_YIELDED);
    if (lease->leaving && !lease_owes(lease)) {
        lease_left(lease);
        return;
    }
    if (lease->leaving) {
        timer_start(lease->next, LEAVE_RETRY_MS);
    }
    lease->renew_due = lease->renew_due || asked == ASKED_RENEW;
    if (reply->error_class != PG_ERROR_CONNECTION) { /* those the link has said */
        log_warn(&scope, EVENT_LEASE_RETRY,
                 LOG_FIELDS(log_str("sqlstate", str_c(reply->err.sqlstate))),
                 "Postgres: %s; tries again", reply->err.text);
    }
}

void
lease_answered(void *arg, const PgReply *reply)
{
    Lease *lease = arg;
    LeaseAsked asked = lease->asked;

    lease->asked = ASKED_NOTHING;
    if (!reply->ok) {
        lease_failed(lease, asked, reply);
        return; /* and not again before the next tick */
    }
    switch (asked) {
    case ASKED_NEIGHBOURS:
        neighbours_answered(lease, reply);
        break;
    case ASKED_JOIN:
        join_answered(lease, reply);
        if (lease->state != LEASE_MEMBER) {
            return;
        }
        break;
    case ASKED_LOOK:
        look_answered(lease, reply);
        break;
    case ASKED_CLAIM:
        claim_answered(lease, reply);
        break;
    case ASKED_RENEW:
        renew_answered(lease, reply);
        break;
    case ASKED_RELEASE:
        release_answered(lease);
        break;
    case ASKED_LEAVE:
        lease_left(lease);
        break;
    case ASKED_NOTHING:
        DS_UNREACHABLE("an answer to nothing");
    }
    if (lease->state != LEASE_LEFT) {
        lease_wake(lease);
    }
}

/* --- what is due --- */

/* The most urgent thing first: what is given back, then what is ours, then what may become ours. */
static void
member_step(Lease *lease)
{
    bool working = lease_table_working(&lease->table) > 0;
    unsigned claimable = lease_claimable(&lease->table, lease->living, lease->free_partitions);

    if (lease->leaving && (lease->leaving_now || !working)) {
        lease_enter(lease, LEASE_LEAVE);
        lease_ask_leave(lease);
    } else if (lease->table.in_state[LEASE_SLOT_YIELDED] > 0) {
        lease_ask_release(lease);
    } else if (lease->renew_due) {
        lease_ask_renew(lease);
    } else if (claimable > 0 && !lease->leaving) {
        lease_ask_claim(lease, claimable);
    } else if (lease->look_due) {
        lease_ask_look(lease);
    }
}

static void
lease_step(void *arg)
{
    Lease *lease = arg;

    if (lease->asked != ASKED_NOTHING) {
        return;
    }
    switch (lease->state) {
    case LEASE_NEIGHBOURS:
        lease_ask_neighbours(lease);
        break;
    case LEASE_JOIN:
        lease_ask_join(lease);
        break;
    case LEASE_MEMBER:
        member_step(lease);
        break;
    case LEASE_LEAVE:
        lease_ask_leave(lease);
        break;
    case LEASE_OFF:
    case LEASE_LEFT:
    case LEASE_STATE_COUNT:
        break;
    }
}

static void
lease_on_tick(void *arg)
{
    Lease *lease = arg;

    lease->look_due = true;
    lease->renew_due = lease->renew_due || clock_mono_ms() >= lease->renew_at_ms;
    lease_step(lease);
}

static void
lease_on_leave_timeout(void *arg)
{
    lease_left(arg);
}

/* --- life --- */

Lease *
lease_new(Loop *loop, ControlLink *link, const LeaseConfig *config, const LeaseCallbacks *callbacks,
          void *arg)
{
    Lease *lease = mem_zalloc(sizeof(*lease));

    lease->loop = loop;
    lease->link = link;
    lease->config = *config;
    lease->callbacks = callbacks;
    lease->arg = arg;
    lease->tick = timer_new(loop, lease_on_tick, lease);
    lease->next = timer_new(loop, lease_step, lease);
    lease->deadline = timer_new(loop, lease_on_deadline, lease);
    lease->leave = timer_new(loop, lease_on_leave_timeout, lease);
    lease->living = 1;
    buf_init(&lease->dead, NAMES_BYTES_MAX);
    lease_host_name(lease->host);
    return lease;
}

void
lease_free(Lease *lease)
{
    if (lease == NULL) {
        return;
    }
    control_link_forget(lease->link, lease);
    timer_free(lease->tick);
    timer_free(lease->next);
    timer_free(lease->deadline);
    timer_free(lease->leave);
    lease_table_done(&lease->table);
    buf_done(&lease->dead);
    loop_defer_free(lease->loop, lease);
}

void
lease_start(Lease *lease)
{
    lease_enter(lease, LEASE_NEIGHBOURS);
    timer_repeat(lease->tick,
                 DS_MIN((int64_t)LEASE_LOOK_MS, lease_renew_ms(lease->config.lease_ms)));
    lease_wake(lease);
}

void
lease_yielded(Lease *lease, unsigned partition)
{
    const LeaseSlot *slot = &lease->table.slots[partition];

    if (slot->state == LEASE_SLOT_YIELDING) {
        lease_table_set(&lease->table, partition, LEASE_SLOT_YIELDED, slot->epoch);
        lease_wake(lease);
    }
}

void
lease_doubt(Lease *lease, unsigned partition)
{
    LeaseSlotState state = lease->table.slots[partition].state;

    if (state == LEASE_SLOT_HELD || state == LEASE_SLOT_YIELDING) {
        lease_lose(lease, partition, LEASE_SLOT_YIELDED);
        lease_wake(lease);
    }
}

void
lease_leave(Lease *lease, bool now)
{
    lease->leaving = true;
    lease->leaving_now = lease->leaving_now || now;
    if (lease->state != LEASE_MEMBER && lease->state != LEASE_LEAVE) {
        timer_start(lease->leave, 0); /* there is nothing to give back */
        return;
    }
    lease_give_back(lease, lease->table.count);
    if (lease->leaving_now && !timer_active(lease->leave)) {
        timer_start(lease->leave, LEASE_LEAVE_MS);
    }
    lease_wake(lease);
}

bool
lease_is_settled(const Lease *lease)
{
    return lease->settled;
}

unsigned
lease_held(const Lease *lease)
{
    return lease->table.in_state[LEASE_SLOT_HELD];
}

unsigned
lease_living(const Lease *lease)
{
    return lease->living;
}
