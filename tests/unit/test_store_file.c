/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log may hold when file-durable starts after a crash at an unlucky moment.
 */
#include <criterion/criterion.h>

#include "common/little_endian.h"
#include "server/store_file.h"
#include "server/wal.h"
#include "tests/support/store_modes.h"

#define UNKNOWN_ID 0x123456789u
#define TOUCH      6u /* as the log has it */
#define DELETE     3u

static const StoreMode file_durable = {.name = "file-durable", .kind = &store_file_durable};

static bool
accept(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    (void)arg;
    (void)lsn;
    (void)kind;
    (void)body;
    (void)err;
    return true;
}

/* A store that was used and stopped. */
static void
leave_store(void)
{
    Metrics *metrics = metrics_new();
    Store *store = store_mode_open(&file_durable, &roomy, metrics);

    stream_drop(run_create(store, STR("kept")));
    store_free(store);
    metrics_free(metrics);
}

/* Behind what its log has, records about a stream that it has no row of. */
static void
add_records(const unsigned *kinds, size_t count)
{
    char dir[512];
    char body[16] = {0};
    Str part = str_n(body, sizeof(body));
    WalOptions options = {
        .dir = dir, .segment_bytes = WAL_SEGMENT_BYTES_MIN, .segments_max = 8, .sync = true};
    Wal *wal = NULL;
    Error err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/wal-00", store_mode_dir());
    cr_assert(wal_open(&options, 0, accept, NULL, &wal, &err), "%s", err.text);
    le64_put(body, UNKNOWN_ID);
    le64_put(body + 8, 1);
    wal_begin(wal);
    for (size_t i = 0; i < count; i++) {
        (void)wal_add(wal, kinds[i], &part, 1);
    }
    cr_assert(wal_commit(wal, &err), "%s", err.text);
    wal_free(wal);
}

/* The code of the error; ERR_NONE when it starts, with all that it had. */
static ErrorCode
start_again(void)
{
    Metrics *metrics = metrics_new();
    Error err = {0};
    Store *store = store_mode_try(&file_durable, &roomy, metrics, &err);
    ErrorCode code = store != NULL ? ERR_NONE : err.code;

    if (store != NULL) {
        Stream *stream = store_find(store, STR("kept"));

        cr_expect_not_null(stream);
        stream_drop(stream);
        store_free(store);
    }
    metrics_free(metrics);
    return code;
}

Test(store_file, a_stream_that_a_running_checkpoint_missed_may_be_in_the_log_if_it_is_deleted_there)
{
    static const unsigned kinds[] = {TOUCH, TOUCH, DELETE};

    leave_store();
    add_records(kinds, DS_COUNT(kinds));
    cr_expect_eq(start_again(), ERR_NONE);
    cr_expect_eq(start_again(), ERR_NONE);
    store_mode_clean();
}

Test(store_file, a_log_about_a_stream_that_there_is_not_is_refused)
{
    static const unsigned kinds[] = {TOUCH};

    leave_store();
    add_records(kinds, DS_COUNT(kinds));
    cr_expect_eq(start_again(), ERR_CORRUPT);
    store_mode_clean();
}
