/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/store_modes.h -- the storage modes, and operations on them that are waited for, so
 * that a mode may finish them on another thread.  A mode joins by a line in store_modes.
 */
#pragma once

#include "server/backend.h"

#define READ_TEXT_BYTES_MAX (1 << 20)

typedef struct StoreMode {
    const char *name;
    const BackendKind *kind; /* NULL: memory */
} StoreMode;

extern const StoreMode store_modes[];
extern const size_t store_modes_count;

/* A durable mode keeps its data in one directory of the test's, made when there is none. */
Store *store_mode_open(const StoreMode *mode, const StoreLimits *limits, Metrics *metrics);
void store_mode_clean(void); /* the directory is gone; its store has been freed */
/* As open, but what a start says; *out_err for NULL. */
Store *store_mode_try(const StoreMode *mode, const StoreLimits *limits, Metrics *metrics,
                      Error *out_err);
/* Of the directory, which is there as soon as a store was opened. */
const char *store_mode_dir(void);
/* For the next ones that are opened: 0 keeps nothing in memory that is in the files. */
void store_mode_set_cache(uint64_t bytes);

extern const StoreLimits roomy;

StoreOp run_op(Store *store, StoreOp op);
StoreOp run_create_as(Store *store, Str name, Str content_type, bool closed);
Stream *run_create(Store *store, Str name); /* of text/plain, which succeeds */
StoreResult run_append_request(Store *store, Stream *stream, AppendRequest request);
StoreResult run_append(Store *store, Stream *stream, Str text);
StoreResult run_append_json(Store *store, Stream *stream, Str text, const uint32_t *ends,
                            size_t count);
StoreResult run_trim(Store *store, Stream *stream, uint64_t position);
StoreVerdict run_delete(Store *store, Stream *stream);

/* Everything from a position on, page by page, at most READ_TEXT_BYTES_MAX with a final NUL.
 * Returns the position after it. */
uint64_t read_text(Store *store, Stream *stream, uint64_t from, size_t page, char *out);

/* What forks leave to their parents may be done a moment later. */
void wait_for_count(const atomic_uint_fast64_t *count, uint64_t wanted);

/* A test body that runs on each mode with limits of its own. */
#define STORE_TEST(suite, test, limits_)                                                           \
    static void test##_body(Store *store);                                                         \
    Test(suite, test)                                                                              \
    {                                                                                              \
        for (size_t i = 0; i < store_modes_count; i++) {                                           \
            Metrics *metrics = metrics_new();                                                      \
            Store *store = store_mode_open(&store_modes[i], &(limits_), metrics);                  \
                                                                                                   \
            cr_log_info("%s", store_modes[i].name);                                                \
            test##_body(store);                                                                    \
            store_free(store);                                                                     \
            metrics_free(metrics);                                                                 \
            store_mode_clean();                                                                    \
        }                                                                                          \
    }                                                                                              \
    static void test##_body(Store *store)
