/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/manifest.h -- the data directory: whose it is, in which format, and how it was left.
 *
 *     LOCK      locked (flock) while a server uses the directory
 *     MANIFEST  one JSON object, replaced as a whole:
 *               {"format_version":1,"mode":"file-durable","shards":2,"hash":"fnv1a64-mix",
 *                "server_uuid":"...","clean":false,"boot_id":"...","next_number":123}
 *
 * What does not fit is refused before anything is touched: data of another mode, another number of
 * shards, a newer format, a directory that holds something else, one that is in use.  The text says
 * what to do.  `clean` is false from the start of a server to its orderly end; boot_id is the
 * kernel's, so that the next start can tell a crash of the process from one of the machine.  Each
 * run has numbers of its own for eras and ids: below next_number they may have been given.
 */
#pragma once

#include "common/error.h"

#define MANIFEST_FORMAT_VERSION 1
#define MANIFEST_NUMBERS        (UINT64_C(1) << 40) /* of a run */
#define MANIFEST_BYTES_MAX      4096
#define MANIFEST_UUID_CHARS     36
#define MANIFEST_MODE_CHARS_MAX 15
#define MANIFEST_SHARDS_MAX     256

typedef struct Manifest {
    uint64_t format_version;
    char mode[MANIFEST_MODE_CHARS_MAX + 1];
    uint64_t shards; /* a power of two */
    char server_uuid[MANIFEST_UUID_CHARS + 1];
    bool clean;
    char boot_id[MANIFEST_UUID_CHARS + 1]; /* "": not known */
    uint64_t next_number;
} Manifest;

typedef struct DataDir {
    char *path;
    int fd; /* of the directory; borrowed */
    int lock_fd;
    Manifest manifest; /* as it now stands */
    bool is_new;
    bool was_clean;
    bool same_boot;        /* the machine has not been restarted since it was used last */
    uint64_t first_number; /* of this run */
    char boot_id[MANIFEST_UUID_CHARS + 1];
} DataDir;

/* Makes the directory (0700) if there is none, locks it, reads or makes the manifest and marks it
 * as in use.  shards 0: as many as it has, and for a new one what suits the cores; the manifest
 * says how many that are.  ERR_CONFIG: refused, as above, or no permission.  ERR_PROTOCOL: MANIFEST
 * is damaged.
 */
DS_MUST_CHECK bool data_dir_open(const char *path, const char *mode, uint64_t shards, DataDir *out,
                                 Error *err);
/* What the last stop may have cost is made good.  Until then the manifest has the boot_id of the
 * run that was cut short, so that a start that is itself cut short changes nothing for the next
 * one. */
DS_MUST_CHECK bool data_dir_recovered(DataDir *dir, Error *err);
/* Everything is in its place: the next start has nothing to recover. */
DS_MUST_CHECK bool data_dir_seal(DataDir *dir, Error *err);
void data_dir_close(DataDir *dir); /* gives the lock back */

/* Whether data_dir_open would refuse it, as far as that can be seen without touching it; a server
 * may be using it. */
DS_MUST_CHECK bool data_dir_check(const char *path, const char *mode, uint64_t shards, Error *err);

/* For --upgrade-data: brings a directory that no server uses to the format of this program.
 * *out_from is the version it had.  There is one version so far, so nothing is ever to be done;
 * a newer one is refused. */
DS_MUST_CHECK bool data_dir_upgrade(const char *path, uint64_t *out_from, Error *err);

/* Pure, for tests. */
DS_MUST_CHECK bool manifest_parse(const char *text, size_t len, Manifest *out, Error *err);
/* out holds MANIFEST_BYTES_MAX bytes.  Returns the length. */
size_t manifest_format(const Manifest *manifest, char *out);
