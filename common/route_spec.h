/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_spec.h -- a route as an operator declares it: which streams go into which table, and
 * how.  docs/routes.md describes every member.
 *
 * Parsed strictly from JSON: what is unknown, contradictory or without effect is ERR_INPUT, with
 * the nearest known word and what to do.  Printed as canonical JSON with every member spelled out,
 * which is what ds_sync.route.spec holds; what was printed parses to the same.  Whether the table
 * suits is for whoever has a catalogue.  Pure.
 *
 * Texts are owned by the spec and terminated; those that a spec does not have are NULL, but
 * name_prefix is "" then.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"
#include "common/str.h"

#define ROUTE_FILE_BYTES_MAX   (4u << 20)
#define ROUTE_SPEC_BYTES_MAX   (1u << 20) /* printed */
#define ROUTES_MAX             256        /* of one file, and stored */
#define ROUTE_PROBLEMS_MAX     20         /* that are told; the others are counted */
#define ROUTE_NAME_BYTES_MAX   63
#define ROUTE_STREAMS_MAX      256 /* names and patterns of one route */
#define ROUTE_COLUMNS_MAX      32  /* mapped columns of one route */
#define ROUTE_POINTER_BYTES    1024
#define ROUTE_TYPE_BYTES_MAX   128
#define ROUTE_PREFIX_BYTES_MAX 255
#define ROUTE_TABLE_BYTES_MAX  63 /* Postgres cuts longer identifiers without a word */
#define ROUTE_LAID_BYTES_MAX   48 /* the same, where leaves need room for their suffix */
#define ROUTE_HASH_MAX         256
#define ROUTE_LIST_MAX         256
#define ROUTE_GRACE_MS_DEFAULT INT64_C(600000)
#define ROUTE_GRACE_MS_MAX     (INT64_C(366) * 86400000)

/* What SYNCD_STREAMS makes; no declared route is called so. */
#define ROUTE_DEFAULT_NAME "default"

typedef enum RouteKind { ROUTE_EVENTS, ROUTE_CHUNKS, ROUTE_STATE, ROUTE_KIND_COUNT } RouteKind;
typedef enum RoutePayload {
    ROUTE_PAYLOAD_JSONB,
    ROUTE_PAYLOAD_JSON,
    ROUTE_PAYLOAD_TEXT,
    ROUTE_PAYLOAD_BYTEA,
    ROUTE_PAYLOAD_COUNT
} RoutePayload;
typedef enum RouteStart { ROUTE_START_EARLIEST, ROUTE_START_NOW, ROUTE_START_OFFSET } RouteStart;
typedef enum RouteOnError { ROUTE_ERROR_DEAD_LETTER, ROUTE_ERROR_STOP } RouteOnError;
typedef enum RouteOnRecreate { ROUTE_RECREATE_STOP, ROUTE_RECREATE_NEW_GENERATION } RouteOnRecreate;
typedef enum RouteTtl { ROUTE_TTL_RESPECT, ROUTE_TTL_HOLD } RouteTtl;
typedef enum RouteAfterSync {
    ROUTE_AFTER_KEEP,
    ROUTE_AFTER_TRIM,
    ROUTE_AFTER_DELETE_CLOSED
} RouteAfterSync;
typedef enum RouteLayoutKind {
    ROUTE_LAYOUT_NONE,
    ROUTE_LAYOUT_HASH,
    ROUTE_LAYOUT_LIST
} RouteLayoutKind;

typedef struct RouteColumn {
    char *name;
    char *pointer; /* RFC 6901, into the message; begins with a slash */
    char *type;    /* a Postgres type's name: letters, digits and " _.,()[]\"" only */
    bool required; /* NULL is a row fault */
} RouteColumn;

typedef struct RouteSpec {
    char *name;
    char *server;
    char *schema;
    char *table;
    char *name_prefix;
    char *payload_column;
    char *start_offset;
    char **streams; /* names and patterns (common/stream_glob.h) */
    size_t stream_count;
    RouteColumn *columns;
    size_t column_count;
    RouteKind kind;
    RoutePayload payload;
    RouteStart start;
    RouteOnError on_error;
    RouteOnRecreate on_recreate;
    RouteTtl ttl;
    RouteAfterSync after_sync;
    int64_t grace_ms; /* 0 with ROUTE_AFTER_KEEP */
    RouteLayoutKind layout;
    unsigned hash_count;
    char **list_prefixes; /* of stream_name in the table, name_prefix included */
    size_t list_count;
    bool publish;
} RouteSpec;

/* One route object.  *out is overwritten; route_spec_done it.  The error is the first mistake. */
DS_MUST_CHECK bool route_spec_parse(RouteSpec *out, Str json, Error *err);
void route_spec_done(RouteSpec *spec); /* a zeroed spec is fine */

/* All that is wrong, so that it can be mended at one go: the first ones are kept, all are counted.
 * What is judged by another part is not judged where that part is itself wrong. */
typedef struct RouteProblems {
    Error kept[ROUTE_PROBLEMS_MAX];
    size_t count;
} RouteProblems;

typedef struct RouteFile {
    RouteSpec *specs; /* the routes that have no mistake of their own */
    size_t count;
    char **names; /* one for each route of the file, NULL where it has none */
    size_t name_count;
    RouteProblems problems; /* mistakes (ERR_INPUT), then conflicts (ERR_CONFLICT) */
} RouteFile;

/* The whole file {"routes": [...]}, conflicts between its routes included; without problems all of
 * its routes are in *out, which is overwritten.  route_file_done it. */
void route_file_read(RouteFile *out, Str json);
void route_file_done(RouteFile *file); /* a zeroed file is fine */

/* Adds ERR_CONFLICT for what keeps two routes from being there together: one name, or that they
 * would disturb each other in one table.  The first `settled` are not compared with each other. */
void route_specs_check(const RouteSpec *const *specs, size_t count, size_t settled,
                       RouteProblems *problems);

/* Canonical JSON, appended; out needs room for ROUTE_SPEC_BYTES_MAX. */
DS_MUST_CHECK bool route_spec_print(const RouteSpec *spec, Buf *out, Error *err);

/* name as the server has it, without name_prefix. */
bool route_spec_matches(const RouteSpec *spec, Str name);

const char *route_kind_name(RouteKind kind);          /* "events", ... */
const char *route_payload_name(RoutePayload payload); /* "jsonb", ...: also the Postgres type */
