/* SPDX-License-Identifier: Apache-2.0 */
#include "server/limits.h"

#include "common/http_parse.h"
#include "common/json_scan.h"
#include "common/stream_glob.h"
#include "server/admin.h"
#include "server/cold_read.h"
#include "server/http_internal.h"
#include "server/live.h"
#include "server/server_config.h"
#include "server/shard.h"
#include "server/subs_address.h"
#include "server/subs_internal.h"

const Limit limits_table[] = {
    {"connections", "DS_LIMITS__MAX_CONNECTIONS", 0, "", "503, then closed"},
    {"connections more, to the admin listener", NULL, HTTP_ADMIN_CONNECTIONS_KEPT, "",
     "503, then closed"},
    {"TLS handshakes under way", "DS_LIMITS__MAX_TLS_HANDSHAKES", 0, "", "closed"},
    {"requests of a connection", "DS_LIMITS__MAX_REQUESTS_PER_CONNECTION", 0, "",
     "closed after the reply"},
    {"request head", NULL, HTTP_HEAD_BYTES_MAX, "bytes", "431"},
    {"request fields", NULL, HTTP_FIELDS_MAX, "", "431"},
    {"request target", NULL, HTTP_TARGET_BYTES_MAX, "bytes", "414"},
    {"method", NULL, HTTP_METHOD_BYTES_MAX, "bytes", "400"},
    {"request body", "DS_LIMITS__MAX_REQUEST_BODY_BYTES", 0, "", "413"},
    {"request bodies being received", "DS_LIMITS__MAX_INFLIGHT_BODY_BYTES", 0, "",
     "503 with Retry-After"},
    {"request bodies that wait for the storage", "DS_LIMITS__MAX_INFLIGHT_BODY_BYTES", 0, "",
     "503 with Retry-After"},
    {"chunk-size line", NULL, HTTP_CHUNK_LINE_BYTES_MAX, "bytes", "431"},
    {"chunk extensions of a body", NULL, HTTP_CHUNK_EXTENSION_BYTES_MAX, "bytes", "431"},
    {"trailer fields of a body", NULL, HTTP_TRAILER_BYTES_MAX, "bytes", "431"},
    {"pipelined bytes kept while a request waits", NULL, HTTP_PIPELINED_BYTES_MAX, "bytes",
     "not read until it is answered"},
    {"pipelined replies not sent", NULL, HTTP_PIPELINED_OUT_BYTES_MAX, "bytes",
     "the next request waits"},
    {"reply head", NULL, HTTP_REPLY_HEAD_BYTES_MAX, "bytes", "500"},
    {"bytes dropped behind a refused request", NULL, HTTP_LINGER_BYTES_MAX, "bytes", "closed"},
    {"time for a TLS handshake", "DS_TLS__HANDSHAKE_TIMEOUT", 0, "", "closed"},
    {"time to receive a head", "DS_HTTP__HEAD_TIMEOUT", 0, "", "408"},
    {"time to receive a body", "DS_HTTP__BODY_TIMEOUT", 0, "", "408"},
    {"slowest body", "DS_HTTP__BODY_RATE", 0, "", "408"},
    {"idle connection", "DS_HTTP__IDLE_TIMEOUT", 0, "", "closed"},
    {"client that takes nothing", "DS_HTTP__WRITE_STALL_TIMEOUT", 0, "", "cut"},
    {"slowest reader of what waits for it", "DS_HTTP__SEND_RATE", 0, "", "cut"},
    {"requests under way after SIGTERM", "DS_SERVER__DRAIN_TIMEOUT", 0, "", "cut"},
    {"payload of all streams", "DS_LIMITS__MAX_MEMORY_BYTES", 0, "", "413"},
    {"payload of a stream", "DS_LIMITS__MAX_STREAM_BYTES", 0, "", "413"},
    {"bytes of streams that a durable mode keeps in memory", "DS_LIMITS__MAX_CACHE_BYTES", 0, "",
     "read from disk"},
    {"open files of streams", "DS_LIMITS__MAX_OPEN_FILES", 0, "",
     "the one used longest ago is closed"},
    {"operations that wait for a shard", NULL, SHARD_QUEUE_OPS_MAX, "", "503 with Retry-After"},
    {"their payload", NULL, SHARD_QUEUE_BYTES_MAX, "bytes", "503 with Retry-After"},
    {"operations of a commit", NULL, SHARD_BATCH_OPS_MAX, "", "the next commit has the rest"},
    {"streams", "DS_LIMITS__MAX_STREAMS", 0, "", "429"},
    {"producers of a stream", "DS_LIMITS__MAX_PRODUCERS_PER_STREAM", 0, "",
     "the one silent for longest is forgotten, if it is for 10 minutes; else 429"},
    {"Producer-Id", NULL, PRODUCER_ID_BYTES_MAX, "bytes", "400"},
    {"Stream-Seq", NULL, STREAM_SEQ_BYTES_MAX, "bytes", "400"},
    {"content type of a stream", NULL, STREAM_CONTENT_TYPE_BYTES_MAX, "bytes", "400"},
    {"nesting of a JSON message", NULL, JSON_DEPTH_MAX - 1, "levels", "400"},
    {"stream name", "DS_LIMITS__MAX_STREAM_NAME_BYTES", 0, "", "400"},
    {"segments of a stream name", "DS_LIMITS__MAX_STREAM_NAME_SEGMENTS", 0, "", "400"},
    {"one page of a read", "DS_LIMITS__MAX_READ_PAGE_BYTES", 0, "", "the next page follows"},
    {"reads from disk at once, of a network thread", NULL, COLD_READS_MAX, "",
     "the next one waits for its turn"},
    {"payload of an SSE event", NULL, SSE_EVENT_BYTES_MAX, "bytes",
     "the next event follows; a single message may be larger"},
    {"what an SSE client leaves untaken", "DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES", 0, "",
     "cut; it resumes by offset"},
    {"a long-poll", "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", 0, "", "204"},
    {"an SSE response", "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS", 0, "",
     "ends; the client comes again"},
    {"streams in a listing", NULL, ADMIN_LIST_MAX, "", "400; the next page follows"},
    {"body of an admin request", NULL, ADMIN_BODY_BYTES_MAX, "bytes", "400"},
    {"changes that can be told", NULL, JOURNAL_ENTRIES_MAX, "", "410; list again"},
    {"expired streams removed at once", NULL, EXPIRY_REMOVE_MAX, "", "the rest at the next tick"},
    {"subscriptions", "DS_LIMITS__MAX_SUBSCRIPTIONS", 0, "", "429"},
    {"streams of a subscription", "DS_LIMITS__MAX_STREAMS_PER_SUBSCRIPTION", 0, "",
     "400; new ones that match its pattern are not followed, and a warning"},
    {"streams of all subscriptions", NULL, SUBS_LINKS_MAX, "", "as above"},
    {"streams told to a worker at once", NULL, SUBS_WAKE_STREAMS_MAX, "",
     "those with work come first; the rest with the next wake"},
    {"id of a subscription", NULL, SUBS_ID_BYTES_MAX, "bytes", "400"},
    {"pattern of a subscription", NULL, STREAM_GLOB_BYTES_MAX, "bytes", "400"},
    {"segments of a pattern", NULL, STREAM_GLOB_SEGMENTS_MAX, "", "400"},
    {"description of a subscription", NULL, SUBS_DESCRIPTION_BYTES_MAX, "bytes", "400"},
    {"URL of a webhook", NULL, SUBS_URL_BYTES_MAX, "bytes", "400"},
    {"name of a worker", NULL, SUBS_HOLDER_BYTES_MAX, "bytes", "400"},
    {"body of a request about subscriptions", NULL, SUBS_BODY_BYTES_MAX, "bytes", "400"},
    {"streams or acks in such a request", NULL, SUBS_REQUEST_ITEMS_MAX, "", "400"},
    {"such requests under way", NULL, SUBS_CALLS_MAX, "", "503 with Retry-After"},
    {"webhooks under way", NULL, SUBS_DELIVERIES_MAX, "", "the next one waits for its turn"},
    {"time for a webhook to connect", NULL, SUBS_CONNECT_MS_MAX, "ms", "tried again later"},
    {"time for a webhook to answer", NULL, SUBS_ANSWER_MS_MAX, "ms",
     "tried again later; a shorter lease counts"},
    {"answer of a webhook", NULL, SUBS_ANSWER_BYTES_MAX, "bytes", "tried again later"},
    {"wait between two attempts", NULL, SUBS_RETRY_MS_MAX, "ms", "goes on for ever"},
    {"service token", NULL, JWT_BYTES_MAX, "bytes", "401"},
    {"keys for service tokens", NULL, JWKS_KEYS_MAX, "", "the server does not start"},
    {"webhook keys that are published", NULL, SUBS_KEYS_MAX, "", "the oldest is forgotten"},
    {.what = NULL},
};

static const Setting *
find_setting(const char *name)
{
    for (const Setting *setting = server_config_table.settings; setting->name != NULL; setting++) {
        if (strcmp(setting->name, name) == 0) {
            return setting;
        }
    }
    DS_UNREACHABLE("a limit that names no setting");
}

bool
limits_markdown(Buf *out, Error *err)
{
    if (!buf_append(out, STR("| limit | value | setting | beyond it |\n|---|---|---|---|\n"),
                    err)) {
        return false;
    }
    for (const Limit *limit = limits_table; limit->what != NULL; limit++) {
        bool ok;

        if (limit->setting == NULL) {
            ok = buf_printf(out, err, "| %s | %llu %s | fixed | %s |\n", limit->what,
                            (unsigned long long)limit->fixed, limit->unit, limit->beyond);
        } else {
            const Setting *setting = find_setting(limit->setting);

            ok = buf_printf(out, err, "| %s | %s | `%s` | %s |\n", limit->what, setting->fallback,
                            setting->name, limit->beyond);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}
