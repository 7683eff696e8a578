/* SPDX-License-Identifier: Apache-2.0 */
#include "server/journal.h"

#include <criterion/criterion.h>

#include "common/mem.h"

#define READ_MAX 100

static unsigned posts;

/* Instead of the engine's. */
void
net_loop_post(NetLoop *loop DS_UNUSED, LoopFn fn, void *arg)
{
    posts++;
    fn(arg);
}

static size_t
read_all(Journal *journal, Offset *token, char *trace, size_t trace_size)
{
    static const char kinds[] = {
        [JOURNAL_CREATED] = '+',
        [JOURNAL_CLOSED] = '.',
        [JOURNAL_DELETED] = '-',
    };
    JournalEntry entries[READ_MAX];
    size_t count = 0;
    size_t len = 0;
    Error err = {0};

    trace[0] = '\0';
    cr_assert(journal_read(journal, *token, entries, READ_MAX, &count, token, &err), "%s",
              err.text);
    for (size_t i = 0; i < count; i++) {
        len += (size_t)snprintf(trace + len, trace_size - len, "%c%.*s ", kinds[entries[i].kind],
                                (int)entries[i].name_len, entries[i].name);
        free(entries[i].name);
    }
    return count;
}

Test(journal, tells_changes_after_a_token_once_and_in_order)
{
    Journal *journal = journal_new();
    Offset token;
    char trace[256];

    journal_add(journal, JOURNAL_CREATED, STR("before"), 1);
    token = journal_token(journal);
    cr_expect_eq(read_all(journal, &token, trace, sizeof(trace)), 0);
    journal_add(journal, JOURNAL_CREATED, STR("a"), 2);
    journal_add(journal, JOURNAL_CLOSED, STR("a"), 2);
    journal_add(journal, JOURNAL_DELETED, STR("a"), 2);
    read_all(journal, &token, trace, sizeof(trace));
    cr_expect_str_eq(trace, "+a .a -a ");
    cr_expect_eq(read_all(journal, &token, trace, sizeof(trace)), 0);
    journal_free(journal);
}

Test(journal, is_read_in_pages)
{
    Journal *journal = journal_new();
    Offset token = journal_token(journal);
    char trace[8192];
    size_t total = 0;

    for (int i = 0; i < 250; i++) {
        journal_add(journal, JOURNAL_CREATED, STR("s"), 1);
    }
    for (int i = 0; i < 3; i++) {
        total += read_all(journal, &token, trace, sizeof(trace));
    }
    cr_expect_eq(total, 250);
    journal_free(journal);
}

Test(journal, who_was_away_for_too_long_is_told)
{
    Journal *journal = journal_new();
    Offset token = journal_token(journal);
    JournalEntry entry;
    size_t count;
    Error err = {0};

    for (int i = 0; i < JOURNAL_ENTRIES_MAX; i++) {
        journal_add(journal, JOURNAL_CREATED, STR("s"), 1);
    }
    cr_expect(journal_read(journal, token, &entry, 1, &count, &(Offset){0}, &err));
    free(entry.name);
    journal_add(journal, JOURNAL_CREATED, STR("s"), 1);
    cr_expect_not(journal_read(journal, token, &entry, 1, &count, &token, &err));
    cr_expect_eq(err.code, ERR_GONE);
    journal_free(journal);
}

Test(journal, a_token_of_another_run_or_of_the_future_is_gone)
{
    Journal *journal = journal_new();
    Offset token = journal_token(journal);
    JournalEntry entry;
    size_t count;
    Error err = {0};

    token.era++;
    cr_expect_not(journal_read(journal, token, &entry, 1, &count, &token, &err));
    cr_expect_eq(err.code, ERR_GONE);
    token.era--;
    token.position++;
    cr_expect_not(journal_read(journal, token, &entry, 1, &count, &token, &err));
    cr_expect_eq(err.code, ERR_GONE);
    journal_free(journal);
}

static unsigned woken;

static void
on_wake(Waiter *waiter DS_UNUSED)
{
    woken++;
}

Test(journal, wakes_who_waits)
{
    Journal *journal = journal_new();
    char loop;
    Waiter waiter = {.on_wake = on_wake};

    journal_wait(journal, (NetLoop *)(void *)&loop, &waiter);
    journal_add(journal, JOURNAL_CREATED, STR("s"), 1);
    cr_expect_eq(posts, 1);
    cr_expect_eq(woken, 1);
    wake_leave(&waiter);
    journal_free(journal);
}
