/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/copy_loader.c -- the bare libpq loader that syncd is compared with.
 *
 * usage: bench-copy-loader STREAMS MESSAGES_FILE     (POSTGRES_URL says where)
 *
 * Loads ds_sync.session_events with the transactions that syncd makes and nothing around them: the
 * guarded UPDATE of stream_offset, COPY of at most 5,000 rows or 8 MiB, COMMIT.  Each transaction
 * has the same number of rows of each of the STREAMS streams bench-0000000 and on, which are made
 * first.  Each line of the file is "key TAB type TAB operation TAB payload", escaped for COPY
 * already; the file is read before the clock starts.  Prints one JSON line with rows and seconds.
 */
#include <libpq-fe.h>

#include "bench/loader.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/parse.h"

#define ROWS_PER_TRANSACTION  5000
#define BYTES_PER_TRANSACTION (8u << 20)
#define COPY_BUFFER_BYTES     (BYTES_PER_TRANSACTION + (1u << 20))
#define STREAMS_MAX           10000
#define IDS_BYTES_MAX         (STREAMS_MAX * 24)

/* Of all streams of a transaction; all of them stand at the same place. */
static const char guard_sql[] =
    "UPDATE ds_sync.stream_offset SET ds_offset = $2, next_seq = $3, updated_at = "
    "clock_timestamp() "
    "WHERE stream_id = ANY ($1::bigint[]) AND epoch = 1 AND ds_offset = $4 AND skip = 0";

typedef struct Loader {
    PGconn *conn;
    uint64_t streams;
    Buf ids;         /* an array literal */
    char offset[40]; /* committed; an offset of ds-server is two words of 16 digits */
    uint64_t seq;    /* of the next row of each stream */
    uint64_t loaded; /* rows of all streams */
    Buf rows;
} Loader;

static void
expect(Loader *loader, PGresult *result, ExecStatusType status, const char *tag)
{
    if (PQresultStatus(result) != status ||
        (tag != NULL && !str_eq(str_c(PQcmdStatus(result)), str_c(tag)))) {
        loader_die(PQerrorMessage(loader->conn));
    }
    PQclear(result);
}

/* Takes lines from the front of *rest, `each` for each stream, or fewer at the end; the number of
 * them. */
static uint64_t
gather(Loader *loader, uint64_t each, Str *rest, const char *offset)
{
    uint64_t rows = 0;

    buf_reset(&loader->rows);
    for (uint64_t stream = 0; stream < loader->streams; stream++) {
        for (uint64_t i = 0; i < each && rest->len > 0; i++) {
            Str line;
            Error err;

            (void)str_cut(*rest, '\n', &line, rest);
            if (!buf_printf(&loader->rows, &err, "bench-%07llu\t1\t%llu\t%s\t",
                            (unsigned long long)stream, (unsigned long long)(loader->seq + i),
                            offset) ||
                !buf_append(&loader->rows, line, &err) ||
                !buf_append_char(&loader->rows, '\n', &err)) {
                loader_die(err.text);
            }
            rows++;
        }
    }
    return rows;
}

static void
copy_rows(Loader *loader)
{
    expect(
        loader,
        PQexec(loader->conn,
               "COPY ds_sync.session_events (stream_name, generation, seq, ds_offset, event_key, "
               "event_type, operation, payload) FROM STDIN"),
        PGRES_COPY_IN, NULL);
    for (Str left = buf_str(&loader->rows); left.len > 0;) {
        size_t slice = DS_MIN(left.len, (size_t)65536);

        if (PQputCopyData(loader->conn, left.ptr, (int)slice) != 1) {
            loader_die(PQerrorMessage(loader->conn));
        }
        left = str_skip(left, slice);
    }
    if (PQputCopyEnd(loader->conn, NULL) != 1) {
        loader_die(PQerrorMessage(loader->conn));
    }
    expect(loader, PQgetResult(loader->conn), PGRES_COMMAND_OK, NULL);
    PQclear(PQgetResult(loader->conn));
}

static void
load_batch(Loader *loader, Str *rest)
{
    uint64_t each = DS_MAX(ROWS_PER_TRANSACTION / loader->streams, (uint64_t)1);
    char offset[sizeof(loader->offset)];
    char next_seq[24];
    char hit[32];

    (void)snprintf(offset, sizeof(offset), "%016x_%016llx", 1u,
                   (unsigned long long)(loader->seq + each));
    loader->loaded += gather(loader, each, rest, offset);
    (void)snprintf(next_seq, sizeof(next_seq), "%llu", (unsigned long long)(loader->seq + each));
    (void)snprintf(hit, sizeof(hit), "UPDATE %llu", (unsigned long long)loader->streams);
    const char *const values[] = {buf_cstr(&loader->ids), offset, next_seq, loader->offset};

    expect(loader, PQexec(loader->conn, "BEGIN"), PGRES_COMMAND_OK, "BEGIN");
    expect(loader,
           PQexecParams(loader->conn, guard_sql, DS_COUNT(values), NULL, values, NULL, NULL, 0),
           PGRES_COMMAND_OK, hit);
    copy_rows(loader);
    expect(loader, PQexec(loader->conn, "COMMIT"), PGRES_COMMAND_OK, "COMMIT");
    loader->seq += each;
    memcpy(loader->offset, offset, sizeof(offset));
}

static void
make_streams(Loader *loader)
{
    char count[24];
    const char *const values[] = {count};
    Error err;

    (void)snprintf(count, sizeof(count), "%llu", (unsigned long long)loader->streams);
    PGresult *result =
        PQexecParams(loader->conn,
                     "WITH made AS (INSERT INTO ds_sync.stream (source, name, content_type) "
                     "SELECT 'bench', 'bench-' || lpad(n::text, 7, '0'), 'application/json' "
                     "FROM generate_series(0, $1::integer - 1) n RETURNING stream_id), "
                     "placed AS (INSERT INTO ds_sync.stream_offset (stream_id, epoch) "
                     "SELECT stream_id, 1 FROM made RETURNING stream_id) "
                     "SELECT array_agg(stream_id ORDER BY stream_id) FROM placed",
                     1, NULL, values, NULL, NULL, 0);

    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        loader_die(PQerrorMessage(loader->conn));
    }
    if (!buf_append(&loader->ids, str_c(PQgetvalue(result, 0, 0)), &err)) {
        loader_die(err.text);
    }
    PQclear(result);
}

int
main(int argc, char **argv)
{
    Loader loader = {.offset = "-1"};
    const char *url = getenv("POSTGRES_URL");
    Buf file;

    if (argc != 3 || url == NULL || !parse_u64(str_c(argv[1]), STREAMS_MAX, &loader.streams) ||
        loader.streams == 0) {
        (void)fprintf(stderr, "usage: POSTGRES_URL=... bench-copy-loader STREAMS MESSAGES_FILE\n");
        return 2;
    }
    loader_read_file(argv[2], &file);
    buf_init(&loader.ids, IDS_BYTES_MAX);
    buf_init(&loader.rows, COPY_BUFFER_BYTES);
    loader.conn = PQconnectdb(url);
    if (PQstatus(loader.conn) != CONNECTION_OK) {
        loader_die(PQerrorMessage(loader.conn));
    }
    make_streams(&loader);
    int64_t start_ns = clock_mono_ns();
    Str rest = buf_str(&file);
    while (rest.len > 0) {
        load_batch(&loader, &rest);
    }
    (void)printf("{\"rows\": %llu, \"seconds\": %.6f}\n", (unsigned long long)loader.loaded,
                 (double)(clock_mono_ns() - start_ns) / 1e9);
    PQfinish(loader.conn);
    buf_done(&loader.rows);
    buf_done(&loader.ids);
    buf_done(&file);
    return 0;
}
