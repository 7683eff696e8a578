/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_store.h -- subscriptions on disk: <data>/subscriptions.sqlite, only its owner's to
 * read, for it holds the keys.
 *
 * One thread at a time, never a network thread, but for subs_store_open and _load at the start.
 */
#pragma once

#include "server/subs_model.h"
#include "server/subs_sign.h"

#define SUBS_STORE_FILE      "subscriptions.sqlite"
#define SUBS_STORE_CACHE_KIB 4096

typedef struct SubsStore SubsStore;

/* sync: a commit is on the disk when it returns.  ERR_CONFIG, ERR_CORRUPT: sqlite.h's. */
DS_MUST_CHECK bool subs_store_open(const char *folder, bool sync, SubsStore **out, Error *err);
void subs_store_close(SubsStore *store); /* accepts NULL */

/* Into an empty model; *out_keys: the stored keys, or new ones that are to be stored (*out_new). */
DS_MUST_CHECK bool subs_store_load(SubsStore *store, SubsModel *model, SubsKeys **out_keys,
                                   bool *out_new, Error *err);

/* One transaction; keys NULL: they did not change.  ERR_FULL, ERR_RETRY: nothing was changed, try
 * again later.  Any other: nobody knows. */
DS_MUST_CHECK bool subs_store_commit(SubsStore *store, const SubsChanges *changes,
                                     const SubsKeyDump *keys, Error *err);
