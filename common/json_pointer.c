/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_pointer.h"

#include "common/mem.h"
#include "common/parse.h"

/* What the tokens up to here lead to.  keys[i] leads on to children[i]. */
typedef struct PointerNode {
    Str *keys; /* owned, each on the heap */
    struct PointerNode *children;
    size_t child_count;
    size_t *slots; /* the pointers that end here */
    size_t slot_count;
} PointerNode;

struct JsonPointers {
    size_t count;
    PointerNode root;
};

static void
node_done(PointerNode *node)
{
    for (size_t i = 0; i < node->child_count; i++) {
        node_done(&node->children[i]);
        free((char *)node->keys[i].ptr);
    }
    free(node->keys);
    free(node->children);
    free(node->slots);
}

/* The child that a token leads to, made if it is a new one.  Moves the other children. */
static PointerNode *
node_child(PointerNode *node, Str key)
{
    for (size_t i = 0; i < node->child_count; i++) {
        if (str_eq(node->keys[i], key)) {
            return &node->children[i];
        }
    }
    size_t at = node->child_count++;
    node->keys = mem_regrow(node->keys, node->child_count, sizeof(*node->keys));
    node->children = mem_regrow(node->children, node->child_count, sizeof(*node->children));
    node->keys[at] = str_n(str_dup(key), key.len);
    node->children[at] = (PointerNode){0};
    return &node->children[at];
}

/* "~1" is a slash and "~0" a tilde; nothing else may follow a tilde. */
static bool
token_decode(Str token, Buf *out, Error *err)
{
    buf_reset(out);
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];

        if (c == '~') {
            i++;
            if (i == token.len || (token.ptr[i] != '0' && token.ptr[i] != '1')) {
                return error_set(err, ERR_INPUT,
                                 "in a JSON pointer, 0 (for ~) or 1 (for /) follows a tilde");
            }
            c = token.ptr[i] == '0' ? '~' : '/';
        }
        if (!buf_append_char(out, c, err)) {
            return false;
        }
    }
    return true;
}

static bool
pointer_add(JsonPointers *pointers, size_t slot, Str pointer, Error *err)
{
    PointerNode *node = &pointers->root;
    Str rest = pointer;
    size_t tokens = 0;
    bool ok = true;
    Buf key;

    if (pointer.len > 0 && pointer.ptr[0] != '/') {
        return error_set(err, ERR_INPUT, "a JSON pointer begins with a slash");
    }
    buf_init(&key, JSON_POINTER_BYTES_MAX);
    while (rest.len > 0 && ok) {
        Str token;
        Str behind;
        bool more = str_cut(str_skip(rest, 1), '/', &token, &behind);

        rest = more ? str_n(behind.ptr - 1, behind.len + 1) : STR_EMPTY;
        if (++tokens > JSON_POINTER_TOKENS_MAX) {
            ok = error_set(err, ERR_LIMIT, "a JSON pointer has at most %d tokens",
                           JSON_POINTER_TOKENS_MAX);
        } else if ((ok = token_decode(token, &key, err))) {
            node = node_child(node, buf_str(&key));
        }
    }
    buf_done(&key);
    if (ok) {
        node->slots = mem_regrow(node->slots, node->slot_count + 1, sizeof(*node->slots));
        node->slots[node->slot_count++] = slot;
    }
    return ok;
}

bool
json_pointers_new(const Str *pointers, size_t count, JsonPointers **out, Error *err)
{
    if (count > JSON_POINTERS_MAX) {
        return error_set(err, ERR_LIMIT, "%zu JSON pointers; at most %d", count, JSON_POINTERS_MAX);
    }
    JsonPointers *made = mem_zalloc(sizeof(*made));
    made->count = count;
    for (size_t i = 0; i < count; i++) {
        bool added =
            pointers[i].len <= JSON_POINTER_BYTES_MAX
                ? pointer_add(made, i, pointers[i], err)
                : error_set(err, ERR_LIMIT, "it is longer than %d bytes", JSON_POINTER_BYTES_MAX);

        if (!added) {
            json_pointers_free(made);
            return error_wrap(err, "%.*s", STR_ARG(str_head(pointers[i], 64)));
        }
    }
    *out = made;
    return true;
}

void
json_pointers_free(JsonPointers *pointers)
{
    if (pointers != NULL) {
        node_done(&pointers->root);
        free(pointers);
    }
}

/* An array's element by its number: "0", or digits without a leading zero. */
static bool
token_index(Str token, uint64_t *out)
{
    return token.len > 0 && (token.ptr[0] != '0' || token.len == 1) &&
           parse_u64(token, SIZE_MAX, out);
}

static void node_get(const PointerNode *node, const JsonValue *value, JsonValue *out);

static void
node_get_elements(const PointerNode *node, Str array, JsonValue *out)
{
    JsonElements it;
    JsonValue element;
    uint64_t at = 0;
    uint64_t last = 0;
    uint64_t wanted;
    bool more = true;
    bool any = false;
    Error ignored;

    for (size_t i = 0; i < node->child_count; i++) {
        if (token_index(node->keys[i], &wanted)) {
            last = DS_MAX(last, wanted);
            any = true;
        }
    }
    if (!any || !json_elements_init(&it, array, JSON_DEPTH_MAX, &ignored)) {
        return;
    }
    for (; at <= last && json_elements_next(&it, &element, &more, &ignored) && more; at++) {
        for (size_t i = 0; i < node->child_count; i++) {
            if (token_index(node->keys[i], &wanted) && wanted == at) {
                node_get(&node->children[i], &element, out);
            }
        }
    }
}

static void
node_get(const PointerNode *node, const JsonValue *value, JsonValue *out)
{
    JsonValue found[JSON_POINTERS_MAX];

    for (size_t i = 0; i < node->slot_count; i++) {
        out[node->slots[i]] = *value;
    }
    if (node->child_count == 0) {
        return;
    }
    if (value->type == JSON_TYPE_ARRAY) {
        node_get_elements(node, value->text, out);
    } else if (value->type == JSON_TYPE_OBJECT) {
        json_members(value->text, node->keys, node->child_count, found);
        for (size_t i = 0; i < node->child_count; i++) {
            if (found[i].text.ptr != NULL) {
                node_get(&node->children[i], &found[i], out);
            }
        }
    }
}

void
json_pointers_get(const JsonPointers *pointers, Str document, JsonValue *out)
{
    JsonValue whole = {.text = document, .type = JSON_TYPE_NULL};
    Error ignored;

    for (size_t i = 0; i < pointers->count; i++) {
        out[i] = (JsonValue){.text = {NULL, 0}};
    }
    /* A pointer to all of it wants its traits; the others want to know only whether to go in. */
    if (pointers->root.slot_count > 0) {
        if (!json_scan_value(document, JSON_DEPTH_MAX, &whole, &ignored)) {
            return;
        }
    } else if (document.len > 0 && document.ptr[0] == '{') {
        whole.type = JSON_TYPE_OBJECT;
    } else if (document.len > 0 && document.ptr[0] == '[') {
        whole.type = JSON_TYPE_ARRAY;
    }
    node_get(&pointers->root, &whole, out);
}
