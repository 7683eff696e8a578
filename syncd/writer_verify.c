/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Behind a new connection may be another server: a standby that was promoted and had not got all
 * that was committed.  The guard of the next transaction would notice, but a stream that rests has
 * none, so every position that is believed is looked at once.
 */
#include "syncd/writer_internal.h"

#include "sql/queries.h"

#define VERIFY_BYTES_MAX (64u << 20) /* of ids; far above what SYNCD_STREAMS_MAX lanes need */

static bool
verify_append(Buf *ids, Lane *lane, int row)
{
    Error err;

    lane->verify_row = row;
    return buf_printf(ids, &err, row == 1 ? "%lld" : ",%lld",
                      (long long)lane->checkpoint.stream_id);
}

bool
writer_verify(Writer *writer)
{
    PgParam param;
    Lane *lane;
    Buf ids;
    Error err;
    int rows = 0;
    bool built;

    writer->unverified = false;
    buf_init(&ids, VERIFY_BYTES_MAX);
    built = buf_append(&ids, STR("{"), &err);
    TAILQ_FOREACH (lane, &writer->lanes, all_link) {
        lane->verify_row = 0;
        if (lane->loaded && !lane->leaving) {
            built = built && verify_append(&ids, lane, ++rows);
        }
    }
    built = built && buf_append(&ids, STR("}"), &err);
    DS_ASSERT(built); /* 21 bytes each at most */
    if (rows > 0) {
        writer_enter(writer, WRITER_VERIFY);
        writer_command_started(writer);
        param = (PgParam){.value = buf_cstr(&ids)};
        pg_query(writer->pg, sql_verify_positions, &param, 1, writer_on_reply, writer);
    }
    buf_done(&ids);
    return rows > 0;
}

static void
verify_lane(Writer *writer, const PgReply *reply, Lane *lane, int row)
{
    Checkpoint found;
    Error err;

    if (pg_is_null(reply, row, 0)) {
        (void)error_set(&err, ERR_CONFLICT, "Postgres has lost its position");
        writer_trouble(writer, lane, LANE_MOVED, &err);
        return;
    }
    if (!checkpoint_read(reply, row, &found, &err)) {
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    switch (checkpoint_judge(&found, &lane->checkpoint, &lane->checkpoint)) {
    case CHECKPOINT_NEW:
    case CHECKPOINT_OLD:
        break;
    case CHECKPOINT_FENCED:
        (void)error_set(&err, ERR_CONFLICT, "fenced: epoch %lld has taken over from epoch %lld",
                        (long long)found.epoch, (long long)lane->checkpoint.epoch);
        writer_trouble(writer, lane, LANE_FENCED, &err);
        break;
    case CHECKPOINT_MOVED:
        (void)error_set(&err, ERR_CONFLICT,
                        "Postgres was connected to anew and has it at %s, skip %lld, next_seq "
                        "%lld: it lost what was committed behind that, or somebody moved it",
                        found.position.offset, (long long)found.position.skip,
                        (long long)found.next_seq);
        writer_trouble(writer, lane, LANE_MOVED, &err);
        break;
    }
}

void
writer_verify_reply(Writer *writer, const PgReply *reply)
{
    Lane *lane;
    Lane *next;

    if (!reply->ok) {
        writer->unverified = true;
        if (reply->error_class == PG_ERROR_CONNECTION) {
            writer_lost(writer, reply);
        } else {
            writer_wait(writer, reply);
        }
        return;
    }
    writer_succeeded(writer);
    writer_enter(writer, WRITER_IDLE);
    for (lane = TAILQ_FIRST(&writer->lanes); lane != NULL; lane = next) {
        int row = lane->verify_row;

        next = TAILQ_NEXT(lane, all_link);
        lane->verify_row = 0;
        if (row > 0 && row <= reply->rows && lane->loaded && !lane->leaving) {
            verify_lane(writer, reply, lane, row - 1);
        }
    }
    writer_schedule(writer);
}
