/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dead letters of a transaction: whether its streams and their route may have so many, and what
 * says that it is the table or the route that refuses everything, and not the messages.
 */
#include "syncd/writer_internal.h"

#include "sql/queries.h"

/* All streams of the route are given up for now, since it is not about this one. */
void
writer_hold_route(Writer *writer, RouteHoldKind kind, const Error *why)
{
    Lane *lane = writer->transaction.parts[0].lane;

    route_hold(lane->hold, kind, why);
    writer_blame(writer, lane, LANE_HELD, &lane->hold->why);
}

void
writer_refuse_set(Writer *writer)
{
    const Part *part = &writer->transaction.parts[0];
    Error err;

    (void)error_set(&err, ERR_LIMIT,
                    "the table refuses %zu of %zu rows of the snapshot that ends at seq %lld, so "
                    "the table or the route is at fault: %.256s",
                    part->sifted, part->sifted + part->moved,
                    (long long)part->lane->checkpoint.next_seq, part->lane->sift->text);
    (void)memcpy(err.sqlstate, part->lane->sift->sqlstate, sizeof(err.sqlstate));
    lane_block(part->lane, &err);
    if (lane_is_held(part->lane)) {
        writer_blame(writer, part->lane, LANE_HELD, &part->lane->hold->why);
    } else {
        writer_blame(writer, part->lane, LANE_REFUSED, &err);
    }
}

/* Why all of the letters were refused, where that is of use: the first rows of a table tell whether
 * it takes any. */
static const Error *
letters_reason(const Writer *writer, size_t sifted, Error *reason)
{
    const Transaction *transaction = &writer->transaction;

    return sifted == 0 && transaction->letters > 0 && !transaction->parts[0].lane->hold->begun &&
                   transaction_letters_are_alike(transaction, reason)
               ? reason
               : NULL;
}

/* False: they are too many for the route, which is held. */
static bool
writer_admit_letters(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;
    RouteHold *hold = transaction->parts[0].lane->hold;
    size_t sifted = 0;
    size_t weight = 0;
    size_t rows = 0;
    Error reason;
    Error why;

    for (size_t i = 0; i < transaction->part_count; i++) {
        sifted += transaction->parts[i].sifted;
        weight += part_weight(&transaction->parts[i]);
        rows += transaction->parts[i].rows + transaction->parts[i].moved;
    }
    if (hold == NULL || transaction->letters + sifted == 0) {
        return true;
    }
    if (rows == 0 && route_hold_refuses_all(hold, letters_reason(writer, sifted, &reason),
                                            transaction->letters)) {
        route_hold_explain_all(&reason, &why);
    } else if (route_hold_admit(hold, weight, rows, &writer->admitted)) {
        return true;
    } else if (transaction->letters > 0) {
        transaction_first_letter(transaction, &reason);
        route_hold_explain(&reason, &why);
    } else { /* who sifts is alone */
        route_hold_explain(transaction->parts[0].lane->sift, &why);
    }
    writer_hold_route(writer, ROUTE_HOLD_STOP, &why);
    return false;
}

void
writer_note_letters(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;
    RouteHold *hold = transaction->parts[0].lane->hold;
    size_t letters = 0;
    size_t sifted = 0;
    Error reason;

    if (hold == NULL || hold->begun) {
        return;
    }
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];

        letters += part->letters;
        sifted += part->sifted;
    }
    if (letters + sifted > 0) {
        route_hold_note(hold, letters_reason(writer, sifted, &reason), letters + sifted);
    }
}

/* The built-in route's, which the catalogue does not look up. */
static bool
is_built_in_table(const Sink *sink, const char *table)
{
    return (sink == sink_default_events() && strcmp(table, "session_events") == 0) ||
           (sink == sink_default_chunks() && strcmp(table, "stream_chunks") == 0);
}

/* No row can be written while a column must have a value that the route does not fill.  Where the
 * catalogue has no such column of its table, a trigger says that of another one: then it is about
 * the row. */
bool
writer_table_is_at_fault(Writer *writer, const PgReply *reply)
{
    const Transaction *transaction = &writer->transaction;
    RouteHold *hold = transaction->parts[0].lane->hold;
    Error why;

    if (hold == NULL || strcmp(reply->err.sqlstate, "23502") != 0 ||
        (hold->table_seen && !is_built_in_table(transaction->sink, reply->table)) ||
        reply->column[0] == '\0' || sink_writes(transaction->sink, reply->column)) {
        return false;
    }
    (void)error_set(&why, ERR_CONFIG,
                    "%.256s: the route does not fill that column; map it, or give it a default",
                    reply->err.text);
    (void)memcpy(why.sqlstate, reply->err.sqlstate, sizeof(why.sqlstate));
    writer_hold_route(writer, ROUTE_HOLD_RETRY, &why);
    return true;
}

void
writer_send_letters(Writer *writer)
{
    Error err;

    if (!transaction_allows_letters(&writer->transaction)) {
        writer->force_long = true;
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (!part_allows_sifted(&writer->transaction.parts[0])) {
        writer_refuse_set(writer);
    } else if (!writer_admit_letters(writer)) {
        return;
    } else if (writer->transaction.letters == 0) {
        writer_send_end(writer);
    } else if (!transaction_encode_letters(&writer->transaction, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        writer_send_arrays(writer, WRITER_LETTERS, sql_dead_letters);
    }
}
