/* SPDX-License-Identifier: Apache-2.0 */
#include "common/stream_glob.h"

#include "common/ds_proto.h"

static bool
is_reserved(Str pattern)
{
    Str head;
    Str rest;

    str_cut(pattern, '/', &head, &rest);
    return str_eq(head, STR(DS_STREAM_RESERVED_SEGMENT));
}

static bool
check_segment(Str segment, Error *err)
{
    if (segment.len == 0) {
        return error_set(err, ERR_INPUT, "a pattern has no empty segments");
    }
    if (str_eq(segment, STR(".")) || str_eq(segment, STR(".."))) {
        return error_set(err, ERR_INPUT, "a pattern has no segments \".\" and \"..\"");
    }
    if (segment.len > 2 && memmem(segment.ptr, segment.len, "**", 2) != NULL) {
        return error_set(err, ERR_INPUT, "\"**\" stands for whole segments, between slashes");
    }
    return true;
}

bool
stream_glob_check(Str pattern, Error *err)
{
    Str rest = pattern;
    bool more = true;

    if (pattern.len == 0 || pattern.len > STREAM_GLOB_BYTES_MAX) {
        return error_set(err, ERR_INPUT, "a pattern has 1 to %d bytes", STREAM_GLOB_BYTES_MAX);
    }
    if (!str_is_utf8(pattern) || str_contains_ctl(pattern)) {
        return error_set(err, ERR_INPUT, "a pattern is UTF-8 without control characters");
    }
    if (is_reserved(pattern)) {
        return error_set(err, ERR_INPUT,
                         "names that begin with " DS_STREAM_RESERVED_SEGMENT " are reserved");
    }
    for (size_t count = 0; more; count++) {
        Str segment;

        if (count == STREAM_GLOB_SEGMENTS_MAX) {
            return error_set(err, ERR_INPUT, "a pattern has at most %d segments",
                             STREAM_GLOB_SEGMENTS_MAX);
        }
        more = str_cut(rest, '/', &segment, &rest);
        if (!check_segment(segment, err)) {
            return false;
        }
    }
    return true;
}

/* The last star takes one byte more whenever what follows it does not fit. */
static bool
match_segment(Str pattern, Str text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX;
    size_t resume = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

/* What is left of a path; no segments at all is something else than one empty segment. */
typedef struct Segments {
    Str rest;
    bool any;
} Segments;

static Str
segments_next(Segments *segments)
{
    Str segment;

    segments->any = str_cut(segments->rest, '/', &segment, &segments->rest);
    return segment;
}

bool
stream_glob_match(Str pattern, Str path)
{
    Segments p = {pattern, true};
    Segments t = {path, true};
    Segments after_star = {STR_EMPTY, false};
    Segments resume = {STR_EMPTY, false};
    bool has_star = false;
    bool rest_is_stars;

    while (t.any) {
        Segments p_next = p;
        Segments t_next = t;
        Str want = p.any ? segments_next(&p_next) : STR_EMPTY;

        if (p.any && str_eq(want, STR("**"))) {
            has_star = true;
            p = after_star = p_next;
            resume = t;
        } else if (p.any && match_segment(want, segments_next(&t_next))) {
            p = p_next;
            t = t_next;
        } else if (has_star) {
            (void)segments_next(&resume);
            p = after_star;
            t = resume;
        } else {
            return false;
        }
    }
    rest_is_stars = !p.any;
    while (p.any && str_eq(segments_next(&p), STR("**"))) {
        rest_is_stars = !p.any;
    }
    return rest_is_stars;
}

Str
stream_glob_prefix(Str pattern)
{
    size_t star;

    if (!str_find(pattern, '*', &star)) {
        return pattern;
    }
    /* Behind a slash, "**" matches what ends before that slash as well. */
    if (str_starts(str_skip(pattern, star), STR("**")) && star > 0) {
        star--;
    }
    return str_head(pattern, star);
}

/*
 * Two patterns overlap when their units (bytes of a segment, or segments) can be walked to both
 * ends: a star on either side stands still, or swallows one unit of the other side.
 * reached[j]: the first i units of a and the first j of b can stand for the same.
 */
static bool
segments_overlap(Str a, Str b)
{
    bool reached[STREAM_GLOB_BYTES_MAX + 1] = {true};

    for (size_t i = 0; i <= a.len; i++) {
        bool diagonal = false; /* reached[j - 1] of the row before */
        for (size_t j = 0; j <= b.len; j++) {
            bool a_star = i > 0 && a.ptr[i - 1] == '*';
            bool b_star = j > 0 && b.ptr[j - 1] == '*';
            bool above = i > 0 && reached[j];
            bool left = j > 0 && reached[j - 1];
            bool same = i > 0 && j > 0 && !a_star && !b_star && a.ptr[i - 1] == b.ptr[j - 1];

            reached[j] = (i == 0 && j == 0) || (above && (a_star || b_star)) ||
                         (left && (a_star || b_star)) || (diagonal && same);
            diagonal = above;
        }
    }
    return reached[b.len];
}

static size_t
split(Str pattern, Str segments[STREAM_GLOB_SEGMENTS_MAX])
{
    size_t count = 0;
    bool more = true;

    while (more) {
        DS_ASSERT(count < STREAM_GLOB_SEGMENTS_MAX);
        more = str_cut(pattern, '/', &segments[count++], &pattern);
    }
    return count;
}

bool
stream_glob_overlap(Str a, Str b)
{
    Str as[STREAM_GLOB_SEGMENTS_MAX];
    Str bs[STREAM_GLOB_SEGMENTS_MAX];
    bool reached[STREAM_GLOB_SEGMENTS_MAX + 1] = {false};
    size_t a_count = split(a, as);
    size_t b_count = split(b, bs);

    for (size_t i = 0; i <= a_count; i++) {
        bool diagonal = false;
        for (size_t j = 0; j <= b_count; j++) {
            bool stars =
                (i > 0 && str_eq(as[i - 1], STR("**"))) || (j > 0 && str_eq(bs[j - 1], STR("**")));
            bool above = i > 0 && reached[j];
            bool left = j > 0 && reached[j - 1];

            reached[j] = (i == 0 && j == 0) || ((above || left) && stars) ||
                         (diagonal && !stars && segments_overlap(as[i - 1], bs[j - 1]));
            diagonal = above;
        }
    }
    return reached[b_count];
}
