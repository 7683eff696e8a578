/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Postgres is asked for one lane, outside of transactions of rows: its position, a new
 * generation, its state.
 */
#include "syncd/writer_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "sql/queries.h"
#include "syncd/error_class.h"

static const LogScope scope = {.name = "syncd.writer"};

static void
lane_want(Writer *writer, Lane *lane, unsigned want)
{
    if (lane->leaving) {
        return;
    }
    if (lane->wants == 0) {
        TAILQ_INSERT_TAIL(&writer->jobs, lane, job_link);
    }
    lane->wants |= want;
    writer_schedule(writer);
}

static void
lane_unwant(Writer *writer, Lane *lane, unsigned want)
{
    DS_ASSERT((lane->wants & want) != 0);
    lane->wants &= ~want;
    TAILQ_REMOVE(&writer->jobs, lane, job_link);
    if (lane->wants != 0) {
        TAILQ_INSERT_TAIL(&writer->jobs, lane, job_link);
    }
}

/* Somebody holds a row of this stream, or all of Postgres is slow: the other lanes go on.  Nothing
 * waits for the state: it is told again when the writer has rested from it as long as it took.  For
 * as long rows go first: where many positions are locked, the next job may stall as well. */
static void
job_stalled(Writer *writer, Lane *lane, const Error *err)
{
    int64_t now_ns = clock_mono_ns();
    int64_t took_ms = (now_ns - writer->job_begun_ns) / 1000000;

    writer->rows_first_ns = now_ns + (now_ns - writer->job_begun_ns);
    if (lane == NULL) {
        return;
    }
    if (writer->job == LANE_WANTS_STATE) {
        timer_start(writer->rest, took_ms);
        lane_want(writer, lane, writer->job);
        return;
    }
    lane->stalled_ms = took_ms;
    writer_trouble(writer, lane, LANE_STALLED, err);
}

static void
number_text(char *out, size_t size, int64_t number)
{
    (void)snprintf(out, size, "%lld", (long long)number); /* 24 bytes hold any */
}

static const char *
bool_text(bool value)
{
    return value ? "true" : "false";
}

/* Each parameter is terminated: the names come from the session as C strings. */
static void
job_start_load(Writer *writer, Lane *lane)
{
    char epoch[24];
    PgParam params[7] = {
        {.value = lane->source.ptr},
        {.value = lane->name.ptr},
        {.value = lane->owner.ptr},
        {.value = lane->route.ptr},
        {.value = epoch},
        {.value = bool_text(lane->from_start)},
        {.value = writer->lock_limit},
    };

    number_text(epoch, sizeof(epoch), lane->lease_epoch);
    lane->loaded = false;
    pg_query(writer->pg, sql_load_checkpoint, params, DS_COUNT(params), writer_on_reply, writer);
    writer_silence_if(writer, FAULT("writer.load_silent"));
}

static void
job_start_generation(Writer *writer, Lane *lane)
{
    char id[24];
    char epoch[24];
    char generation[24];
    PgParam params[4] = {
        {.value = id}, {.value = epoch}, {.value = generation}, {.value = writer->lock_limit}};

    number_text(id, sizeof(id), lane->checkpoint.stream_id);
    number_text(epoch, sizeof(epoch), lane->checkpoint.epoch);
    number_text(generation, sizeof(generation), lane->checkpoint.generation);
    lane->loaded = false;
    pg_query(writer->pg, sql_new_generation, params, DS_COUNT(params), writer_on_reply, writer);
}

static void
job_start_state(Writer *writer, Lane *lane)
{
    char id[24];
    char epoch[24];
    PgParam params[8] = {
        {.value = id},
        {.value = epoch},
        {.value = lane->state.ptr},
        {.value = lane->reason.len > 0 ? buf_cstr(&lane->reason) : NULL},
        {.value = lane->content_type.len > 0 ? buf_cstr(&lane->content_type) : NULL},
        {.value = bool_text(lane->from_start)},
        {.value = bool_text(lane->gone)},
        {.value = writer->lock_limit},
    };

    number_text(id, sizeof(id), lane->checkpoint.stream_id);
    number_text(epoch, sizeof(epoch), lane->checkpoint.epoch);
    pg_query(writer->pg, sql_set_state, params, DS_COUNT(params), writer_on_reply, writer);
}

static void
job_told(Lane *lane)
{
    if ((lane->wants & LANE_WANTS_STATE) == 0) {
        buf_done(&lane->reason); /* rarely needed again */
        buf_done(&lane->content_type);
        lane->callbacks->on_released(lane->arg);
    }
}

Lane *
writer_job_next(const Writer *writer)
{
    Lane *lane;

    TAILQ_FOREACH (lane, &writer->jobs, job_link) {
        if (!timer_active(writer->rest) || (lane->wants & ~LANE_WANTS_STATE) != 0) {
            return lane;
        }
    }
    return NULL;
}

void
writer_job_start(Writer *writer, Lane *lane)
{
    DS_ASSERT(!lane->in_flight);
    writer_enter(writer, WRITER_JOB);
    writer_command_started(writer);
    writer->job_begun_ns = clock_mono_ns();
    writer->job_lane = lane;
    if (lane->wants & LANE_WANTS_LOAD) {
        writer->job = LANE_WANTS_LOAD;
        job_start_load(writer, lane);
    } else if (lane->wants & LANE_WANTS_GENERATION) {
        writer->job = LANE_WANTS_GENERATION;
        job_start_generation(writer, lane);
    } else {
        writer->job = LANE_WANTS_STATE;
        lane->telling = true;
        job_start_state(writer, lane);
    }
    lane_unwant(writer, lane, writer->job); /* what is asked for meanwhile is asked for anew */
}

/* The lane's position is fresh: what was read from elsewhere is of no use. */
static void
job_loaded(Lane *lane)
{
    lane_clear(lane);
    lane->loaded = true;
    if (lane->hold != NULL && lane->hold->alike == 0 && lane->checkpoint.next_seq > 0) {
        lane->hold->begun = true; /* so its table took something before */
    }
    if (FAULT("checkpoint.loaded")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    lane->callbacks->on_loaded(lane->arg);
}

/* False: the connection is in trouble and the job is wanted again; lane is NULL when it is not any
 * more. */
static bool
job_failed(Writer *writer, Lane *lane, const PgReply *reply)
{
    ErrorAction action =
        error_class_info(error_class_of_postgres(reply->error_class, reply->err.sqlstate))->action;

    if (action == ERROR_ACTION_RETRY_ALONE) {
        job_stalled(writer, lane, &reply->err);
        return true;
    }
    if (action != ERROR_ACTION_DEAD_LETTER) {
        if (lane != NULL) {
            lane_want(writer, lane, writer->job);
        }
        if (reply->error_class == PG_ERROR_CONNECTION) {
            writer_lost(writer, reply);
        } else {
            writer_wait(writer, reply);
        }
        return false;
    }
    if (lane != NULL) {
        writer_trouble(writer, lane, LANE_REFUSED, &reply->err);
    }
    return true;
}

/* No row: the position is not ours to load, or not the one that we knew. */
static void
job_missed(Writer *writer, Lane *lane, unsigned job)
{
    Error err;

    if (job == LANE_WANTS_GENERATION) {
        /* An answer of ours was lost, or we are fenced: loading tells. */
        lane_want(writer, lane, LANE_WANTS_LOAD);
        return;
    }
    (void)error_set(&err, ERR_CONFLICT, "fenced: a later epoch than %lld has taken over",
                    (long long)lane->lease_epoch);
    writer_trouble(writer, lane, LANE_FENCED, &err);
}

void
writer_job_reply(Writer *writer, const PgReply *reply)
{
    Lane *lane = writer->job_lane;
    unsigned job = writer->job;
    Checkpoint checkpoint;
    Error err;

    if (lane != NULL) {
        lane->telling = false;
    }
    if (!reply->ok) {
        if (job_failed(writer, lane, reply)) {
            writer_enter(writer, WRITER_IDLE);
            writer_schedule(writer);
        }
        return;
    }
    writer_succeeded(writer);
    writer_enter(writer, WRITER_IDLE);
    writer_schedule(writer);
    if (lane == NULL) {
        return;
    }
    if (job == LANE_WANTS_STATE) {
        job_told(lane);
        return;
    }
    if (reply->rows == 0) {
        job_missed(writer, lane, job);
        return;
    }
    if (!checkpoint_read(reply, 0, &checkpoint, &err)) {
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    lane->checkpoint = checkpoint;
    if (job == LANE_WANTS_LOAD) {
        lane_remember(lane, str_eq(pg_get(reply, 0, 7), STR("t")),
                      str_eq(pg_get(reply, 0, 8), STR("t")));
        lane->snapshot_open = str_eq(pg_get(reply, 0, 9), STR("t"));
    } else {
        lane->gone = false; /* the generation is of what came again */
        lane->snapshot_open = false;
    }
    job_loaded(lane);
}

void
writer_job_lost(Writer *writer)
{
    if (writer->job_lane != NULL) {
        writer->job_lane->telling = false;
        lane_want(writer, writer->job_lane, writer->job);
    }
}

void
writer_load(Writer *writer, Lane *lane)
{
    lane_want(writer, lane, LANE_WANTS_LOAD);
}

void
writer_new_generation(Writer *writer, Lane *lane)
{
    lane_want(writer, lane, LANE_WANTS_GENERATION);
}

void
writer_set_state(Writer *writer, Lane *lane, Str state, Str reason, Str content_type)
{
    Error err;

    lane->state = state;
    buf_reset(&lane->reason);
    buf_reset(&lane->content_type);
    /* For people: what does not fit is cut. */
    if (!buf_append(&lane->reason, str_head(reason, lane->reason.max - 1), &err) ||
        !buf_append(&lane->content_type, str_head(content_type, lane->content_type.max - 1),
                    &err)) {
        log_debug(&scope, LOG_FIELDS(), "%s", err.text);
    }
    lane_want(writer, lane, LANE_WANTS_STATE);
}
