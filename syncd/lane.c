/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lane.h"

#include <bsd/string.h>
#include <bsd/sys/tree.h>

#include "common/mem.h"

#define REASON_BYTES_MAX       1024
#define CONTENT_TYPE_BYTES_MAX 256

static int
fault_compare(const RowFault *a, const RowFault *b)
{
    return (a->seq > b->seq) - (a->seq < b->seq);
}

RB_GENERATE_INTERNAL(RowFaults, RowFault, link, fault_compare, DS_UNUSED static)

void
lane_init(Lane *lane, Str source, Str name, Str owner, Sink *sink, const LaneCallbacks *callbacks,
          void *arg)
{
    size_t prefix = strlen(sink->name_prefix);

    *lane = (Lane){.callbacks = callbacks,
                   .arg = arg,
                   .name = name,
                   .source = source,
                   .owner = owner,
                   .sink = sink_ref(sink),
                   .row_name = mem_zalloc(prefix + name.len + 1)};
    memcpy(lane->row_name, sink->name_prefix, prefix);
    memcpy(lane->row_name + prefix, name.ptr, name.len);
    buf_init(&lane->reason, REASON_BYTES_MAX);
    buf_init(&lane->content_type, CONTENT_TYPE_BYTES_MAX);
    STAILQ_INIT(&lane->units);
    RB_INIT(&lane->faults);
}

void
lane_done(Lane *lane)
{
    lane_clear(lane);
    if (lane->hold != NULL) {
        lane->hold->streams--;
        lane->hold->blocked -= lane->is_blocked;
    }
    buf_done(&lane->reason);
    buf_done(&lane->content_type);
    free(lane->sift);
    sink_unref(lane->sink);
    free(lane->row_name);
}

void
lane_join(Lane *lane, RouteHold *hold)
{
    lane->hold = hold;
    hold->streams++;
}

void
lane_block(Lane *lane, const Error *refused)
{
    RouteHold *hold = lane->hold;
    Error why;

    if (hold == NULL || lane->sink->on_error != ROUTE_ERROR_DEAD_LETTER) {
        return;
    }
    hold->blocked += !lane->is_blocked;
    lane->is_blocked = true;
    if (hold->blocked == hold->streams) {
        route_hold_explain(refused, &why);
        route_hold(hold, ROUTE_HOLD_STOP, &why);
    }
}

void
lane_sift(Lane *lane, const Error *refused)
{
    free(lane->sift);
    lane->sift = mem_zalloc(sizeof(*lane->sift));
    *lane->sift = *refused;
}

bool
lane_is_held(const Lane *lane)
{
    return lane->hold != NULL && lane->hold->kind != ROUTE_HOLD_NONE;
}

bool
lane_has_to_tell(const Lane *lane)
{
    return lane->telling || (lane->wants & LANE_WANTS_STATE) != 0;
}

void
lane_remember(Lane *lane, bool from_start, bool gone)
{
    lane->from_start = lane->from_start || from_start;
    lane->gone = lane_has_to_tell(lane) ? lane->gone : gone;
}

void
lane_push(Lane *lane, Unit *unit, bool has_to_wait)
{
    Sink *sink = sink_of_kind(lane->sink, unit->kind);
    RowPlace first = {
        .stream_name = str_c(lane->row_name),
        .generation = lane->checkpoint.generation,
        .seq = lane_is_empty(lane) ? lane->checkpoint.next_seq : lane->units_seq,
        .offset = str_c(unit->start.offset),
    };

    DS_ASSERT(sink != NULL);
    unit_judge(unit, sink);
    if (sink->kind == ROUTE_STATE) {
        unit_pair(unit);
    }
    if (has_to_wait) {
        unit_prepare(unit, sink, &first);
    }
    lane->units_seq = first.seq + unit_steps(unit);
    lane->units_bytes += unit_memory(unit);
    STAILQ_INSERT_TAIL(&lane->units, unit, link);
}

static void
lane_pop(Lane *lane)
{
    Unit *unit = STAILQ_FIRST(&lane->units);

    lane->units_bytes -= unit_memory(unit);
    STAILQ_REMOVE_HEAD(&lane->units, link);
    unit_free(unit);
}

static void
lane_forget_faults(Lane *lane, int64_t below)
{
    RowFault *fault;

    while ((fault = RB_MIN(RowFaults, &lane->faults)) != NULL && fault->seq < below) {
        RB_REMOVE(RowFaults, &lane->faults, fault);
        free(fault);
    }
}

void
lane_clear(Lane *lane)
{
    DS_ASSERT(!lane->in_flight);
    while (!lane_is_empty(lane)) {
        lane_pop(lane);
    }
    lane->head_items = 0;
    lane->sieve = 0;
    lane->run = 0;
    lane_forget_faults(lane, INT64_MAX);
}

bool
lane_is_empty(const Lane *lane)
{
    return STAILQ_EMPTY(&lane->units);
}

Sink *
lane_sink(const Lane *lane)
{
    return sink_of_kind(lane->sink, STAILQ_FIRST(&lane->units)->kind);
}

/* Where the stream stands when `items` of the unit are done. */
static void
unit_position(const Unit *unit, size_t items, Position *out)
{
    if (items == unit->count) {
        *out = unit->end;
        return;
    }
    unit_resume_start(unit, out);
    for (size_t i = 0; i < items; i++) {
        out->skip += unit_item_step(unit, i);
    }
}

/* The next item of a part; false: it is a dead letter, and may not be. */
static bool
part_count_item(Part *part, const UnitItem *item, PoisonTally *tally)
{
    if (item->poison != POISON_NONE) {
        return part->lane->sink->on_error == ROUTE_ERROR_DEAD_LETTER &&
               poison_tally_letter(tally, POISON_LETTERS_MAX);
    }
    if (item->is_mark) {
        part->returned += poison_tally_unstage(tally);
        return true;
    }
    part->rows++;
    if (item->staged) {
        poison_tally_staged(tally, 1);
    } else {
        poison_tally_rows(tally, 1);
    }
    return true;
}

/* Takes items of one unit while there is room.  False when something stopped it before the end. */
static bool
part_take_unit(Part *part, const Unit *unit, size_t first, const PartLimits *limits)
{
    for (size_t i = first; i < unit->count; i++) {
        size_t len = unit->items[i].len;

        bool paired = i > first && unit->items[i - 1].pairs;

        if (!paired && (part->items >= limits->rows_max ||
                        (part->items > 0 && part->bytes + len > limits->bytes_max))) {
            return false;
        }
        if (!part_count_item(part, &unit->items[i], &part->tally)) {
            part->blocked = true;
            return false;
        }
        part->letters += unit->items[i].poison != POISON_NONE;
        part->items++;
        part->items_rest = i + 1;
        part->bytes += len;
        part->steps += unit_item_step(unit, i);
    }
    return true;
}

bool
part_compose(Lane *lane, const PartLimits *limits, Part *out)
{
    PartLimits own = *limits;
    size_t first = lane->head_items;
    const Unit *last = NULL; /* the unit that part->items_rest belongs to */
    const Unit *unit;

    *out = (Part){.lane = lane,
                  .end = lane->checkpoint.position,
                  .items_rest = first,
                  .tally = lane->tally,
                  .snapshot_open = lane->snapshot_open};
    if (lane_is_empty(lane) || limits->rows_max == 0) {
        return false;
    }
    if (lane->narrow > 0) {
        own.rows_max = DS_MIN(own.rows_max, lane->narrow);
    }
    if (lane->sieve > 0) {
        own.rows_max = DS_MIN(own.rows_max, DS_MIN(lane->sieve, (size_t)LANE_SIEVE_MAX));
    }
    if (lane->run > 0) {
        own.rows_max = DS_MIN(own.rows_max, lane->run);
    }
    UnitKind kind = STAILQ_FIRST(&lane->units)->kind;
    STAILQ_FOREACH (unit, &lane->units, link) {
        if (unit->kind != kind) {
            break;
        }
        out->items_rest = first;
        last = unit;
        if (!part_take_unit(out, unit, first, &own)) {
            break;
        }
        out->units_whole++;
        out->items_rest = 0;
        out->end = unit->end;
        out->closed = unit->closed;
        first = 0;
        last = NULL;
    }
    if (last != NULL && out->items_rest > 0) {
        unit_position(last, out->items_rest, &out->end);
    }
    return out->units_whole > 0 || out->items > 0;
}

void
part_committed(const Part *part)
{
    Lane *lane = part->lane;

    for (size_t i = 0; i < part->units_whole; i++) {
        lane_pop(lane);
    }
    lane->head_items = part->items_rest;
    lane->tally = part->tally;
    lane->checkpoint.position = part->end;
    lane->checkpoint.next_seq += part->steps;
    lane->checkpoint.closed = lane->checkpoint.closed || part->closed;
    lane->snapshot_open = part->snapshot_open;
    lane->narrow = lane->narrow < LANE_NARROW_MAX ? lane->narrow * 2 : 0;
    lane->sieve -= DS_MIN(lane->sieve, part->items);
    lane->run = 0;
    free(lane->sift);
    lane->sift = NULL;
    lane->stalled = lane->stalled && lane->narrow > 0;
    lane->alone = lane->stalled;
    lane->clashes = 0;
    lane->failures = 0;
    lane_forget_faults(lane, lane->checkpoint.next_seq);
}

void
part_mark_fault(Part *part, Unit *unit, size_t item, int64_t seq, const Error *err)
{
    Lane *lane = part->lane;
    RowFault *fault = mem_zalloc(sizeof(*fault));

    DS_ASSERT(unit->items[item].poison == POISON_NONE);
    part->letters++;
    fault->seq = seq;
    (void)strlcpy(fault->sqlstate, err->sqlstate, sizeof(fault->sqlstate));
    (void)strlcpy(fault->message, err->text,
                  sizeof(fault->message)); /* text for people: may be cut */
    unit->items[item].poison = POISON_ROW_FAULT;
    RowFault *same = RB_INSERT(RowFaults, &lane->faults, fault);
    DS_ASSERT(same == NULL); /* items and faults go together */
}

bool
part_recount(Part *part)
{
    PoisonTally tally = part->lane->tally;

    part->rows = 0;
    part->returned = 0;
    for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
        if (!part_count_item(part, &at.unit->items[at.item], &tally)) {
            return false;
        }
    }
    tally.weight += (int64_t)part->sifted;
    poison_tally_rows(&tally, (int64_t)part->moved);
    part->tally = tally;
    return true;
}

/* What its messages redeemed before the end of the set is left out: the rows behind this one may
 * redeem it. */
bool
part_add_sifted(Part *part, size_t letters, size_t rows)
{
    const PoisonTally *before = &part->lane->tally;

    part->sifted += letters;
    part->moved += rows;
    return before->weight + (int64_t)part->sifted <=
           POISON_LETTERS_MAX + (int64_t)part->moved * POISON_ROW_REDEEMS;
}

bool
part_allows_sifted(const Part *part)
{
    return part->sifted == 0 || part->tally.weight <= POISON_LETTERS_MAX;
}

size_t
part_weight(const Part *part)
{
    return part->letters + part->sifted + (size_t)part->returned;
}

void
lane_letter_cause(const Lane *lane, const Unit *unit, size_t item, int64_t seq, Error *out)
{
    PoisonReason reason = (PoisonReason)unit->items[item].poison;
    const RowFault *fault = lane_find_fault(lane, seq);
    const char *sqlstate = fault != NULL ? fault->sqlstate : poison_sqlstate(reason);

    (void)error_set(out, ERR_INPUT, "%s", fault != NULL ? fault->message : poison_message(reason));
    (void)strlcpy(out->sqlstate, sqlstate != NULL ? sqlstate : "", sizeof(out->sqlstate));
}

void
lane_first_cause(const Lane *lane, Error *out)
{
    lane_letter_cause(lane, STAILQ_FIRST(&lane->units), lane->head_items, lane->checkpoint.next_seq,
                      out);
}

void
lane_blocked(const Lane *lane, Error *out)
{
    int64_t seq = lane->checkpoint.next_seq;
    Error cause;

    lane_first_cause(lane, &cause);
    if (lane->sink->on_error == ROUTE_ERROR_STOP) {
        (void)error_set(out, ERR_INPUT,
                        "the message of seq %lld cannot be loaded, and the route's on_error is "
                        "stop: %s",
                        (long long)seq, cause.text);
    } else {
        (void)error_set(
            out, ERR_LIMIT,
            "there are %d dead letters more than %d for each row, so the table or the route is "
            "at fault; nothing from seq %lld on is loaded, which was refused, too: %s",
            POISON_LETTERS_MAX, POISON_ROW_REDEEMS, (long long)seq, cause.text);
    }
    (void)strlcpy(out->sqlstate, cause.sqlstate, sizeof(out->sqlstate));
}

const RowFault *
lane_find_fault(const Lane *lane, int64_t seq)
{
    const RowFault *fault = RB_ROOT(&lane->faults);

    while (fault != NULL && fault->seq != seq) {
        fault = seq < fault->seq ? RB_LEFT(fault, link) : RB_RIGHT(fault, link);
    }
    return fault;
}

PartCursor
part_cursor(const Part *part)
{
    return (PartCursor){
        .unit = STAILQ_FIRST(&part->lane->units),
        .item = part->lane->head_items,
        .left = part->items,
        .seq = part->lane->checkpoint.next_seq,
    };
}

bool
part_cursor_valid(PartCursor *cursor)
{
    if (cursor->left == 0) {
        return false;
    }
    while (cursor->item == cursor->unit->count) {
        cursor->unit = STAILQ_NEXT(cursor->unit, link);
        cursor->item = 0;
    }
    return true;
}

void
part_cursor_next(PartCursor *cursor)
{
    cursor->seq += unit_item_step(cursor->unit, cursor->item);
    cursor->item++;
    cursor->left--;
}
