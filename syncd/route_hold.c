/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route_hold.h"

#include <bsd/string.h>

void
route_hold(RouteHold *hold, RouteHoldKind kind, const Error *why)
{
    if (hold->kind == ROUTE_HOLD_NONE) {
        hold->kind = kind;
        hold->why = *why;
    }
}

void
route_hold_release(RouteHold *hold)
{
    hold->kind = ROUTE_HOLD_NONE;
    hold->tally = (PoisonTally){0};
}

bool
route_hold_admit(RouteHold *hold, size_t letters, size_t rows, size_t *out_pending)
{
    int64_t excess = (int64_t)letters - (int64_t)rows * POISON_ROW_REDEEMS;

    if (hold->tally.weight + hold->pending + excess > ROUTE_LETTERS_MAX) {
        return false;
    }
    *out_pending = (size_t)DS_MAX(excess, INT64_C(0));
    hold->pending += (int64_t)*out_pending;
    return true;
}

void
route_hold_settled(RouteHold *hold, size_t pending)
{
    hold->pending -= (int64_t)pending;
}

void
route_hold_count(RouteHold *hold, size_t letters, size_t rows)
{
    hold->tally.weight += (int64_t)letters;
    poison_tally_rows(&hold->tally, (int64_t)rows);
    hold->begun = hold->begun || rows > 0;
}

/* Whether a row is refused depends on other rows as well: of the first ones, those may be on their
 * way. */
static bool
depends_on_others(const Error *reason)
{
    return strcmp(reason->sqlstate, "23503") == 0 || strcmp(reason->sqlstate, "23505") == 0 ||
           strcmp(reason->sqlstate, "23P01") == 0;
}

static bool
is_the_same(const RouteHold *hold, const Error *reason)
{
    return hold->alike == 0 || (strcmp(hold->reason.sqlstate, reason->sqlstate) == 0 &&
                                strcmp(hold->reason.text, reason->text) == 0);
}

bool
route_hold_refuses_all(const RouteHold *hold, const Error *reason, size_t letters)
{
    return !hold->begun && reason != NULL && !depends_on_others(reason) &&
           is_the_same(hold, reason) && hold->alike + letters >= ROUTE_ALIKE_MAX;
}

void
route_hold_note(RouteHold *hold, const Error *reason, size_t letters)
{
    if (reason == NULL || !is_the_same(hold, reason)) {
        hold->begun = true;
    } else {
        hold->reason = *reason;
        hold->alike += letters;
    }
}

void
route_hold_explain_all(const Error *refused, Error *out)
{
    char sqlstate[sizeof(out->sqlstate)];
    char text[256];

    (void)strlcpy(sqlstate, refused->sqlstate, sizeof(sqlstate));
    (void)strlcpy(text, refused->text, sizeof(text)); /* for people: may be cut */
    (void)error_set(out, ERR_CONFIG,
                    "all of the first messages are refused in the same words and not one becomes a "
                    "row, so the table or the route is at fault: mend it, then dsctl route resume; "
                    "unmended that makes dead letters of them. What was said: %s",
                    text);
    (void)strlcpy(out->sqlstate, sqlstate, sizeof(out->sqlstate));
}

void
route_hold_explain(const Error *refused, Error *out)
{
    char sqlstate[sizeof(out->sqlstate)];
    char text[256];

    (void)strlcpy(sqlstate, refused->sqlstate, sizeof(sqlstate));
    (void)strlcpy(text, refused->text, sizeof(text)); /* for people: may be cut */
    (void)error_set(out, ERR_LIMIT,
                    "too many dead letters for its rows, so the table or the route is at fault: "
                    "mend it, then dsctl route resume. What was refused last: %s",
                    text);
    (void)strlcpy(out->sqlstate, sqlstate, sizeof(out->sqlstate));
}
