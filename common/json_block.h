/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_block.h -- what is simple inside a string of JSON, sixty-four bytes in one go; for
 * common/json* alone.
 *
 * Simple are plain ASCII, an escape of two bytes, and a character of two bytes.  Told apart one by
 * one, each of them is a branch that nobody can foresee.  Only with SSE2, which every amd64 has.
 */
#pragma once

#include "common/json_internal.h"

#ifdef __SSE2__

#define JSON_BLOCK_BYTES 64

/* Which bytes of a block are of a kind, a bit for each. */
typedef struct JsonBlock {
    uint64_t quotes;
    uint64_t backslashes;
    uint64_t controls;
    uint64_t high; /* not ASCII */
} JsonBlock;

static inline uint64_t
json_block_bits(__m128i marks, unsigned at)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(marks) << at;
}

static inline JsonBlock
json_block_read(const char *p)
{
    JsonBlock block = {0};

    for (unsigned at = 0; at < JSON_BLOCK_BYTES; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + at));

        block.quotes |= json_block_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), at);
        block.backslashes |= json_block_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')), at);
        block.controls |= json_block_bits(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)), at);
        block.high |= json_block_bits(bytes, at);
    }
    block.controls &= ~block.high; /* as signed numbers, these are small, too */
    return block;
}

/* The bytes that an escaping backslash stands before; none does before the block.  In a run of
 * backslashes every other one escapes: the subtraction carries through each run, and by where the
 * run begins, at an odd place or an even one, it leaves the odd bits or the even ones. */
static inline uint64_t
json_block_escaped(const JsonBlock *block)
{
    const uint64_t odd = UINT64_C(0xaaaaaaaaaaaaaaaa);

    return ((((block->backslashes << 1) | odd) - block->backslashes) ^ odd) ^ block->backslashes;
}

/* Where something else than a character of two bytes begins, of what is not ASCII: a longer one, an
 * error, or one that the block cuts.  The block begins with the first byte of a character. */
static inline uint64_t
json_block_unknown(const char *p, const JsonBlock *block)
{
    uint64_t below_c0 = 0;
    uint64_t below_c2 = 0;
    uint64_t above_df = 0;

    for (unsigned at = 0; at < JSON_BLOCK_BYTES; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + at));

        below_c0 |= json_block_bits(_mm_cmplt_epi8(bytes, _mm_set1_epi8((char)0xc0)), at);
        below_c2 |= json_block_bits(_mm_cmplt_epi8(bytes, _mm_set1_epi8((char)0xc2)), at);
        above_df |= json_block_bits(_mm_cmpgt_epi8(bytes, _mm_set1_epi8((char)0xdf)), at);
    }
    uint64_t tails = below_c0;
    uint64_t leads = block->high & ~below_c2 & ~above_df;
    return (block->high & ~tails & ~leads) | (tails & ~(leads << 1)) | (leads & ~(tails >> 1));
}

/* The first byte of the block that is not simple, at a backslash for an escape; else the block's
 * end.  *has_escape is set when an escape was passed.  The block begins between two characters and
 * not behind an escaping backslash. */
static inline const char *
json_block_end(const char *p, bool *has_escape)
{
    const uint64_t last = UINT64_C(1) << (JSON_BLOCK_BYTES - 1);
    JsonBlock block = json_block_read(p);
    uint64_t escaped = json_block_escaped(&block);
    uint64_t stops = ((block.quotes | (block.backslashes & last)) & ~escaped) | block.controls;

    if (block.high != 0) {
        stops |= json_block_unknown(p, &block);
    }
    for (uint64_t left = escaped & (stops ^ (stops - 1)); left != 0; left &= left - 1) {
        unsigned at = (unsigned)__builtin_ctzll(left);

        if (!json_is_short_escape(p[at])) {
            stops |= UINT64_C(1) << (at - 1);
        }
    }
    *has_escape = *has_escape || (escaped & ~stops & (stops - 1)) != 0;
    return stops != 0 ? p + __builtin_ctzll(stops) : p + JSON_BLOCK_BYTES;
}

#endif
