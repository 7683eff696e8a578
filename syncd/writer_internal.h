/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/writer_internal.h -- what writer.c (connection, lanes, trouble), writer_job.c (positions
 * and states) and writer_write.c (the transaction) share.
 */
#pragma once

#include "common/backoff.h"
#include "syncd/transaction.h"
#include "syncd/transaction_state.h"
#include "syncd/writer.h"

#define WRITER_COMMAND_MS_MIN                                                                      \
    60000                          /* no answer for so long: the connection is given up; longer    \
                                      where statements may take more than half of it */
#define WRITER_FAILURES_MAX   10   /* unknown errors in a row before a stream is failed */
#define WRITER_CLASHES_MAX    3    /* rows that are there already before a stream is failed */
#define WRITER_LINE_TRIES_MAX 2    /* bad rows found by COPY's line before the sieve is used */
#define WRITER_SLICE_ROWS     1000 /* of a sieve, and of a first COPY */
#define WRITER_BEGIN_SIZE     256
#define WRITER_IDLE_MS_MAX    5000 /* of a transaction, between two statements */

typedef enum WriterState {
    WRITER_OFF,
    WRITER_CONNECT,
    WRITER_WAIT,   /* trouble: until the timer says to try again */
    WRITER_SETTLE, /* reads the positions of a transaction whose outcome is unknown */
    WRITER_VERIFY, /* reads all positions: another connection may be to another server */
    WRITER_IDLE,
    WRITER_JOB,   /* load, new generation or state of one lane */
    WRITER_SMALL, /* guard and rows in one statement */
    WRITER_BEGIN,
    WRITER_GUARD,
    WRITER_ROWS,
    WRITER_SIEVE_FILL, /* hands over rows of which more than a few may be bad */
    WRITER_SIEVE,      /* tries each of them alone */
    WRITER_CHANGES,    /* of a table of state, step by step */
    WRITER_LETTERS,
    WRITER_PAD,
    WRITER_COMMIT,
    WRITER_ROLLBACK,
    WRITER_STATE_COUNT
} WriterState;

/* What follows a ROLLBACK. */
typedef enum WriterAfter {
    WRITER_AFTER_RETRY,  /* compose again at once */
    WRITER_AFTER_WAIT,   /* compose again when the timer says so */
    WRITER_AFTER_SETTLE, /* read the positions first */
    WRITER_AFTER_BLAME,  /* the only lane of the transaction is in trouble */
} WriterAfter;

/* The statements of WRITER_CHANGES, in their order. */
typedef enum StateStep {
    STATE_STEP_OPEN,
    STATE_STEP_CHECK,
    STATE_STEP_DROP, /* in pages, as many statements as it takes */
    STATE_STEP_STAGE,
    STATE_STEP_REMOVE, /* likewise */
    STATE_STEP_MOVE,   /* likewise */
    STATE_STEP_CLEAR,  /* likewise */
    STATE_STEP_APPLY,
    STATE_STEP_MARK,
    STATE_STEP_COUNT
} StateStep;

struct Writer {
    Loop *loop;
    WriterConfig config;
    Pg *pg;
    WriterState state;
    LoopTimer *retry;    /* WRITER_WAIT */
    LoopTimer *deadline; /* of the running command */
    LoopTimer *patience; /* runs from the first trouble on */
    LoopTimer *rest;     /* runs while no states are stored, since that took too long */
    int64_t job_begun_ns;
    int64_t rows_first_ns; /* until then rows go before jobs, since one took too long */
    Backoff backoff;
    bool pick_scheduled;
    bool up;
    bool down;       /* lanes were told */
    bool unverified; /* the connection is new, and nobody has looked at the positions yet */
    TAILQ_HEAD(, Lane) lanes;
    TAILQ_HEAD(, Lane) ready;
    TAILQ_HEAD(, Lane) jobs;
    Lane *job_lane;
    unsigned job; /* LANE_WANTS_* that runs */
    Transaction transaction;
    int64_t begun_ns;
    char begin_sql[WRITER_BEGIN_SIZE];
    char lock_limit[24]; /* of statements outside a transaction, "30000ms" */
    Buf scratch;

    /* How the next transactions are made, after trouble. */
    size_t admitted;     /* what its route counts as under way because of this one */
    bool force_long;     /* no small statement: COPY says which line is bad */
    unsigned line_tries; /* rows marked bad since the last commit */
    bool clashed;        /* rows were there already: settle knows why it was called */

    WriterAfter after;
    PgReply waits_for; /* WRITER_AFTER_WAIT: class and error only */
    Lane *blame_lane;  /* WRITER_AFTER_BLAME */
    LaneTrouble blame;
    Error blame_err;

    size_t range_first; /* rows of the slice that is being sent */
    size_t range_end;
    bool slice_failed; /* the newest slice could not be encoded */
    Error slice_err;
    size_t rows_sent;

    StateStep state_step; /* WRITER_CHANGES */
    size_t state_put;     /* rows that SINK_STATE_PUT is to write; 0: another statement is sent */
    StatePage state_page; /* of a step in pages */
    StateSets state_sets[TRANSACTION_PARTS_MAX];
    StateFold fold;
};

/* writer.c */
void writer_enter(Writer *writer, WriterState state);
void writer_on_reply(void *arg, const PgReply *reply); /* every command's callback */
void writer_command_started(Writer *writer);
void writer_succeeded(Writer *writer); /* Postgres answered well: trouble is over */
void writer_schedule(Writer *writer);  /* pick work at the end of this turn */
void writer_lost(Writer *writer, const PgReply *reply); /* the connection; it is made again */
void writer_wait(Writer *writer, const PgReply *reply); /* logs, and tries again later */
void writer_trouble(Writer *writer, Lane *lane, LaneTrouble trouble, const Error *err);

/* writer_job.c */
Lane *writer_job_next(const Writer *writer); /* NULL: nothing but states that stalled, for now */
void writer_job_start(Writer *writer, Lane *lane);
void writer_job_reply(Writer *writer, const PgReply *reply);
void writer_job_lost(Writer *writer); /* its answer will not come: it is wanted again */

/* writer_write.c */
bool writer_compose(Writer *writer); /* false: nothing to write */
void writer_begin(Writer *writer);
void writer_write_reply(Writer *writer, const PgReply *reply);
void writer_write_failed(Writer *writer, const PgReply *reply);
void writer_send(Writer *writer, WriterState state, const char *sql);
void writer_send_arrays(Writer *writer, WriterState state, const char *sql);
void writer_send_end(Writer *writer); /* what follows rows and letters */
/* The transaction takes too long.  False: it is of one lane, and cannot be smaller. */
bool writer_split_stalled(Writer *writer);
void writer_idle(Writer *writer);
void writer_drop_if(Writer *writer, bool fault);    /* a fault point drops the connection */
void writer_silence_if(Writer *writer, bool fault); /* it gives up waiting for an answer */
void writer_give_up(Writer *writer, WriterAfter after);
void writer_try_each_alone(Writer *writer); /* each lane of the transaction, in its next one */
/* One lane is at fault; NULL: whichever it is, and among several each is tried alone first. */
void writer_blame(Writer *writer, Lane *lane, LaneTrouble trouble, const Error *err);
void writer_count_settled(Writer *writer); /* before parts go: no letter is under way any more */
void writer_release(Writer *writer, const Part *part);          /* nothing of it was committed */
void writer_acknowledge_part(Writer *writer, const Part *part); /* it was */
/* The reply's first column names the stream, and its rows are in that order; *out_row is where. */
bool writer_reply_has(const PgReply *reply, int64_t stream_id, int *out_row);

/* writer_letters.c */
void writer_hold_route(Writer *writer, RouteHoldKind kind, const Error *why);
void writer_send_letters(Writer *writer); /* what follows the rows */
void writer_note_letters(Writer *writer); /* before the parts of what is committed go */
void writer_refuse_set(Writer *writer);   /* the table refuses nearly all of one that ends */
/* True: no row can be written, and the route is held. */
bool writer_table_is_at_fault(Writer *writer, const PgReply *reply);

/* writer_rows.c */
bool writer_sieves(const Writer *writer); /* bad rows were found too often for COPY's line */
void writer_begin_rows(Writer *writer);   /* encodes the first of them, while BEGIN is under way */
void writer_send_rows(Writer *writer);    /* the next range of rows, or what follows the last one */
void writer_rows_reply(Writer *writer, const PgReply *reply);

/* writer_state.c */
bool writer_starts_page(const Writer *writer); /* the arrays are of the first page of a set */
void writer_send_changes(Writer *writer);
void writer_changes_reply(Writer *writer, const PgReply *reply);
/* A change was refused, also when the transaction ended: finds it by the sieve, or by shorter
 * transactions. */
void writer_changes_refused(Writer *writer, const PgReply *reply);

/* writer_settle.c */
void writer_settle(Writer *writer);
void writer_settle_reply(Writer *writer, const PgReply *reply);

/* writer_verify.c */
bool writer_verify(Writer *writer); /* false: there is nothing to look at */
void writer_verify_reply(Writer *writer, const PgReply *reply);
