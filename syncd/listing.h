/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/listing.h -- reads what a stream server says about which streams it has.
 *
 * Pages and changes of /admin/streams, and the view of a subscription.  A document is read as a
 * whole or not at all: what is wrong with it is found before the first name is handed out.  Pure.
 */
#pragma once

#include "common/buf.h"

#define LISTING_BYTES_MAX       (64u << 20)
#define LISTING_TOKEN_BYTES_MAX 256

typedef enum ListingKind {
    LISTING_EXISTS,
    LISTING_CREATED,
    LISTING_CLOSED,
    LISTING_DELETED
} ListingKind;

typedef struct ListingStream {
    ListingKind kind;
    Str name;           /* legal as one of a stream; borrowed until the callback returns */
    uint64_t era;       /* of its offsets, which another life of it has not; 0: not said */
    int64_t created_ms; /* by the server's clock; 0: not said */
    int64_t told_ms;    /* what that clock said when it told; 0: not said */
} ListingStream;

typedef void (*ListingFn)(void *arg, const ListingStream *stream);

typedef struct Listing {
    Buf next;  /* what to go on behind; empty: that was all */
    Buf token; /* from where changes are to be asked for; empty: none */
} Listing;

void listing_init(Listing *listing);
void listing_done(Listing *listing);

/* ERR_PROTOCOL: not what it should be; nothing was handed out, and *out is as it was.  Names that
 * no stream can have are passed over. */
DS_MUST_CHECK bool listing_read_page(Str json, ListingFn fn, void *arg, Listing *out, Error *err);
DS_MUST_CHECK bool listing_read_changes(Str json, ListingFn fn, void *arg, Listing *out,
                                        Error *err);
DS_MUST_CHECK bool listing_read_subscription(Str json, ListingFn fn, void *arg, Error *err);
