/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/control_link.h -- the one Postgres connection beside the writers: leases, routes, versions.
 *
 * Whoever needs a small statement now and then asks it here, so that an instance costs one
 * connection for all of that.  Statements wait in line (CONTROL_LINK_WAITING_MAX of them at most)
 * and run one at a time, each by itself and unnamed, so it works behind PgBouncer in transaction
 * mode.  The link connects again by itself; it retries no statement: every one gets exactly one
 * answer, and one that fails is asked again by its owner's own timer.
 */
#pragma once

#include "common/pg.h"

#define CONTROL_LINK_WAITING_MAX 64

typedef struct ControlLink ControlLink;

typedef struct ControlLinkConfig {
    const Secret *postgres_url;    /* borrowed */
    void (*on_refused)(void *arg); /* the login was: the secret may be read anew; may be NULL */
    void *arg;
    const char *application_name;
    /* No answer for this long: the connection is given up, and the statement cancelled.  Where the
     * session is ours, Postgres ends it a little earlier. */
    int64_t command_ms_max;
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
} ControlLinkConfig;

ControlLink *control_link_new(Loop *loop, const ControlLinkConfig *config);
void control_link_free(ControlLink *link); /* accepts NULL; statements in line are not answered */

/* Connects at the first use.  Static sql; parameters are text, NULL is SQL NULL, and are copied.
 * fn is called once, never inside this call: not ok with PG_ERROR_CONNECTION when there is no
 * connection and a try to get one failed, or with ERR_LIMIT when the line is full. */
void control_link_query(ControlLink *link, const char *sql, const char *const *params, size_t count,
                        PgReplyFn fn, void *arg);
/* No callback with that arg comes any more; what runs may still take effect. */
void control_link_forget(ControlLink *link, const void *arg);
/* Half of the line is taken: what can wait leaves the rest to leases. */
bool control_link_is_busy(const ControlLink *link);
bool control_link_is_up(const ControlLink *link); /* the last statement reached Postgres */
