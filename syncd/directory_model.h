/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/directory_model.h -- which streams exist, and to which routes each of them belongs.
 *
 * Fed with routes and with what servers say; tells what is wanted and what no longer is.  A stream
 * that a route names itself is wanted whether it exists or not.  One that a pattern matches is
 * wanted while it exists, and for DIRECTORY_GONE_MS more, so that its session sees by itself that
 * it is gone, or another one, and does what the route says about that.  What no route matches is
 * not kept: when routes change, servers have to be asked again.  A stream that is told under
 * another era than before is another one.  Pure.
 */
#pragma once

#include "syncd/listing.h"
#include "syncd/stream_plan.h"

#define DIRECTORY_GONE_MS 30000

typedef struct DirectoryModel DirectoryModel;

/* Key and plan are borrowed until the callback returns.  No call into the model from inside. */
typedef struct DirectoryModelCallbacks {
    /* Or another plan; or the same one again, when it may be another stream, or when its server
     * told of it for the first time. */
    void (*want)(void *arg, const StreamKey *key, const StreamPlan *plan);
    void (*unwant)(void *arg, const StreamKey *key);
} DirectoryModelCallbacks;

/* streams_max: so many are kept, and no more. */
DirectoryModel *directory_model_new(size_t streams_max, const DirectoryModelCallbacks *callbacks,
                                    void *arg);
void directory_model_free(DirectoryModel *model); /* accepts NULL; tells nothing */

/* All routes that are to run, from now on; references of its own are taken. */
void directory_model_set_routes(DirectoryModel *model, Route *const *routes, size_t count);
/* Takes in what routes name and there was no room for. */
void directory_model_take_names(DirectoryModel *model);
size_t directory_model_names_refused(const DirectoryModel *model); /* there is none still */

/* What a server has, all of it: begin, tell each one as LISTING_EXISTS, end. */
void directory_model_list_begin(DirectoryModel *model, const Server *server);
void directory_model_list_end(DirectoryModel *model, const Server *server, int64_t now_ms);
/* created_ms by our clock (wall).  False: some route takes it, and there is no room. */
bool directory_model_tell(DirectoryModel *model, const Server *server, const ListingStream *stream,
                          int64_t now_ms);

/* Lets go of what is gone for long; now and then. */
void directory_model_sweep(DirectoryModel *model, int64_t now_ms);

size_t directory_model_streams(const DirectoryModel *model); /* that some route wants */
bool directory_model_has_room(const DirectoryModel *model);
size_t directory_model_streams_of(const DirectoryModel *model, const Server *server);
