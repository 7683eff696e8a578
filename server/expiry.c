/* SPDX-License-Identifier: Apache-2.0 */
#include "server/expiry.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

struct Expiry {
    Store *store;
    Metric *removed;
    int64_t clock_gap_ms;    /* wall less boot time at the last tick */
    int64_t paused_until_ms; /* boot time */
    bool bulk_allowed;       /* a pause for it is over: go on until nothing is due */
    atomic_size_t removing;  /* given to the store, which has not finished them */
    Stream *due[EXPIRY_REMOVE_MAX];
};

static const LogScope scope = {.name = "server.expiry"};

Expiry *
expiry_new(Store *store, Metrics *metrics)
{
    Expiry *expiry = mem_zalloc(sizeof(*expiry));

    expiry->store = store;
    expiry->removed = metrics_counter(metrics, "ds_server_streams_expired_total", NULL,
                                      "Streams removed because their time was over.");
    expiry->clock_gap_ms = clock_wall_ms() - clock_boot_ms();
    return expiry;
}

void
expiry_free(Expiry *expiry)
{
    free(expiry);
}

static void
pause_for(Expiry *expiry, int64_t pause_ms, int64_t boot_ms, const char *why)
{
    expiry->paused_until_ms = boot_ms + pause_ms;
    log_warn(&scope, EVENT_SERVER_EXPIRY_PAUSED, LOG_FIELDS(log_i64("pause_ms", pause_ms)),
             "expired streams are not removed for a while: %s", why);
}

typedef struct Removal {
    StoreOp store;
    Expiry *expiry;
} Removal;

/* On a thread of the store's. */
static void
deleted(StoreOp *op)
{
    Removal *removal = DS_CONTAINER_OF(op, Removal, store);
    Expiry *expiry = removal->expiry;

    metric_add(expiry->removed, op->result.verdict == STORE_DONE);
    stream_drop(op->stream);
    free(removal);
    atomic_fetch_sub(&expiry->removing, 1);
}

static void
remove_streams(Expiry *expiry, size_t count)
{
    atomic_store(&expiry->removing, count);
    for (size_t i = 0; i < count; i++) {
        Removal *removal = mem_zalloc(sizeof(*removal));

        removal->store = (StoreOp){
            .kind = STORE_DELETE,
            .done = deleted,
            .stream = expiry->due[i],
        };
        removal->expiry = expiry;
        store_submit(expiry->store, &removal->store);
    }
}

static bool
clock_jumped(Expiry *expiry, int64_t boot_ms)
{
    int64_t gap_ms = clock_wall_ms() - boot_ms;
    int64_t jump_ms = gap_ms - expiry->clock_gap_ms;

    expiry->clock_gap_ms = gap_ms;
    return jump_ms > EXPIRY_JUMP_MS || jump_ms < -EXPIRY_JUMP_MS;
}

void
expiry_tick(Expiry *expiry)
{
    int64_t boot_ms = clock_boot_ms();
    size_t scanned;
    size_t count;

    if (clock_jumped(expiry, boot_ms)) {
        pause_for(expiry, EXPIRY_JUMP_PAUSE_MS, boot_ms, "the wall clock jumped");
    }
    /* What the store has not removed yet would be found again. */
    if (boot_ms < expiry->paused_until_ms || atomic_load(&expiry->removing) > 0) {
        return;
    }
    count = registry_find_expired(expiry->store->registry, EXPIRY_SCAN_MAX, expiry->due,
                                  EXPIRY_REMOVE_MAX, &scanned);
    if (!expiry->bulk_allowed && count >= EXPIRY_BULK_MIN &&
        count * 100 > scanned * EXPIRY_BULK_PERCENT) {
        pause_for(expiry, EXPIRY_BULK_PAUSE_MS, boot_ms, "very many are due at once");
        expiry->bulk_allowed = true;
        for (size_t i = 0; i < count; i++) {
            stream_drop(expiry->due[i]);
        }
        return;
    }
    if (count == 0) {
        expiry->bulk_allowed = false;
    }
    remove_streams(expiry, count);
}
