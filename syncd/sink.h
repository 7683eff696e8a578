/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/sink.h -- what a route's rows look like in Postgres: the table, its columns, which part of
 * a message goes into which, and the statements, made once for each sink.
 *
 * Immutable after sink_new, so its fields may be read by everybody, and reference-counted: lanes
 * hold one each.  Used on the loop's thread only.
 *
 * A row's columns are, in this order: stream_name, generation, seq, ds_offset; of events those of
 * SINK_EVENT_COLUMNS that the table has; the mapped ones; the payload.  Rows of state are written
 * by statements of their own (stream_name, type, key, seq, mapped ones, payload).
 */
#pragma once

#include "common/json_pointer.h"
#include "common/route_spec.h"
#include "syncd/event_map.h"
#include "syncd/poison.h"

#define SINK_EVENT_COLUMNS 3 /* event_key, event_type, operation */
#define SINK_VALUES_MAX    (SINK_EVENT_COLUMNS + ROUTE_COLUMNS_MAX + 1)
#define SINK_COLUMNS_MAX   1600 /* of a table: Postgres's own limit */
#define SINK_SQL_BYTES_MAX (256u << 10)

/* What a unit holds (syncd/unit.h). */
typedef enum UnitKind { UNIT_JSON, UNIT_BYTES } UnitKind;

/* A column as the catalogue has it. */
typedef struct SinkTableColumn {
    const char *name;
    const char *type; /* as table_columns.sql writes it: goes into statements as it is */
    bool not_null;
    bool has_default; /* or fills itself in another way */
    bool generated;   /* nobody may write it */
} SinkTableColumn;

typedef struct SinkTable {
    const SinkTableColumn *columns;
    size_t count; /* 0: there is no such table */
} SinkTable;

/* A value behind the place of a row. */
typedef struct SinkValue {
    char *column;  /* as it is called */
    char *type;    /* of the column, SQL text */
    char *pointer; /* of a mapped one, else NULL */
    bool required;
} SinkValue;

/* What is asked of a table of state: sql/queries/sink_state_*.sql. */
typedef enum SinkStateSql {
    SINK_STATE_CHECK,
    SINK_STATE_STAGE,
    SINK_STATE_REMOVE,
    SINK_STATE_MOVE,
    SINK_STATE_SIFT,
    SINK_STATE_FILL, /* sink_sieve_fill.sql */
    SINK_STATE_SIEVE,
    SINK_STATE_CLEAR,
    SINK_STATE_APPLY,
    SINK_STATE_PUT, /* instead, where all changes set */
    SINK_STATE_COUNT
} SinkStateSql;

typedef struct Sink Sink;
struct Sink {
    unsigned refs;
    char *route;
    RouteKind kind;
    RoutePayload payload;
    RouteOnError on_error;
    char *name_prefix; /* stands before the stream's name in stream_name */
    char *table;       /* schema and name, quoted */
    bool has_event[SINK_EVENT_COLUMNS];
    SinkValue values[SINK_VALUES_MAX]; /* event columns, mapped ones, the payload last */
    size_t value_count;
    size_t mapped_first; /* of values */
    size_t mapped_count;
    JsonPointers *pointers;            /* of the mapped ones, in their order; NULL without any */
    unsigned poison_traits;            /* JsonTrait bits that the payload's type cannot hold */
    char *small_sql;                   /* the guard and the rows in one statement; NULL for state */
    char *one_sql;                     /* the same for one stream and one row; NULL for state */
    char *copy_sql;                    /* NULL for state */
    char *sieve_fill_sql;              /* hands the rows over to the next one; NULL for state */
    char *sieve_sql;                   /* tries each row alone; NULL for state */
    char *state_sql[SINK_STATE_COUNT]; /* NULL unless of state */
    Sink *of_bytes;                    /* the default events sink only: where byte streams go */
};

/* The spec and the table are borrowed until it returns.  ERR_CONFIG: the table does not suit the
 * route; the text says what to do. */
DS_MUST_CHECK bool sink_new(const RouteSpec *spec, const SinkTable *table, Sink **out, Error *err);
Sink *sink_ref(Sink *sink);
bool sink_writes(const Sink *sink, const char *column); /* as it is called */
void sink_unref(Sink *sink);                            /* accepts NULL */

/* Of SYNCD_STREAMS: ds_sync.session_events and ds_sync.stream_chunks.  Made once, never freed. */
Sink *sink_default_events(void); /* its of_bytes is the one below */
Sink *sink_default_chunks(void);

/* Where units of that kind go: the sink, the one it names for bytes, or NULL when the
 * route does not take such streams. */
Sink *sink_of_kind(Sink *sink, UnitKind kind);
/* Why a route does not take streams of that kind, for people. */
const char *sink_refusal(const Sink *sink);

/* What keeps a message out, as far as the scanner saw it. */
PoisonReason sink_judge(const Sink *sink, unsigned json_traits);
/* What keeps a chunk out. */
PoisonReason sink_judge_chunk(const Sink *sink, Str bytes);

/* What goes into one of sink->values: a part of the message, or of the chunk. */
typedef struct SinkText {
    Str text;
    bool is_null;
    bool is_json_string; /* in quotes and escapes that the column does not get */
    bool is_bytes;       /* of a bytea column */
} SinkText;

/* A message that is valid JSON, or a chunk. */
typedef struct SinkItem {
    Str text;
    bool has_columns; /* somebody looked for them already */
    EventColumns columns;
} SinkItem;

/* out has room for value_count of them.  ERR_INPUT with an SQLSTATE: the row is at fault. */
DS_MUST_CHECK bool sink_texts(const Sink *sink, const SinkItem *item, SinkText *out, Error *err);
/* The same where what is required may be missing: then it is null. */
void sink_texts_there(const Sink *sink, const SinkItem *item, SinkText *out);
/* The text of sink->values[value], not null: as it lies, or decoded into scratch.  Errors as
 * above, and ERR_LIMIT when scratch cannot take it. */
DS_MUST_CHECK bool sink_decode(const Sink *sink, size_t value, const SinkText *text, Buf *scratch,
                               Str *out, Error *err);
