/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/outage.h"

#include <stdlib.h>

#include "common/fnv.h"
#include "common/mem.h"

struct Outage {
    int64_t memory_ms;
    TAILQ_HEAD(, OutageUser) failing; /* who has failed for longest comes first */
    size_t failing_count;
    /* The trouble, which may hold several outages. */
    bool active;
    int64_t failed_ms; /* the last failure */
    int64_t due_ms;    /* when to tell that it goes on */
    int64_t interval_ms;
    uint64_t known[OUTAGE_KNOWN_MAX]; /* what was told; the oldest is forgotten first */
    unsigned known_count;
    unsigned lines; /* told of streams since due_ms was set */
    bool answers;
    uint64_t failures;
    EventId event;
    Error err;
    /* The outage. */
    bool open;
    bool told; /* of it, and not yet that it is over */
    unsigned number;
    size_t streams;
    int64_t begun_ms;
    int64_t well_ms; /* no stream fails since then, where none does */
};

Outage *
outage_new(int64_t memory_ms)
{
    Outage *outage = mem_zalloc(sizeof(*outage));

    outage->memory_ms = memory_ms;
    TAILQ_INIT(&outage->failing);
    return outage;
}

void
outage_free(Outage *outage)
{
    free(outage);
}

static void
outage_set_due(Outage *outage, int64_t now_ms)
{
    outage->due_ms = now_ms + outage->interval_ms;
    outage->lines = 0;
    outage->answers = false;
    outage->failures = 0;
}

static void
outage_begin(Outage *outage, int64_t now_ms)
{
    if (!outage->active) {
        outage->active = true;
        outage->known_count = 0;
        outage->interval_ms = OUTAGE_TOLD_MS_MIN;
        outage_set_due(outage, now_ms);
    }
    if (!outage->open) {
        outage->open = true;
        outage->told = false;
        outage->number++;
        outage->streams = 0;
        outage->begun_ms = now_ms;
    }
}

static void
outage_count(Outage *outage, OutageUser *user)
{
    if (!user->fails) {
        user->fails = true;
        TAILQ_INSERT_TAIL(&outage->failing, user, link);
        outage->failing_count++;
    }
    if (user->counted != outage->number) {
        user->counted = outage->number;
        outage->streams++;
    }
    outage->failures++;
}

static bool
outage_knows(const Outage *outage, uint64_t what)
{
    for (unsigned i = 0; i < DS_MIN(outage->known_count, (unsigned)OUTAGE_KNOWN_MAX); i++) {
        if (outage->known[i] == what) {
            return true;
        }
    }
    return false;
}

static void
outage_learn(Outage *outage, uint64_t what)
{
    if (!outage_knows(outage, what)) {
        outage->known[outage->known_count++ % OUTAGE_KNOWN_MAX] = what;
    }
}

bool
outage_failed(Outage *outage, OutageUser *user, EventId event, const Error *err, int64_t now_ms)
{
    outage_begin(outage, now_ms);
    outage_count(outage, user);
    outage->failed_ms = now_ms;
    outage->event = event;
    outage->err = *err;
    uint64_t reason = fnv1a64(fnv1a64(FNV1A64_BASIS, str_c(event_name(event))), str_c(err->text));
    uint64_t of_stream = fnv1a64(reason, user->name);
    if (outage_knows(outage, outage->answers ? of_stream : reason) ||
        outage->lines == OUTAGE_LINES_MAX) {
        return false;
    }
    outage_learn(outage, reason);
    outage_learn(outage, of_stream);
    outage->lines++;
    outage->told = true;
    return true;
}

void
outage_answered(Outage *outage)
{
    outage->answers = true;
}

void
outage_leave(Outage *outage, OutageUser *user, int64_t now_ms)
{
    if (!user->fails) {
        return;
    }
    user->fails = false;
    TAILQ_REMOVE(&outage->failing, user, link);
    if (--outage->failing_count == 0) {
        outage->well_ms = now_ms;
    }
}

static OutageView
outage_view(const Outage *outage, int64_t until_ms)
{
    const OutageUser *first = TAILQ_FIRST(&outage->failing);

    return (OutageView){
        .failing = outage->failing_count,
        .streams = outage->streams,
        .failures = outage->failures,
        .lasted_ms = until_ms - outage->begun_ms,
        .answers = outage->answers,
        .event = outage->event,
        .reason = outage->err.text,
        .longest = first == NULL ? STR_EMPTY : first->name,
    };
}

OutageNews
outage_look(Outage *outage, int64_t now_ms, OutageView *out)
{
    bool fails = outage->failing_count > 0;

    if (outage->open && !fails && now_ms >= outage->well_ms + OUTAGE_CALM_MS) {
        outage->open = false;
        if (outage->told) {
            *out = outage_view(outage, outage->well_ms);
            outage->failures = 0;
            return OUTAGE_OVER;
        }
    }
    if (!outage->active || now_ms < outage->due_ms) {
        return OUTAGE_NOTHING;
    }
    if (fails || outage->failures > 0) {
        *out = outage_view(outage, fails ? now_ms : outage->well_ms);
        outage->told = outage->open;
        outage->interval_ms = DS_MIN(outage->interval_ms * 2, (int64_t)OUTAGE_TOLD_MS_MAX);
        outage_set_due(outage, now_ms);
        return OUTAGE_GOES_ON;
    }
    outage->active = now_ms < outage->failed_ms + outage->memory_ms;
    outage_set_due(outage, now_ms);
    return OUTAGE_NOTHING;
}
