/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/wal_subject.h"

#include <criterion/criterion.h>

char wal_folder[FOLDER_PATH_SIZE];
char wal_dir[FOLDER_PATH_SIZE + 8];

void
wal_subject_setup(void)
{
    folder_make(wal_folder);
    (void)snprintf(wal_dir, sizeof(wal_dir), "%s/wal", wal_folder);
}

void
wal_subject_teardown(void)
{
    folder_remove(wal_folder);
}

/* Record n: a text that only n has, and n % 7 * 300 bytes that are gathered or copied. */
size_t
wal_subject_record_text(uint64_t n, char *out)
{
    return (size_t)snprintf(out, 64, "record %llu of the log", (unsigned long long)n);
}

char wal_subject_filler[4096];

bool
wal_subject_check(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    Seen *seen = arg;
    char text[64];
    size_t len = wal_subject_record_text(lsn, text);
    size_t fill = (size_t)(lsn % 7 * 300);

    (void)err;
    seen->wrong |= seen->count > 0 && lsn != seen->last_lsn + 1;
    seen->wrong |= kind != lsn % 5 || body.len != len + fill ||
                   !str_eq(str_head(body, len), str_n(text, len)) ||
                   !str_eq(str_skip(body, len), str_n(wal_subject_filler, fill));
    seen->first_lsn = seen->count == 0 ? lsn : seen->first_lsn;
    seen->last_lsn = lsn;
    seen->count++;
    return true;
}

WalOptions
wal_subject_options(bool sync)
{
    return (WalOptions){.dir = wal_dir, .segment_bytes = SEGMENT, .segments_max = 8, .sync = sync};
}

Wal *
wal_subject_open(bool sync, uint64_t after_lsn, Seen *seen)
{
    WalOptions chosen = wal_subject_options(sync);
    Wal *wal = NULL;
    Error err = {0};

    *seen = (Seen){0};
    cr_assert(wal_open(&chosen, after_lsn, wal_subject_check, seen, &wal, &err), "%s", err.text);
    cr_assert_not(seen->wrong);
    return wal;
}

void
wal_subject_add(Wal *wal, size_t count)
{
    uint64_t last = wal_last_lsn(wal);
    static char texts[64][64];

    for (uint64_t n = last + 1; n <= last + count; n++) {
        char *text = texts[n % 64];
        Str parts[] = {str_n(text, wal_subject_record_text(n, text)),
                       str_n(wal_subject_filler, (size_t)(n % 7 * 300))};

        cr_assert_eq(wal_add(wal, (unsigned)(n % 5), parts, DS_COUNT(parts)), n);
    }
}

bool
wal_subject_try_commit(Wal *wal, size_t count, Error *err)
{
    wal_begin(wal);
    wal_subject_add(wal, count);
    return wal_commit(wal, err);
}

void
wal_subject_commit(Wal *wal, size_t count)
{
    Error err = {0};

    cr_assert(wal_subject_try_commit(wal, count, &err), "%s", err.text);
}

void
wal_subject_release(Wal *wal, uint64_t lsn)
{
    Error err = {0};

    cr_assert(wal_release(wal, lsn, &err), "%s", err.text);
}
