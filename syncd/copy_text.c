/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_text.h"

#include "common/mem.h"

#define PIECES_FIRST    16
#define BUFFER_KEEP_MAX (16u << 20) /* memory kept for the next text */

void
copy_text_init(CopyText *copy, size_t bytes_max)
{
    *copy = (CopyText){0};
    buf_init(&copy->own, bytes_max);
}

void
copy_text_done(CopyText *copy)
{
    buf_done(&copy->own);
    free(copy->pieces);
    free(copy->texts);
}

void
copy_text_reset(CopyText *copy)
{
    buf_reset(&copy->own);
    buf_shrink(&copy->own, BUFFER_KEEP_MAX);
    copy->own_at = 0;
    copy->run = STR_EMPTY;
    copy->count = 0;
}

static void
add_piece(CopyText *copy, const char *ahead, size_t at, size_t len)
{
    if (copy->count == copy->room) {
        copy->room = DS_MAX(copy->room * 2, (size_t)PIECES_FIRST);
        copy->pieces = mem_regrow(copy->pieces, copy->room, sizeof(*copy->pieces));
        copy->texts = mem_regrow(copy->texts, copy->room, sizeof(*copy->texts));
    }
    copy->pieces[copy->count++] = (CopyPiece){.ahead = ahead, .at = at, .len = len};
}

static void
end_own(CopyText *copy)
{
    if (copy->own_at < copy->own.len) {
        add_piece(copy, NULL, copy->own_at, copy->own.len - copy->own_at);
        copy->own_at = copy->own.len;
    }
}

static bool
end_run(CopyText *copy, Error *err)
{
    Str run = copy->run;

    copy->run = STR_EMPTY;
    if (run.len < COPY_TEXT_RUN_BYTES_MIN) {
        return buf_append(&copy->own, run, err);
    }
    end_own(copy);
    add_piece(copy, run.ptr, 0, run.len);
    return true;
}

bool
copy_text_ahead(CopyText *copy, Str line, Error *err)
{
    if (copy->run.len > 0 && copy->run.ptr + copy->run.len == line.ptr) {
        copy->run.len += line.len;
        return true;
    }
    if (!end_run(copy, err)) {
        return false;
    }
    copy->run = line;
    return true;
}

bool
copy_text_open(CopyText *copy, Buf **out, Error *err)
{
    if (!end_run(copy, err)) {
        return false;
    }
    *out = &copy->own;
    return true;
}

bool
copy_text_end(CopyText *copy, Error *err)
{
    if (!end_run(copy, err)) {
        return false;
    }
    end_own(copy);
    for (size_t i = 0; i < copy->count; i++) {
        const CopyPiece *piece = &copy->pieces[i];

        copy->texts[i] =
            str_n(piece->ahead != NULL ? piece->ahead : copy->own.data + piece->at, piece->len);
    }
    return true;
}
