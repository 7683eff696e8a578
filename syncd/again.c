/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/again.h"

#include <inttypes.h>

#include "common/log.h"
#include "common/mem.h"
#include "sql/queries.h"

#define NUMBER_SIZE 24

static const LogScope scope = {.name = "syncd"};

struct Again {
    ControlLink *link;
    AgainFn fn;
    void *arg;
    int64_t seen; /* all that was asked up to this version has been told */
    int64_t asked_for;
    bool waiting;
};

static void
again_answered(void *arg, const PgReply *reply)
{
    Again *again = arg;

    again->waiting = false;
    if (!reply->ok) {
        log_debug(&scope, LOG_FIELDS(), "what operators ask cannot be read: %s", reply->err.text);
        return;
    }
    again->seen = again->asked_for;
    for (int row = 0; row < reply->rows; row++) {
        StreamKey key = {.source = pg_get(reply, row, 0),
                         .name = pg_get(reply, row, 1),
                         .route = pg_get(reply, row, 2)};

        again->fn(again->arg, &key);
    }
}

void
again_told(Again *again, int64_t version)
{
    char seen[NUMBER_SIZE];
    char now[NUMBER_SIZE];

    if (again->waiting || version == again->seen) {
        return;
    }
    again->waiting = true;
    again->asked_for = version;
    (void)snprintf(seen, sizeof(seen), "%" PRId64, again->seen);
    (void)snprintf(now, sizeof(now), "%" PRId64, version);
    const char *params[] = {seen, now};
    control_link_query(again->link, sql_streams_asked, params, DS_COUNT(params), again_answered,
                       again);
}

Again *
again_new(ControlLink *link, AgainFn fn, void *arg)
{
    Again *again = mem_zalloc(sizeof(*again));

    again->link = link;
    again->fn = fn;
    again->arg = arg;
    return again;
}

void
again_free(Again *again)
{
    if (again != NULL) {
        control_link_forget(again->link, again);
        free(again);
    }
}
