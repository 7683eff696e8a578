/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/supervisor.h"

#include <bsd/sys/tree.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/mem.h"
#include "syncd/lease.h"
#include "syncd/lease_rules.h"

#define CONTROL_MS_MIN        2000 /* an answer may take that long, however short the lease */
#define SERVER_LIST_BYTES_MAX (1u << 20)

static const LogScope scope = {.name = "syncd"};

/* A stream that is wanted, or whose session has not ended yet. */
typedef struct Post {
    RB_ENTRY(Post) by_key;
    TAILQ_ENTRY(Post) by_partition; /* once the partitions are known */
    Supervisor *supervisor;
    StreamKey key;
    StreamPlan plan;
    bool wanted;
    unsigned partition;
    Session *session;    /* NULL: not loaded here */
    StreamPlan run_plan; /* of the session */
    int64_t run_epoch;
    size_t run_writer;
    size_t run_index; /* in supervisor->posts */
    bool ending;      /* the session was told to end */
} Post;

typedef struct Partition {
    TAILQ_HEAD(, Post) posts;
    size_t sessions;
    bool leased;
    bool yielding; /* to be given back once no session is left */
    int64_t epoch;
} Partition;

typedef RB_HEAD(PostTree, Post) PostTree;

struct Supervisor {
    Loop *loop;
    SyncdConfig *config;
    Servers *servers;
    Budget budget;
    size_t looking; /* closed sessions that look at their server */
    SessionShared shared;
    char *application_name;
    Buf server_names; /* array literals */
    Buf server_urls;
    ControlLink *link;
    Lease *lease;
    Writer **writers;
    size_t *writer_loads; /* sessions of each */
    bool *writer_started;
    size_t writer_count;
    PostTree wanted;
    size_t wanted_count;
    Partition *partitions; /* NULL until the lease has joined */
    unsigned partition_count;
    Post **posts; /* those with a session */
    size_t session_count;
    size_t session_room;
    bool started;
    LoopTimer *stop_timer;
    LoopTimer *loan_timer; /* of the budget */
    LoopFn on_stopped;
    void *on_stopped_arg;
    void (*on_refused)(void *arg, const Error *err);
    void *on_refused_arg;
};

static int
post_compare(const Post *a, const Post *b)
{
    return stream_key_compare(&a->key, &b->key);
}

RB_GENERATE_INTERNAL(PostTree, Post, by_key, post_compare, DS_UNUSED static)

/* A server may take now what it refused: nobody waits until it is due. */
static void
supervisor_try_again(void *arg)
{
    Supervisor *supervisor = arg;

    for (size_t i = 0; i < supervisor->session_count; i++) {
        session_try_again(supervisor->posts[i]->session);
    }
}

/* The stream server refuses our token. */
static void
supervisor_on_token_refused(void *arg)
{
    Supervisor *supervisor = arg;

    servers_reload_tokens(supervisor->servers, false);
}

static void
supervisor_on_login_refused(void *arg)
{
    Supervisor *supervisor = arg;
    Error err;

    if (!syncd_config_read_postgres_url(supervisor->config, &err)) {
        log_warn(&scope, EVENT_SECRET_UNREADABLE, LOG_FIELDS(), "%s", err.text);
    }
}

void
supervisor_reload_secrets(Supervisor *supervisor)
{
    servers_reload_tokens(supervisor->servers, true);
    supervisor_try_again(supervisor); /* certificates are read for each connection */
    supervisor_on_login_refused(supervisor);
}

/* --- sessions --- */

static void
writer_begin_work(Supervisor *supervisor, size_t index)
{
    if (!supervisor->writer_started[index]) {
        supervisor->writer_started[index] = true;
        writer_start(supervisor->writers[index]);
    }
}

static size_t
least_loaded_writer(const Supervisor *supervisor)
{
    size_t best = 0;

    for (size_t i = 1; i < supervisor->writer_count; i++) {
        if (supervisor->writer_loads[i] < supervisor->writer_loads[best]) {
            best = i;
        }
    }
    return best;
}

static void
post_start(Post *post)
{
    Supervisor *supervisor = post->supervisor;
    Partition *partition = &supervisor->partitions[post->partition];

    post->run_plan = stream_plan_copy(&post->plan);
    post->run_epoch = partition->epoch;
    post->run_writer = least_loaded_writer(supervisor);
    post->ending = false;
    if (supervisor->session_count == supervisor->session_room) {
        supervisor->session_room = DS_MAX(supervisor->session_room * 2, (size_t)16);
        supervisor->posts = mem_regrow(supervisor->posts, supervisor->session_room, sizeof(Post *));
    }
    post->run_index = supervisor->session_count;
    supervisor->posts[supervisor->session_count++] = post;
    supervisor->writer_loads[post->run_writer]++;
    partition->sessions++;
    writer_begin_work(supervisor, post->run_writer);
    post->session = session_new(&supervisor->shared,
                                &(SessionConfig){.key = &post->key,
                                                 .plan = &post->run_plan,
                                                 .lease_epoch = post->run_epoch,
                                                 .partition = post->partition,
                                                 .owner = post},
                                supervisor->writers[post->run_writer]);
    session_start(post->session);
}

static void
post_free(Post *post)
{
    Supervisor *supervisor = post->supervisor;

    RB_REMOVE(PostTree, &supervisor->wanted, post);
    if (supervisor->partitions != NULL) {
        TAILQ_REMOVE(&supervisor->partitions[post->partition].posts, post, by_partition);
    }
    stream_plan_done(&post->plan);
    stream_key_done(&post->key);
    free(post);
}

/* Begins, ends or forgets, as the stream is wanted and leased now. */
static void
post_reconcile(Post *post)
{
    const Supervisor *supervisor = post->supervisor;
    const Partition *partition =
        supervisor->partitions == NULL ? NULL : &supervisor->partitions[post->partition];
    bool due = post->wanted && partition != NULL && partition->leased;

    if (post->session == NULL) {
        if (due) {
            post_start(post);
        } else if (!post->wanted) {
            post_free(post);
        }
        return;
    }
    bool as_it_runs = due && partition->epoch == post->run_epoch &&
                      stream_plan_equal(&post->plan, &post->run_plan);
    if (!as_it_runs && !post->ending) {
        post->ending = true;
        session_end(post->session);
    }
}

static void
partition_check_yield(Supervisor *supervisor, unsigned number)
{
    Partition *partition = &supervisor->partitions[number];

    if (partition->yielding && partition->sessions == 0) {
        partition->yielding = false;
        lease_yielded(supervisor->lease, number);
    }
}

static void
post_on_ended(void *arg)
{
    Post *post = arg;
    Supervisor *supervisor = post->supervisor;
    unsigned partition = post->partition;
    Post *last = supervisor->posts[--supervisor->session_count];

    supervisor->posts[post->run_index] = last;
    last->run_index = post->run_index;
    supervisor->writer_loads[post->run_writer]--;
    supervisor->partitions[partition].sessions--;
    session_free(post->session);
    stream_plan_done(&post->run_plan);
    post->session = NULL;
    post_reconcile(post); /* it may be gone then */
    partition_check_yield(supervisor, partition);
}

static void
post_on_fenced(void *arg)
{
    Post *post = arg;

    lease_doubt(post->supervisor->lease, post->partition);
}

/* --- leases --- */

static void
lease_on_joined(void *arg, unsigned partition_count)
{
    Supervisor *supervisor = arg;
    Post *post;

    supervisor->partition_count = partition_count;
    supervisor->partitions = mem_array(partition_count, sizeof(Partition));
    for (unsigned i = 0; i < partition_count; i++) {
        TAILQ_INIT(&supervisor->partitions[i].posts);
    }
    RB_FOREACH(post, PostTree, &supervisor->wanted)
    {
        post->partition = stream_partition(&post->key, partition_count);
        TAILQ_INSERT_TAIL(&supervisor->partitions[post->partition].posts, post, by_partition);
    }
}

static void
partition_reconcile(Partition *partition)
{
    Post *post = TAILQ_FIRST(&partition->posts);

    while (post != NULL) {
        Post *next = TAILQ_NEXT(post, by_partition);

        post_reconcile(post); /* it may be gone then */
        post = next;
    }
}

static void
lease_on_gained(void *arg, unsigned number, int64_t epoch)
{
    Supervisor *supervisor = arg;
    Partition *partition = &supervisor->partitions[number];

    partition->leased = true;
    partition->yielding = false;
    partition->epoch = epoch;
    partition_reconcile(partition);
}

static void
lease_on_yield(void *arg, unsigned number)
{
    Supervisor *supervisor = arg;
    Partition *partition = &supervisor->partitions[number];

    partition->leased = false;
    partition->yielding = true;
    partition_reconcile(partition);
    partition_check_yield(supervisor, number);
}

static void
lease_on_lost(void *arg, unsigned number)
{
    Supervisor *supervisor = arg;
    Partition *partition = &supervisor->partitions[number];
    Post *post;

    partition->leased = false;
    partition->yielding = false;
    TAILQ_FOREACH (post, &partition->posts, by_partition) {
        if (post->session != NULL) {
            post->ending = true;
            session_revoke(post->session);
        }
    }
}

static void
lease_on_refused(void *arg, const Error *err)
{
    Supervisor *supervisor = arg;

    if (supervisor->on_refused != NULL) {
        supervisor->on_refused(supervisor->on_refused_arg, err);
    }
}

static void
lease_on_left(void *arg)
{
    Supervisor *supervisor = arg;
    LoopFn fn = supervisor->on_stopped;

    timer_stop(supervisor->stop_timer);
    supervisor->on_stopped = NULL;
    if (fn != NULL) {
        fn(supervisor->on_stopped_arg);
    }
}

static void
supervisor_out_of_time(void *arg)
{
    Supervisor *supervisor = arg;

    log_warn(
        &scope, EVENT_SYNCD_STOP_TIMEOUT, LOG_FIELDS(log_u64("streams", supervisor->session_count)),
        "what is gathered could not be committed in time; it is read again after the next start");
    lease_leave(supervisor->lease, true);
}

/* --- what is wanted --- */

static Post *
post_find(Supervisor *supervisor, const StreamKey *key)
{
    Post wanted = {.key = *key};

    return RB_FIND(PostTree, &supervisor->wanted, &wanted);
}

void
supervisor_want(Supervisor *supervisor, const StreamKey *key, const StreamPlan *plan)
{
    Post *post = post_find(supervisor, key);

    if (post == NULL) {
        post = mem_zalloc(sizeof(*post));
        post->supervisor = supervisor;
        post->key = stream_key_copy(key);
        RB_INSERT(PostTree, &supervisor->wanted, post);
        if (supervisor->partitions != NULL) {
            post->partition = stream_partition(key, supervisor->partition_count);
            TAILQ_INSERT_TAIL(&supervisor->partitions[post->partition].posts, post, by_partition);
        }
    }
    supervisor->wanted_count += !post->wanted;
    post->wanted = true;
    StreamPlan before = post->plan;
    post->plan = stream_plan_copy(plan); /* which may be the one that is replaced */
    stream_plan_done(&before);
    post_reconcile(post);
    if (post->session != NULL && !post->ending) {
        post->run_plan.told = plan->told;
        post->run_plan.from_start = plan->from_start;
        session_made_anew(post->session); /* told again of what is there: it may be another one */
    }
}

void
supervisor_unwant(Supervisor *supervisor, const StreamKey *key)
{
    Post *post = post_find(supervisor, key);

    if (post != NULL && post->wanted) {
        supervisor->wanted_count--;
        post->wanted = false;
        post_reconcile(post);
    }
}

void
supervisor_begin_again(Supervisor *supervisor, const StreamKey *key)
{
    Post *post = post_find(supervisor, key);

    if (post != NULL && post->session != NULL && !post->ending) {
        const Checkpoint *at = session_view(post->session).checkpoint;

        log_info(&scope,
                 LOG_FIELDS(log_str("stream", key->name), log_str("route", key->route),
                            log_str("offset", str_c(at->position.offset)),
                            log_i64("skip", at->position.skip), log_i64("epoch", at->epoch)),
                 "an operator asked for it: begins again from the position that is stored");
        post->ending = true;
        session_revoke(post->session);
    }
}

/* --- life --- */

static void
supervisor_make_writers(Supervisor *supervisor, const Stats *stats)
{
    const SyncdConfig *config = supervisor->config;

    supervisor->writer_count = (size_t)config->writers;
    supervisor->writers = mem_array(supervisor->writer_count, sizeof(Writer *));
    supervisor->writer_loads = mem_array(supervisor->writer_count, sizeof(size_t));
    supervisor->writer_started = mem_array(supervisor->writer_count, sizeof(bool));
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        supervisor->writers[i] =
            writer_new(supervisor->loop, &(WriterConfig){
                                             .number = (unsigned)i,
                                             .postgres_url = &config->postgres_url,
                                             .on_refused = supervisor_on_login_refused,
                                             .arg = supervisor,
                                             .application_name = supervisor->application_name,
                                             .rows_max = config->limits.batch_rows,
                                             .bytes_max = config->limits.batch_bytes,
                                             .electric_pads = config->electric_pads,
                                             .backoff_base_ms = config->timeouts.backoff_base_ms,
                                             .backoff_max_ms = config->timeouts.backoff_max_ms,
                                             .patience_ms = config->timeouts.patience_ms,
                                             .statement_ms = config->timeouts.statement_ms,
                                             .lease_ms = config->timeouts.lease_ms,
                                             .stats = stats,
                                         });
    }
}

static void
supervisor_name_servers(Supervisor *supervisor)
{
    Buf *names = &supervisor->server_names;
    Buf *urls = &supervisor->server_urls;
    Error err;

    buf_init(names, SERVER_LIST_BYTES_MAX);
    buf_init(urls, SERVER_LIST_BYTES_MAX);
    bool ok = buf_append_char(names, '{', &err) && buf_append_char(urls, '{', &err);
    for (size_t i = 0; ok && i < servers_count(supervisor->servers); i++) {
        const Server *server = servers_at(supervisor->servers, i);

        ok = pg_array_append(names, str_c(server->name), i == 0, &err) &&
             pg_array_append(urls, str_c(server->url), i == 0, &err);
    }
    ok = ok && buf_append_char(names, '}', &err) && buf_append_char(urls, '}', &err);
    DS_ASSERT(ok); /* SERVERS_MAX names and settings, which are bounded */
}

static void
supervisor_make_lease(Supervisor *supervisor)
{
    static const LeaseCallbacks callbacks = {
        .on_joined = lease_on_joined,
        .on_gained = lease_on_gained,
        .on_yield = lease_on_yield,
        .on_lost = lease_on_lost,
        .on_refused = lease_on_refused,
        .on_left = lease_on_left,
    };
    const SyncdConfig *config = supervisor->config;

    supervisor->link = control_link_new(
        supervisor->loop, &(ControlLinkConfig){
                              .postgres_url = &config->postgres_url,
                              .on_refused = supervisor_on_login_refused,
                              .arg = supervisor,
                              .application_name = supervisor->application_name,
                              .command_ms_max = DS_MAX(lease_renew_ms(config->timeouts.lease_ms),
                                                       (int64_t)CONTROL_MS_MIN),
                              .backoff_base_ms = config->timeouts.backoff_base_ms,
                              .backoff_max_ms = DS_MIN(config->timeouts.backoff_max_ms,
                                                       lease_renew_ms(config->timeouts.lease_ms)),
                          });
    supervisor->lease = lease_new(supervisor->loop, supervisor->link,
                                  &(LeaseConfig){.instance = config->instance,
                                                 .servers = buf_cstr(&supervisor->server_names),
                                                 .server_urls = buf_cstr(&supervisor->server_urls),
                                                 .lease_ms = config->timeouts.lease_ms,
                                                 .statement_ms = config->timeouts.statement_ms},
                                  &callbacks, supervisor);
}

static void
supervisor_end_loans(void *arg)
{
    Supervisor *supervisor = arg;

    budget_end_loans(&supervisor->budget);
}

Supervisor *
supervisor_new(Loop *loop, SyncdConfig *config, const Stats *stats)
{
    Supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    char name[64]; /* Postgres cuts at 63 */

    supervisor->loop = loop;
    supervisor->config = config;
    supervisor->servers = servers_new(loop, &(ServersConfig){
                                                .list = &config->servers,
                                                .ca_file = config->ca_file,
                                                .cert_file = config->cert_file,
                                                .key_file = config->key_file,
                                                .openings_max = (size_t)config->limits.openings,
                                                .idle_ms_max = config->timeouts.idle_ms,
                                                .backoff_ms_max = config->timeouts.backoff_max_ms,
                                            });
    servers_on_renewed(supervisor->servers, supervisor_try_again, supervisor);
    budget_init(&supervisor->budget, (size_t)config->limits.queue_bytes,
                (size_t)config->limits.stream_queue_bytes, session_resume);
    (void)snprintf(name, sizeof(name), "syncd/%s", config->instance);
    supervisor->application_name = mem_strdup(name);
    supervisor->loan_timer = timer_new(loop, supervisor_end_loans, supervisor);
    timer_repeat(supervisor->loan_timer, BUDGET_LOOK_MS);
    supervisor->stop_timer = timer_new(loop, supervisor_out_of_time, supervisor);
    supervisor->shared = (SessionShared){
        .loop = loop,
        .budget = &supervisor->budget,
        .config = config,
        .stats = stats,
        .looking = &supervisor->looking,
        .on_refused = supervisor_on_token_refused,
        .arg = supervisor,
        .on_ended = post_on_ended,
        .on_fenced = post_on_fenced,
    };
    RB_INIT(&supervisor->wanted);
    supervisor_make_writers(supervisor, stats);
    supervisor_name_servers(supervisor);
    supervisor_make_lease(supervisor);
    supervisor->shared.link = supervisor->link;
    return supervisor;
}

void
supervisor_free(Supervisor *supervisor)
{
    Post *post;
    Post *next;

    if (supervisor == NULL) {
        return;
    }
    budget_close(&supervisor->budget); /* there is nobody to bring anything to */
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        writer_free(supervisor->writers[i]);
    }
    lease_free(supervisor->lease);
    RB_FOREACH_SAFE(post, PostTree, &supervisor->wanted, next)
    {
        session_free(post->session);
        stream_plan_done(&post->run_plan);
        post_free(post);
    }
    control_link_free(supervisor->link); /* sessions ask it */
    timer_free(supervisor->stop_timer);
    timer_free(supervisor->loan_timer);
    servers_free(supervisor->servers);
    free(supervisor->application_name);
    buf_done(&supervisor->server_names);
    buf_done(&supervisor->server_urls);
    free(supervisor->writers);
    free(supervisor->writer_loads);
    free(supervisor->writer_started);
    free(supervisor->partitions);
    free(supervisor->posts);
    free(supervisor);
}

void
supervisor_start(Supervisor *supervisor)
{
    supervisor->started = true;
    lease_start(supervisor->lease);
    /* Connects while the leases are asked for. */
    for (size_t i = 0; i < DS_MIN(supervisor->writer_count, supervisor->wanted_count); i++) {
        writer_begin_work(supervisor, i);
    }
}

void
supervisor_stop(Supervisor *supervisor, LoopFn fn, void *arg)
{
    supervisor->on_stopped = fn;
    supervisor->on_stopped_arg = arg;
    timer_start(supervisor->stop_timer, supervisor->config->timeouts.stop_ms);
    lease_leave(supervisor->lease, false);
}

void
supervisor_on_refused(Supervisor *supervisor, void (*fn)(void *arg, const Error *err), void *arg)
{
    supervisor->on_refused = fn;
    supervisor->on_refused_arg = arg;
}

Servers *
supervisor_servers(Supervisor *supervisor)
{
    return supervisor->servers;
}

ControlLink *
supervisor_control_link(Supervisor *supervisor)
{
    return supervisor->link;
}

/* --- views --- */

size_t
supervisor_count(const Supervisor *supervisor)
{
    return supervisor->session_count;
}

SessionView
supervisor_view(const Supervisor *supervisor, size_t index)
{
    DS_ASSERT(index < supervisor->session_count);
    SessionView view = session_view(supervisor->posts[index]->session);
    view.partition = supervisor->posts[index]->partition;
    return view;
}

FleetView
supervisor_fleet(const Supervisor *supervisor)
{
    return (FleetView){.wanted = supervisor->wanted_count,
                       .held = lease_held(supervisor->lease),
                       .instances = lease_living(supervisor->lease)};
}

/* Of the streams that are not closed: none is, nor ever will be, loaded before somebody acts. */
static bool
supervisor_all_dead(const Supervisor *supervisor)
{
    size_t dead = 0;
    size_t over = 0;

    for (size_t i = 0; i < supervisor->session_count; i++) {
        SessionState state = supervisor_view(supervisor, i).state;

        dead += session_is_dead(state);
        over += session_is_dead(state) || state == SESSION_CLOSED;
    }
    return dead > 0 && over == supervisor->session_count;
}

/* A sentence, "ok" if the servers answer.  Streams that rest keep what they heard last, so they
 * count where no other one asks. */
static const char *
supervisor_reach(const Supervisor *supervisor)
{
    bool asks = false;
    bool asking_reached = false;
    bool resting_reached = supervisor->session_count == 0;
    bool loads = false;

    for (size_t i = 0; i < supervisor->session_count; i++) {
        SessionView view = supervisor_view(supervisor, i);

        if (!view.loaded) {
            loads = loads || !session_is_dead(view.state);
        } else if (session_asks_server(view.state)) {
            asks = true;
            asking_reached = asking_reached || view.reached;
        } else {
            resting_reached = resting_reached || view.reached;
        }
    }
    if (asks ? asking_reached : resting_reached) {
        return "ok";
    }
    return loads && !asks ? "positions are being loaded"
                          : "the stream server does not answer, or refuses us";
}

bool
supervisor_is_ready(const Supervisor *supervisor, const char **out_why)
{
    *out_why = "starting";
    if (!supervisor->started) {
        return false;
    }
    *out_why = "Postgres does not answer";
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        if (supervisor->writer_loads[i] > 0 && !writer_is_up(supervisor->writers[i])) {
            return false;
        }
    }
    if (supervisor->session_count == 0 && !control_link_is_up(supervisor->link)) {
        return false;
    }
    *out_why = "leases are being taken";
    if (!lease_is_settled(supervisor->lease)) {
        return false;
    }
    for (size_t i = 0; i < supervisor->session_count; i++) {
        *out_why = "positions are being loaded";
        if (supervisor_view(supervisor, i).state == SESSION_LOAD) {
            return false;
        }
    }
    if (supervisor_all_dead(supervisor)) {
        *out_why = "every stream that is not closed is stopped, failed or fenced";
        return false;
    }
    *out_why = supervisor_reach(supervisor);
    return strcmp(*out_why, "ok") == 0;
}
