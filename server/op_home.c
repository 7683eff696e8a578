/* SPDX-License-Identifier: Apache-2.0 */
#include "server/op_home.h"

#include "common/mem.h"

struct OpHome {
    atomic_uint refs; /* the loop's, one of each op, and one of the posted call */
    NetLoop *net;
    Store *store;
    struct StoreOpQueue leaving; /* the loop's: what came in this turn of it */
    Op *spares;                  /* the loop's */
    size_t spare_count;
    pthread_mutex_t mutex; /* guards the list, and exchange of every op that is away */
    Op *first;             /* finished and not answered */
    Op **last;
};

OpHome *
op_home_new(NetLoop *net)
{
    OpHome *home = mem_zalloc(sizeof(*home));

    atomic_init(&home->refs, 1);
    home->net = net;
    home->last = &home->first;
    STAILQ_INIT(&home->leaving);
    pthread_mutex_init(&home->mutex, NULL);
    return home;
}

Op *
op_home_make(OpHome *home)
{
    Op *op = home->spares;

    if (op == NULL) {
        op = mem_alloc(sizeof(*op));
    } else {
        home->spares = op->next;
        home->spare_count--;
    }
    op->born = home;
    return op;
}

void
op_home_spare(Op *op)
{
    OpHome *home = op->born;

    if (home->spare_count == OP_HOME_SPARES_MAX) {
        free(op);
        return;
    }
    op->next = home->spares;
    home->spares = op;
    home->spare_count++;
}

static OpHome *
home_take(OpHome *home)
{
    atomic_fetch_add_explicit(&home->refs, 1, memory_order_relaxed);
    return home;
}

void
op_home_drop(OpHome *home)
{
    if (atomic_fetch_sub_explicit(&home->refs, 1, memory_order_acq_rel) == 1) {
        DS_ASSERT(home->first == NULL && STAILQ_EMPTY(&home->leaving));
        while (home->spares != NULL) {
            free(op_home_make(home));
        }
        pthread_mutex_destroy(&home->mutex);
        free(home);
    }
}

/* ---- what outlives the request ---- */

static char *
move_view(Str *view, char *room)
{
    if (view->len > 0) {
        memcpy(room, view->ptr, view->len);
        view->ptr = room;
    }
    return room + view->len;
}

/* JSON was copied when it was cut into messages. */
static bool
borrows_body(const Op *op)
{
    return op->store.append.payload.count > 0 &&
           op->store.append.payload.bytes.ptr != op->payload.bytes;
}

static void
keep(Op *op)
{
    AppendRequest *append = &op->store.append;
    Str *const views[] = {
        &op->store.name, &op->store.config.content_type, &append->content_type,
        &append->seq,    &append->producer.id,           &op->host,
        &op->path,
    };
    Str *body = borrows_body(op) ? &append->payload.bytes : NULL;
    bool copies_body = body != NULL && body->len <= OP_COPIED_BYTES_MAX;
    size_t total = copies_body ? body->len : 0;
    char *room;

    for (size_t i = 0; i < DS_COUNT(views); i++) {
        total += views[i]->len;
    }
    if (total > 0) {
        op->kept = total <= sizeof(op->kept_inline) ? op->kept_inline : mem_alloc(total);
        room = op->kept;
        for (size_t i = 0; i < DS_COUNT(views); i++) {
            room = move_view(views[i], room);
        }
        if (copies_body) {
            (void)move_view(body, room);
        }
    }
    if (body != NULL && !copies_body) {
        op->kept_body = exchange_body_take(op->exchange, &body->len);
        body->ptr = op->kept_body;
    }
}

static bool
reserve(Op *op)
{
    int64_t bytes = (int64_t)op->store.append.payload.bytes.len;
    int64_t total = bytes + atomic_fetch_add(&op->app->queued_bytes, bytes);

    op->queued_bytes = bytes;
    return total <= op->app->config->limits.inflight_body_bytes;
}

/* ---- there and back ---- */

/* On the loop's thread; when the loop has ended, on main's, and nobody is left to be answered. */
static void
answer_all(void *arg)
{
    OpHome *home = arg;
    Op *op;

    pthread_mutex_lock(&home->mutex);
    op = home->first;
    home->first = NULL;
    home->last = &home->first;
    pthread_mutex_unlock(&home->mutex);
    while (op != NULL) {
        Op *next = op->next;

        if (op->exchange != NULL) {
            op->answer(&op->store);
        } else {
            op_done(op);
            free(op);
        }
        op = next;
    }
    op_home_drop(home);
}

/* On a thread of the store's. */
static void
finished(StoreOp *store_op)
{
    Op *op = DS_CONTAINER_OF(store_op, Op, store);
    OpHome *home = op->home;
    bool detached;

    pthread_mutex_lock(&home->mutex);
    detached = op->exchange == NULL;
    if (!detached) {
        bool first = home->first == NULL;

        *home->last = op;
        home->last = &op->next;
        if (first) {
            /* Under the lock: an exchange that waits keeps its loop, and its end needs the lock. */
            net_loop_post(home->net, answer_all, home_take(home));
        }
    }
    pthread_mutex_unlock(&home->mutex);
    if (detached) {
        op_done(op);
        free(op);
    }
}

static void
detach(void *arg)
{
    Op *op = arg;
    OpHome *home = home_take(op->home); /* the op may be gone as soon as it is detached */

    pthread_mutex_lock(&home->mutex);
    op->exchange = NULL;
    pthread_mutex_unlock(&home->mutex);
    op_home_drop(home);
}

/* At the end of the loop's turn.  What came in one turn is committed together, and its answers let
 * the clients ask together again. */
static void
send_all(void *arg)
{
    OpHome *home = arg;

    store_submit_all(home->store, &home->leaving);
    op_home_drop(home);
}

void
op_home_send(OpHome *home, Op *op)
{
    if (!reserve(op)) {
        reply_problem_start(op->exchange, 503);
        reply_field_u64(op->exchange, "Retry-After", 1);
        reply_problem_send(op->exchange, "UNAVAILABLE", "too many appends wait for the storage");
        op_free(op);
        return;
    }
    keep(op);
    op->home = home_take(home);
    op->answer = op->store.done;
    op->store.done = finished;
    metric_move(op->app->metrics.queued, 1);
    exchange_wait(op->exchange, detach, op);
    exchange_outlives_eof(op->exchange);
    if (STAILQ_EMPTY(&home->leaving)) {
        home->store = op->app->store;
        loop_defer(net_loop_loop(home->net), send_all, home_take(home));
    }
    STAILQ_INSERT_TAIL(&home->leaving, &op->store, queue_entry);
}

void
op_home_release(Op *op)
{
    if (op->queued_bytes > 0) {
        atomic_fetch_sub(&op->app->queued_bytes, op->queued_bytes);
    }
    free(op->kept_body);
    if (op->kept != op->kept_inline) {
        free(op->kept);
    }
    if (op->home != NULL) {
        metric_move(op->app->metrics.queued, -1);
        op_home_drop(op->home);
    }
}
