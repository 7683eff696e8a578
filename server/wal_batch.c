/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a batch as bytes.
 */
#include "common/crc32c.h"
#include "common/little_endian.h"
#include "server/wal_internal.h"

#define CHECKED_FROM 8 /* behind magic and the head's own CRC */

void
wal_batch_head_put(const WalBatchHead *head, char *out)
{
    le32_put(out, WAL_BATCH_MAGIC);
    le32_put(out + 8, head->body_crc);
    le32_put(out + 12, head->flags);
    le64_put(out + 16, head->generation);
    le64_put(out + 24, head->nonce);
    le64_put(out + 32, head->first_lsn);
    le64_put(out + 40, head->durable_lsn);
    le64_put(out + 48, head->segment_first_lsn);
    le64_put(out + 56, head->length);
    le32_put(out + 64, head->records);
    le32_put(out + 68, 0);
    le32_put(out + 4,
             crc32c(CRC32C_INIT, str_n(out + CHECKED_FROM, WAL_BATCH_HEAD - CHECKED_FROM)));
}

bool
wal_batch_head_get(const char *bytes, const WalSegment *segment, WalBatchHead *out)
{
    if (le32_get(bytes) != WAL_BATCH_MAGIC || le64_get(bytes + 16) != segment->generation ||
        le64_get(bytes + 24) != segment->nonce ||
        le32_get(bytes + 4) !=
            crc32c(CRC32C_INIT, str_n(bytes + CHECKED_FROM, WAL_BATCH_HEAD - CHECKED_FROM))) {
        return false;
    }
    *out = (WalBatchHead){
        .body_crc = le32_get(bytes + 8),
        .flags = le32_get(bytes + 12),
        .generation = segment->generation,
        .nonce = segment->nonce,
        .first_lsn = le64_get(bytes + 32),
        .durable_lsn = le64_get(bytes + 40),
        .segment_first_lsn = le64_get(bytes + 48),
        .length = le64_get(bytes + 56),
        .records = le32_get(bytes + 64),
    };
    return true;
}
