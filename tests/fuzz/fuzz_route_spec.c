/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_route_spec.c -- whatever a file of routes says, what is taken can be printed and
 * read again, and is the same then.
 */
#include "common/route_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_route(const RouteSpec *spec)
{
    RouteSpec again = {0};
    Error err;
    Buf once;
    Buf twice;

    buf_init(&once, ROUTE_SPEC_BYTES_MAX);
    buf_init(&twice, ROUTE_SPEC_BYTES_MAX);
    DS_ASSERT(route_spec_print(spec, &once, &err));
    DS_ASSERT(route_spec_parse(&again, buf_str(&once), &err));
    DS_ASSERT(route_spec_print(&again, &twice, &err));
    DS_ASSERT(str_eq(buf_str(&once), buf_str(&twice)));
    for (size_t i = 0; i < spec->stream_count; i++) {
        DS_ASSERT(route_spec_matches(&again, str_c(spec->streams[i])));
    }
    route_spec_done(&again);
    buf_done(&once);
    buf_done(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    RouteFile file;

    route_file_read(&file, str_n(data, size));
    DS_ASSERT(file.problems.count > 0 || file.count == file.name_count);
    for (size_t i = 0; i < file.count; i++) {
        check_route(&file.specs[i]);
    }
    route_file_done(&file);
    return 0;
}
