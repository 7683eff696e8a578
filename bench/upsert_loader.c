/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/upsert_loader.c -- the bare libpq loader that syncd's table of state is compared with.
 *
 * usage: bench-upsert-loader BATCHES_FILE     (POSTGRES_URL says where)
 *
 * Loads public.bench_state with the transactions that syncd makes and nothing around them: a
 * guarded UPDATE of stream_offset, one upsert of all rows by (stream_name, type, key), COMMIT. Each
 * line of the file is a transaction: how many rows, an array of keys and one of values, with tabs
 * between them; the file is read before the first of them is sent.
 */
#include <libpq-fe.h>

#include "bench/loader.h"
#include "common/buf.h"
#include "common/parse.h"

static const char make_sql[] =
    "WITH made AS (INSERT INTO ds_sync.stream (source, name, content_type) "
    "VALUES ('bench', 'bench-state', 'application/json') RETURNING stream_id) "
    "INSERT INTO ds_sync.stream_offset (stream_id, epoch) SELECT stream_id, 1 FROM made";
static const char guard_sql[] =
    "UPDATE ds_sync.stream_offset o SET next_seq = $1::bigint + $2::bigint, "
    "updated_at = clock_timestamp() FROM ds_sync.stream s "
    "WHERE s.name = 'bench-state' AND o.stream_id = s.stream_id AND o.epoch = 1 "
    "AND o.next_seq = $1::bigint";
static const char upsert_sql[] =
    "INSERT INTO public.bench_state AS t (stream_name, type, key, seq, value) "
    "SELECT 'bench-state', 'message', r.key, $1::bigint + r.number - 1, r.value::jsonb "
    "FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS r (key, value, number) "
    "ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq, value = excluded.value "
    "WHERE t.seq < excluded.seq";

static void
run(PGconn *conn, const char *sql, const char *const *values, int count, const char *tag)
{
    PGresult *result = PQexecParams(conn, sql, count, NULL, values, NULL, NULL, 0);

    if (PQresultStatus(result) != PGRES_COMMAND_OK || strcmp(PQcmdStatus(result), tag) != 0) {
        loader_die(PQresultStatus(result) == PGRES_COMMAND_OK ? PQcmdStatus(result)
                                                              : PQerrorMessage(conn));
    }
    PQclear(result);
}

/* The three fields of a line, each terminated in place. */
static void
split(char *line, char *fields[3])
{
    for (size_t i = 0; i < 3; i++) {
        fields[i] = line;
        line = i < 2 ? strchr(line, '\t') : NULL;
        if (line != NULL) {
            *line++ = '\0';
        } else if (i < 2) {
            loader_die("a line has fewer than three fields");
        }
    }
}

static uint64_t
load(PGconn *conn, char *line, uint64_t seq)
{
    char *fields[3];
    char first[24];
    char tag[48];
    uint64_t rows;

    split(line, fields);
    if (!parse_u64(str_c(fields[0]), LOADER_FILE_BYTES_MAX, &rows)) {
        loader_die("a line does not begin with a number");
    }
    (void)snprintf(first, sizeof(first), "%llu", (unsigned long long)seq);
    (void)snprintf(tag, sizeof(tag), "INSERT 0 %llu", (unsigned long long)rows);
    const char *const moved[] = {first, fields[0]};
    const char *const written[] = {first, fields[1], fields[2]};

    run(conn, "BEGIN", NULL, 0, "BEGIN");
    run(conn, guard_sql, moved, DS_COUNT(moved), "UPDATE 1");
    run(conn, upsert_sql, written, DS_COUNT(written), tag);
    run(conn, "COMMIT", NULL, 0, "COMMIT");
    return rows;
}

int
main(int argc, char **argv)
{
    const char *url = getenv("POSTGRES_URL");
    uint64_t seq = 0;
    Buf file;

    if (argc != 2 || url == NULL) {
        (void)fprintf(stderr, "usage: POSTGRES_URL=... bench-upsert-loader BATCHES_FILE\n");
        return 2;
    }
    loader_read_file(argv[1], &file);
    PGconn *conn = PQconnectdb(url);
    if (PQstatus(conn) != CONNECTION_OK) {
        loader_die(PQerrorMessage(conn));
    }
    run(conn, make_sql, NULL, 0, "INSERT 0 1");
    for (char *line = file.data, *end = file.data + file.len; line < end;) {
        char *next = memchr(line, '\n', (size_t)(end - line));

        if (next == NULL) {
            loader_die("the last line does not end");
        }
        *next = '\0';
        seq += load(conn, line, seq);
        line = next + 1;
    }
    PQfinish(conn);
    buf_done(&file);
    return 0;
}
