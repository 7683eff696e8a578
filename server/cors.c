/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cors.h"

#include "common/buf.h"
#include "common/ds_proto.h"
#include "common/mem.h"

#define ORIGIN_BYTES_MAX 512

/* Everything of ours that a script may need to read; CORS lets it see nothing else. */
#define EXPOSED                                                                                    \
    "Access-Control-Expose-Headers: " DS_H_STREAM_NEXT_OFFSET ", " DS_H_STREAM_UP_TO_DATE          \
    ", " DS_H_STREAM_CLOSED ", " DS_H_STREAM_CURSOR ", " DS_H_STREAM_TTL                           \
    ", " DS_H_STREAM_EXPIRES_AT ", " DS_H_SSE_ENCODING ", " DS_H_PRODUCER_EPOCH                    \
    ", " DS_H_PRODUCER_SEQ ", " DS_H_PRODUCER_EXPECTED_SEQ ", " DS_H_PRODUCER_RECEIVED_SEQ         \
    ", ETag, Location, Content-Encoding, Content-Length, Date, Retry-After\r\n"

#define PREFLIGHT                                                                                  \
    "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n"                      \
    "Access-Control-Allow-Headers: Content-Type, Authorization, Accept, Cache-Control, If-Match"   \
    ", If-None-Match, Last-Event-ID, " DS_H_STREAM_CLOSED ", " DS_H_STREAM_TTL                     \
    ", " DS_H_STREAM_EXPIRES_AT ", " DS_H_STREAM_SEQ ", " DS_H_STREAM_FORKED_FROM                  \
    ", " DS_H_STREAM_FORK_OFFSET ", " DS_H_STREAM_FORK_SUB_OFFSET ", " DS_H_PRODUCER_ID            \
    ", " DS_H_PRODUCER_EPOCH ", " DS_H_PRODUCER_SEQ "\r\n"                                         \
    "Access-Control-Max-Age: 86400\r\n"

#define ANY    "Access-Control-Allow-Origin: *\r\n"
#define VARIES "Vary: Origin\r\n"

typedef struct CorsOrigin {
    char *origin;
    char *lines;
} CorsOrigin;

struct Cors {
    bool any;
    size_t count;
    CorsOrigin origins[CORS_ORIGINS_MAX];
};

static bool
origin_is_legal(Str origin)
{
    Str rest;

    if (str_eq(origin, STR("null"))) {
        return true;
    }
    if (str_starts(origin, STR("http://"))) {
        rest = str_skip(origin, 7);
    } else if (str_starts(origin, STR("https://"))) {
        rest = str_skip(origin, 8);
    } else {
        return false;
    }
    if (rest.len == 0 || origin.len > ORIGIN_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._:[]", c) != NULL)) {
            return false;
        }
    }
    return true;
}

static bool
cors_add(Cors *cors, Str origin, Error *err)
{
    Buf lines;
    bool ok = false;

    if (!origin_is_legal(origin)) {
        return error_set(err, ERR_CONFIG,
                         "DS_HTTP__CORS_ORIGINS: \"%.*s\" is not an origin: * or a comma list of "
                         "http(s)://host[:port] in lower case",
                         (int)DS_MIN(origin.len, (size_t)100), origin.ptr);
    }
    if (cors->count == CORS_ORIGINS_MAX) {
        return error_set(err, ERR_CONFIG, "DS_HTTP__CORS_ORIGINS: more than %d origins",
                         CORS_ORIGINS_MAX);
    }
    buf_init(&lines, ORIGIN_BYTES_MAX + sizeof(EXPOSED) + sizeof(VARIES) + 64);
    if (!buf_printf(&lines, err, "Access-Control-Allow-Origin: %.*s\r\n", STR_ARG(origin)) ||
        !buf_append(&lines, STR(VARIES EXPOSED), err)) {
        goto done;
    }
    cors->origins[cors->count++] = (CorsOrigin){str_dup(origin), buf_take(&lines)};
    ok = true;

done:
    buf_done(&lines);
    return ok;
}

bool
cors_new(Str origins, Cors **out, Error *err)
{
    Cors *cors = mem_zalloc(sizeof(*cors));
    bool more = true;

    cors->any = str_eq(str_trim(origins), STR("*"));
    while (more && !cors->any) {
        Str origin;

        more = str_cut(origins, ',', &origin, &origins);
        if (!cors_add(cors, str_trim(origin), err)) {
            cors_free(cors);
            return false;
        }
    }
    *out = cors;
    return true;
}

void
cors_free(Cors *cors)
{
    if (cors == NULL) {
        return;
    }
    for (size_t i = 0; i < cors->count; i++) {
        free(cors->origins[i].origin);
        free(cors->origins[i].lines);
    }
    free(cors);
}

CorsVerdict
cors_judge(const Cors *cors, Str origin)
{
    bool asked = origin.len > 0;

    if (cors->any) {
        return (CorsVerdict){.kind = CORS_ANY, .asked = asked};
    }
    for (size_t i = 0; asked && i < cors->count; i++) {
        if (str_eq(origin, str_c(cors->origins[i].origin))) {
            return (CorsVerdict){.kind = CORS_LISTED, .asked = true, .index = (uint16_t)i};
        }
    }
    return (CorsVerdict){.kind = CORS_UNLISTED, .asked = asked};
}

Str
cors_lines(const Cors *cors, CorsVerdict verdict, bool shared)
{
    switch ((CorsKind)verdict.kind) {
    case CORS_NONE:
        return STR_EMPTY;
    case CORS_ANY:
        return shared || verdict.asked ? STR(ANY EXPOSED) : STR(ANY);
    case CORS_LISTED:
        return str_c(cors->origins[verdict.index].lines);
    case CORS_UNLISTED:
        return STR(VARIES);
    }
    return STR_EMPTY;
}

Str
cors_preflight_lines(void)
{
    return STR(PREFLIGHT);
}
