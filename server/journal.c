/* SPDX-License-Identifier: Apache-2.0 */
#include "server/journal.h"

#include <pthread.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/mem.h"

struct Journal {
    pthread_mutex_t lock;
    uint64_t era;
    uint64_t last; /* number of the newest entry; 0: none yet */
    WakeSource wake;
    JournalEntry ring[JOURNAL_ENTRIES_MAX]; /* entry n lies at n modulo its size */
};

Journal *
journal_new(void)
{
    Journal *journal = mem_zalloc(sizeof(*journal));

    pthread_mutex_init(&journal->lock, NULL);
    journal->era = (uint64_t)clock_wall_ms();
    return journal;
}

void
journal_free(Journal *journal)
{
    wake_source_done(&journal->wake);
    for (size_t i = 0; i < JOURNAL_ENTRIES_MAX; i++) {
        free(journal->ring[i].name);
    }
    pthread_mutex_destroy(&journal->lock);
    free(journal);
}

void
journal_add(Journal *journal, JournalKind kind, Str name, uint64_t era)
{
    char *copy = str_dup(name);
    JournalEntry *entry;

    pthread_mutex_lock(&journal->lock);
    entry = &journal->ring[++journal->last % JOURNAL_ENTRIES_MAX];
    free(entry->name);
    *entry = (JournalEntry){
        .number = journal->last,
        .kind = kind,
        .era = era,
        .name = copy,
        .name_len = name.len,
    };
    wake_all(&journal->wake);
    pthread_mutex_unlock(&journal->lock);
}

Offset
journal_token(Journal *journal)
{
    Offset token = {.era = journal->era};

    pthread_mutex_lock(&journal->lock);
    token.position = journal->last;
    pthread_mutex_unlock(&journal->lock);
    return token;
}

bool
journal_read(Journal *journal, Offset token, JournalEntry *out, size_t limit, size_t *out_count,
             Offset *out_token, Error *err)
{
    size_t count = 0;
    bool ok = false;

    pthread_mutex_lock(&journal->lock);
    if (token.era != journal->era || token.position > journal->last) {
        error_set(err, ERR_GONE, "the token is not of this run of the server");
        goto done;
    }
    if (journal->last - token.position > JOURNAL_ENTRIES_MAX) {
        error_set(err, ERR_GONE, "the token is older than the last %d changes",
                  JOURNAL_ENTRIES_MAX);
        goto done;
    }
    while (count < limit && token.position < journal->last) {
        const JournalEntry *entry = &journal->ring[++token.position % JOURNAL_ENTRIES_MAX];

        out[count] = *entry;
        out[count++].name = str_dup(str_n(entry->name, entry->name_len));
    }
    *out_count = count;
    *out_token = token;
    ok = true;

done:
    pthread_mutex_unlock(&journal->lock);
    return ok;
}

void
journal_wait(Journal *journal, NetLoop *loop, Waiter *waiter)
{
    pthread_mutex_lock(&journal->lock);
    wake_join(&journal->wake, loop, waiter);
    pthread_mutex_unlock(&journal->lock);
}
