/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_model_internal.h"

#include "common/mem.h"

static int
id_cmp(const Subscription *a, const Subscription *b)
{
    return str_cmp(str_c(a->definition->id), str_c(b->definition->id));
}

static int
path_cmp(const SubsStream *a, const SubsStream *b)
{
    return str_cmp(a->path, b->path);
}

static int
link_cmp(const SubsLink *a, const SubsLink *b)
{
    return path_cmp(a->stream, b->stream);
}

RB_GENERATE_INTERNAL(SubsById, Subscription, by_id, id_cmp, DS_UNUSED static)
RB_GENERATE_INTERNAL(SubsByPath, SubsStream, by_path, path_cmp, DS_UNUSED static)
RB_GENERATE_INTERNAL(SubsLinks, SubsLink, by_path, link_cmp, DS_UNUSED static)

/* ---- definitions ---- */

SubsDefinition *
subs_definition_new(void)
{
    SubsDefinition *definition = mem_zalloc(sizeof(*definition));

    atomic_init(&definition->refs, 1);
    return definition;
}

SubsDefinition *
subs_definition_take(SubsDefinition *definition)
{
    atomic_fetch_add_explicit(&definition->refs, 1, memory_order_relaxed);
    return definition;
}

void
subs_definition_drop(SubsDefinition *definition)
{
    if (definition == NULL ||
        atomic_fetch_sub_explicit(&definition->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free(definition->id);
    free(definition->pattern);
    free(definition->url);
    free(definition->wake_stream);
    free(definition->description);
    free(definition->origin);
    free(definition);
}

/* ---- changes ---- */

static SubsChange *
note(SubsModel *model, SubsChangeKind kind, const Subscription *subscription)
{
    SubsChanges *changes = &model->changes;
    SubsChange *change;

    if (changes->count == changes->room) {
        changes->room = DS_MAX(changes->room * 2, (size_t)16);
        changes->items = mem_regrow(changes->items, changes->room, sizeof(SubsChange));
    }
    change = &changes->items[changes->count++];
    *change = (SubsChange){
        .kind = kind,
        .definition = subs_definition_take(subscription->definition),
        .state = subscription->state,
    };
    return change;
}

void
subs_note_state(SubsModel *model, Subscription *subscription)
{
    (void)note(model, SUBS_CHANGE_STATE, subscription);
}

void
subs_note_link(SubsModel *model, SubsLink *link)
{
    SubsChange *change = note(model, SUBS_CHANGE_LINK, link->subscription);

    change->path = str_dup(link->stream->path);
    change->cursor = link->cursor;
}

void
subs_model_changes(SubsModel *model, SubsChanges *out)
{
    *out = model->changes;
    model->changes = (SubsChanges){0};
}

void
subs_changes_done(SubsChanges *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        subs_definition_drop(changes->items[i].definition);
        free(changes->items[i].path);
    }
    free(changes->items);
    *changes = (SubsChanges){0};
}

/* ---- the model ---- */

SubsModel *
subs_model_new(const SubsLimits *limits, uint32_t (*random)(uint32_t bound))
{
    SubsModel *model = mem_zalloc(sizeof(*model));

    model->limits = *limits;
    model->random = random;
    RB_INIT(&model->subscriptions);
    RB_INIT(&model->due);
    RB_INIT(&model->streams);
    TAILQ_INIT(&model->ready[SUBS_WEBHOOK]);
    TAILQ_INIT(&model->ready[SUBS_PULL_WAKE]);
    return model;
}

static void remove_link(SubsModel *model, SubsLink *link);

static void
subscription_free(SubsModel *model, Subscription *subscription)
{
    SubsLink *link;

    subs_forget_wake(model, subscription);
    while ((link = RB_MIN(SubsLinks, &subscription->links)) != NULL) {
        SubsStream *stream = link->stream;

        remove_link(model, link);
        subs_model_stream_sweep(model, stream);
    }
    RB_REMOVE(SubsById, &model->subscriptions, subscription);
    model->count--;
    subs_definition_drop(subscription->definition);
    free(subscription);
}

void
subs_model_free(SubsModel *model)
{
    Subscription *subscription;
    SubsStream *stream;

    if (model == NULL) {
        return;
    }
    while ((subscription = RB_MIN(SubsById, &model->subscriptions)) != NULL) {
        subscription_free(model, subscription);
    }
    while ((stream = RB_MIN(SubsByPath, &model->streams)) != NULL) {
        RB_REMOVE(SubsByPath, &model->streams, stream);
        free((char *)stream->path.ptr);
        free(stream);
    }
    subs_changes_done(&model->changes);
    free(model);
}

size_t
subs_model_count(const SubsModel *model)
{
    return model->count;
}

size_t
subs_model_links(const SubsModel *model)
{
    return model->links;
}

/* A key for the tree of ids needs a definition with an id, terminated. */
static Subscription *
id_search(SubsModel *model, Str id, bool after)
{
    Subscription *node = RB_ROOT(&model->subscriptions);
    Subscription *found = NULL;

    while (node != NULL) {
        int order = str_cmp(id, str_c(node->definition->id));

        if (order == 0 && !after) {
            return node;
        }
        if (order < 0) {
            found = node;
            node = RB_LEFT(node, by_id);
        } else {
            node = RB_RIGHT(node, by_id);
        }
    }
    return after ? found : NULL;
}

Subscription *
subs_model_find(SubsModel *model, Str id)
{
    return id_search(model, id, false);
}

Subscription *
subs_model_next(SubsModel *model, Str after)
{
    return id_search(model, after, true);
}

SubsStream *
subs_model_stream(SubsModel *model, Str path)
{
    SubsStream key = {.path = path};

    return RB_FIND(SubsByPath, &model->streams, &key);
}

SubsStream *
subs_model_next_stream(SubsModel *model, Str after)
{
    SubsStream key = {.path = after};
    SubsStream *stream = RB_NFIND(SubsByPath, &model->streams, &key);

    if (stream != NULL && str_eq(stream->path, after)) {
        stream = RB_NEXT(SubsByPath, &model->streams, stream);
    }
    return stream;
}

SubsLink *
subs_link_find(Subscription *subscription, Str path)
{
    SubsStream stream = {.path = path};
    SubsLink key = {.stream = &stream};

    return RB_FIND(SubsLinks, &subscription->links, &key);
}

SubsLink *
subs_link_next(Subscription *subscription, const SubsLink *after)
{
    return after == NULL ? RB_MIN(SubsLinks, &subscription->links)
                         : RB_NEXT(SubsLinks, &subscription->links, (SubsLink *)after);
}

static Subscription *
add(SubsModel *model, SubsDefinition *definition, const SubsState *state)
{
    Subscription *subscription = mem_zalloc(sizeof(*subscription));

    subscription->definition = definition;
    subscription->state = *state;
    subscription->due_ms = SUBS_NEVER;
    RB_INIT(&subscription->links);
    model->serial = DS_MAX(model->serial, definition->serial);
    model->count++;
    Subscription *other = RB_INSERT(SubsById, &model->subscriptions, subscription);
    DS_ASSERT(other == NULL);
    return subscription;
}

SubsVerdict
subs_model_create(SubsModel *model, SubsDefinition *definition, Subscription **out)
{
    if (model->count >= model->limits.subscriptions) {
        return SUBS_TOO_MANY;
    }
    definition->serial = model->serial + 1;
    *out = add(model, definition, &(SubsState){0});
    (void)note(model, SUBS_CHANGE_CREATE, *out);
    return SUBS_OK;
}

void
subs_model_delete(SubsModel *model, Subscription *subscription)
{
    (void)note(model, SUBS_CHANGE_DELETE, subscription);
    subscription_free(model, subscription);
}

/* What was under way when the process ended is lost, but for what a worker holds.  Whether the
 * event of a pull-wake was written nobody knows: another will come. */
static SubsPhase
restored_phase(const SubsDefinition *definition, SubsPhase phase)
{
    if (phase == SUBS_WAKING && definition->type == SUBS_WEBHOOK) {
        return SUBS_LEASED;
    }
    return phase == SUBS_LEASED || phase == SUBS_BACKOFF ? phase : SUBS_IDLE;
}

Subscription *
subs_model_restore(SubsModel *model, SubsDefinition *definition, const SubsState *state)
{
    Subscription *subscription = add(model, definition, state);

    subscription->state.phase = restored_phase(definition, state->phase);
    return subscription;
}

Subscription *
subs_model_following(Subscription *subscription)
{
    return RB_NEXT(SubsById, NULL, subscription);
}

size_t
subs_model_unsaved(const SubsModel *model)
{
    return model->changes.count;
}

/* ---- links ---- */

static void
set_pending(SubsLink *link, bool pending)
{
    if (link->pending != pending) {
        link->pending = pending;
        link->subscription->pending += pending ? 1 : (size_t)-1;
    }
}

void
subs_link_refresh(SubsLink *link)
{
    const SubsStream *stream = link->stream;

    set_pending(link,
                stream->exists && link->cursor.placed && stream->at.tail > link->cursor.position);
}

/* The cursor follows a stream that was made anew, or whose offsets were. */
static void
place(SubsModel *model, SubsLink *link, bool from_origin)
{
    const SubsTail *at = &link->stream->at;
    SubsCursor *cursor = &link->cursor;
    uint64_t position;

    if (cursor->placed && cursor->id == at->id && cursor->era == at->era) {
        return;
    }
    if (cursor->placed && cursor->id == at->id) {
        position = DS_MIN(cursor->position, at->tail);
    } else {
        position = from_origin ? at->origin : at->tail;
    }
    cursor->placed = true;
    cursor->id = at->id;
    cursor->era = at->era;
    cursor->position = position;
    subs_note_link(model, link);
}

static SubsStream *
stream_get(SubsModel *model, Str path)
{
    SubsStream *stream = subs_model_stream(model, path);

    if (stream == NULL) {
        stream = mem_zalloc(sizeof(*stream));
        stream->path = str_n(str_dup(path), path.len);
        LIST_INIT(&stream->links);
        RB_INSERT(SubsByPath, &model->streams, stream);
    }
    return stream;
}

static SubsLink *
add_link(SubsModel *model, Subscription *subscription, SubsStream *stream)
{
    SubsLink *link = mem_zalloc(sizeof(*link));

    link->subscription = subscription;
    link->stream = stream;
    RB_INSERT(SubsLinks, &subscription->links, link);
    LIST_INSERT_HEAD(&stream->links, link, by_stream);
    subscription->link_count++;
    model->links++;
    return link;
}

/* The stream stays, for its watch; subs_model_unlink and who deletes clear it away. */
static void
remove_link(SubsModel *model, SubsLink *link)
{
    Subscription *subscription = link->subscription;

    set_pending(link, false);
    RB_REMOVE(SubsLinks, &subscription->links, link);
    LIST_REMOVE(link, by_stream);
    subscription->link_count--;
    model->links--;
    free(link);
}

void
subs_model_link_restore(SubsModel *model, Subscription *subscription, Str path,
                        const SubsCursor *cursor)
{
    SubsLink *link = add_link(model, subscription, stream_get(model, path));

    link->cursor = *cursor;
}

SubsVerdict
subs_model_link(SubsModel *model, Subscription *subscription, Str path, bool is_explicit,
                const SubsTail *at, bool from_origin, int64_t now_ms, SubsLink **out)
{
    SubsLink *link = subs_link_find(subscription, path);
    bool *kind;

    if (link == NULL) {
        if (subscription->link_count >= model->limits.streams_per_subscription ||
            model->links >= SUBS_LINKS_MAX) {
            return SUBS_TOO_MANY;
        }
        link = add_link(model, subscription, stream_get(model, path));
    }
    if (out != NULL) {
        *out = link;
    }
    kind = is_explicit ? &link->cursor.is_explicit : &link->cursor.is_glob;
    if (*kind) {
        return SUBS_OK;
    }
    *kind = true;
    if (at != NULL) {
        link->stream->exists = true;
        link->stream->at = *at;
        place(model, link, from_origin);
        subs_link_refresh(link);
    }
    subs_note_link(model, link);
    subs_consider(model, subscription, now_ms);
    return SUBS_OK;
}

static void
note_unlink(SubsModel *model, SubsLink *link)
{
    SubsChange *change = note(model, SUBS_CHANGE_UNLINK, link->subscription);

    change->path = str_dup(link->stream->path);
}

void
subs_model_unlink(SubsModel *model, Subscription *subscription, Str path, bool is_explicit,
                  int64_t now_ms)
{
    SubsLink *link = subs_link_find(subscription, path);
    bool *kind;

    if (link == NULL) {
        return;
    }
    kind = is_explicit ? &link->cursor.is_explicit : &link->cursor.is_glob;
    if (!*kind) {
        return;
    }
    *kind = false;
    if (link->cursor.is_explicit || link->cursor.is_glob) {
        subs_note_link(model, link);
        return;
    }
    note_unlink(model, link);
    remove_link(model, link);
    subs_consider(model, subscription, now_ms);
}

void
subs_model_stream_is(SubsModel *model, SubsStream *stream, const SubsTail *at, int64_t now_ms)
{
    SubsLink *link;

    stream->exists = true;
    stream->at = *at;
    LIST_FOREACH (link, &stream->links, by_stream) {
        place(model, link, true);
        subs_link_refresh(link);
        subs_consider(model, link->subscription, now_ms);
    }
}

void
subs_model_stream_gone(SubsModel *model, SubsStream *stream, int64_t now_ms)
{
    SubsLink *link;
    SubsLink *next;

    DS_ASSERT(stream->watch == NULL);
    stream->exists = false;
    LIST_FOREACH_SAFE (link, &stream->links, by_stream, next) {
        Subscription *subscription = link->subscription;

        if (link->cursor.is_explicit) {
            link->cursor.is_glob = false;
            link->cursor.placed = false;
            subs_link_refresh(link);
            subs_note_link(model, link);
        } else {
            note_unlink(model, link);
            remove_link(model, link);
        }
        subs_consider(model, subscription, now_ms);
    }
    subs_model_stream_sweep(model, stream);
}

void
subs_model_stream_sweep(SubsModel *model, SubsStream *stream)
{
    if (stream->watch == NULL && LIST_EMPTY(&stream->links)) {
        RB_REMOVE(SubsByPath, &model->streams, stream);
        free((char *)stream->path.ptr);
        free(stream);
    }
}
