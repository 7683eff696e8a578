/* SPDX-License-Identifier: Apache-2.0 */
#include "server/etag.h"

#include <inttypes.h>

void
etag_format(const Stream *stream, uint64_t from, uint64_t to, bool final, char *out)
{
    snprintf(out, ETAG_BYTES_MAX, "\"%016" PRIx64 ":%" PRIx64 ":%" PRIx64 "%s\"", stream->era, from,
             to, final ? ":c" : "");
}

void
etag_format_era(const Stream *stream, char *out)
{
    snprintf(out, ETAG_BYTES_MAX, "\"%016" PRIx64 "\"", stream->era);
}

bool
etag_matches(Str list, Str tag)
{
    while (list.len > 0) {
        Str item;

        str_cut(list, ',', &item, &list);
        item = str_trim(item);
        if (str_starts(item, STR("W/"))) {
            item = str_skip(item, 2);
        }
        if (str_eq(item, tag) || str_eq(item, STR("*"))) {
            return true;
        }
    }
    return false;
}
