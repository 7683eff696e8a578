/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_parse.h"

enum {
    CHAR_TOKEN = 1,  /* RFC 9110 5.6.2 */
    CHAR_TARGET = 2, /* visible ASCII without '#': a fragment is never sent */
    CHAR_HOST = 4,   /* RFC 3986 host and port, no user info */
    CHAR_VALUE = 8,  /* field value: visible, obs-text, blank, tab */
    CHAR_SEEN = CHAR_TARGET | CHAR_VALUE,
    CHAR_NAME = CHAR_SEEN | CHAR_TOKEN | CHAR_HOST,
};

static const uint8_t char_classes[256] = {
    ['\t'] = CHAR_VALUE,
    [' '] = CHAR_VALUE,
    [0x80 ... 0xff] = CHAR_VALUE,
    ['0' ... '9'] = CHAR_NAME,
    ['A' ... 'Z'] = CHAR_NAME,
    ['a' ... 'z'] = CHAR_NAME,
    ['!'] = CHAR_NAME,
    ['"'] = CHAR_SEEN,
    ['#'] = CHAR_VALUE | CHAR_TOKEN,
    ['$' ... '\''] = CHAR_NAME,
    ['(' ... ')'] = CHAR_SEEN | CHAR_HOST,
    ['*' ... '+'] = CHAR_NAME,
    [','] = CHAR_SEEN | CHAR_HOST,
    ['-' ... '.'] = CHAR_NAME,
    ['/'] = CHAR_SEEN,
    [':' ... ';'] = CHAR_SEEN | CHAR_HOST,
    ['<'] = CHAR_SEEN,
    ['='] = CHAR_SEEN | CHAR_HOST,
    ['>' ... '@'] = CHAR_SEEN,
    ['['] = CHAR_SEEN | CHAR_HOST,
    ['\\'] = CHAR_SEEN,
    [']'] = CHAR_SEEN | CHAR_HOST,
    ['^'] = CHAR_SEEN | CHAR_TOKEN,
    ['_'] = CHAR_NAME,
    ['`'] = CHAR_SEEN | CHAR_TOKEN,
    ['{'] = CHAR_SEEN,
    ['|'] = CHAR_SEEN | CHAR_TOKEN,
    ['}'] = CHAR_SEEN,
    ['~'] = CHAR_NAME,
};

static bool
char_is(char c, unsigned class)
{
    return (char_classes[(unsigned char)c] & class) != 0;
}

static bool
all_are(Str s, unsigned class)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!char_is(s.ptr[i], class)) {
            return false;
        }
    }
    return true;
}

static bool
is_token(Str s)
{
    return s.len > 0 && all_are(s, CHAR_TOKEN);
}

static HttpParseResult
bad(HttpParseFault *fault, int status, const char *text)
{
    *fault = (HttpParseFault){status, text};
    return HTTP_PARSE_BAD;
}

/* ---- where the head ends ---- */

static HttpParseResult
judge_unfinished(Str bytes, HttpParseFault *fault)
{
    /* Something else than HTTP, TLS for one: say so now, not when the time is up. */
    if (bytes.len > 0 && bytes.ptr[0] != '\r' && !char_is(bytes.ptr[0], CHAR_TOKEN)) {
        return bad(fault, 400, "this is not an HTTP request");
    }
    if (bytes.len < HTTP_HEAD_BYTES_MAX) {
        return HTTP_PARSE_MORE;
    }
    if (memchr(bytes.ptr, '\n', bytes.len) == NULL) {
        return bad(fault, 414, "the request line is too long");
    }
    return bad(fault, 431, "the request head is too long");
}

/* Looks at each line end once.  A LF without its CR is refused here, so that no later step can
 * disagree about what a line is. */
static HttpParseResult
find_head_end(Str bytes, size_t *scanned, size_t *out_end, HttpParseFault *fault)
{
    size_t limit = DS_MIN(bytes.len, (size_t)HTTP_HEAD_BYTES_MAX);

    while (*scanned < limit) {
        const char *lf = memchr(bytes.ptr + *scanned, '\n', limit - *scanned);

        if (lf == NULL) {
            *scanned = limit;
            break;
        }
        size_t at = (size_t)(lf - bytes.ptr);
        if (at == 0 || bytes.ptr[at - 1] != '\r') {
            return bad(fault, 400, "a line ends without CR LF");
        }
        *scanned = at + 1;
        if (at >= 3 && bytes.ptr[at - 2] == '\n') {
            *out_end = at + 1;
            return HTTP_PARSE_DONE;
        }
    }
    return judge_unfinished(bytes, fault);
}

/* The next line of a head whose line ends were all seen to be CR LF; without them. */
static Str
next_line(Str *rest)
{
    const char *lf = memchr(rest->ptr, '\n', rest->len);

    DS_ASSERT(lf != NULL && lf > rest->ptr);
    Str line = str_n(rest->ptr, (size_t)(lf - rest->ptr) - 1);
    *rest = str_skip(*rest, line.len + 2);
    return line;
}

/* ---- request line ---- */

static HttpMethod
method_of(Str text)
{
    static const struct {
        Str name;
        HttpMethod method;
    } known[] = {
        {STR("GET"), HTTP_METHOD_GET},       {STR("HEAD"), HTTP_METHOD_HEAD},
        {STR("POST"), HTTP_METHOD_POST},     {STR("PUT"), HTTP_METHOD_PUT},
        {STR("DELETE"), HTTP_METHOD_DELETE}, {STR("OPTIONS"), HTTP_METHOD_OPTIONS},
    };

    for (size_t i = 0; i < DS_COUNT(known); i++) {
        if (str_eq(text, known[i].name)) {
            return known[i].method;
        }
    }
    return HTTP_METHOD_OTHER;
}

static HttpParseResult
parse_version(Str version, HttpRequestHead *head, HttpParseFault *fault)
{
    static const char shape[] = "HTTP/";

    if (version.len != 8 || memcmp(version.ptr, shape, 5) != 0 || version.ptr[6] != '.' ||
        version.ptr[5] < '0' || version.ptr[5] > '9' || version.ptr[7] < '0' ||
        version.ptr[7] > '9') {
        return bad(fault, 400, "the request line is not METHOD TARGET HTTP/1.x");
    }
    if (version.ptr[5] != '1') {
        return bad(fault, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    head->minor = version.ptr[7] == '0' ? 0 : 1;
    return HTTP_PARSE_DONE;
}

/* http://host[:port][/path][?query]: the host of the target counts, Host only has to be there. */
static HttpParseResult
parse_absolute(Str target, HttpRequestHead *head, Str *out_local, HttpParseFault *fault)
{
    Str rest;

    if (str_starts_nocase(target, STR("http://"))) {
        rest = str_skip(target, 7);
    } else if (str_starts_nocase(target, STR("https://"))) {
        rest = str_skip(target, 8);
    } else {
        return bad(fault, 400, "the request target is neither a path nor an http URL");
    }
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?') {
        end++;
    }
    head->host = str_n(rest.ptr, end);
    *out_local = str_skip(rest, end);
    if (head->host.len == 0 || !all_are(head->host, CHAR_HOST)) {
        return bad(fault, 400, "the host of the request target is malformed");
    }
    return HTTP_PARSE_DONE;
}

static HttpParseResult
parse_target(Str target, HttpRequestHead *head, HttpParseFault *fault)
{
    Str local = target;

    if (target.len > HTTP_TARGET_BYTES_MAX) {
        return bad(fault, 414, "the request target is too long");
    }
    if (target.len == 0 || !all_are(target, CHAR_TARGET)) {
        return bad(fault, 400, "the request target has a byte that must be percent-encoded");
    }
    if (target.ptr[0] != '/') {
        if (head->method == HTTP_METHOD_OPTIONS && str_eq(target, STR("*"))) {
            head->path = target;
            return HTTP_PARSE_DONE;
        }
        HttpParseResult result = parse_absolute(target, head, &local, fault);
        if (result != HTTP_PARSE_DONE) {
            return result;
        }
    }
    head->has_query = str_cut(local, '?', &head->path, &head->query);
    if (head->path.len == 0) {
        head->path = STR("/");
    }
    return HTTP_PARSE_DONE;
}

static HttpParseResult
parse_request_line(Str line, HttpRequestHead *head, HttpParseFault *fault)
{
    Str target, version;

    if (line.len > HTTP_METHOD_BYTES_MAX + HTTP_TARGET_BYTES_MAX + 10) {
        return bad(fault, 414, "the request line is too long");
    }
    if (!str_cut(line, ' ', &head->method_text, &version) ||
        !str_cut(version, ' ', &target, &version) || !is_token(head->method_text) ||
        head->method_text.len > HTTP_METHOD_BYTES_MAX) {
        return bad(fault, 400, "the request line is not METHOD TARGET HTTP/1.x");
    }
    head->method = method_of(head->method_text);
    HttpParseResult result = parse_version(version, head, fault);
    return result == HTTP_PARSE_DONE ? parse_target(target, head, fault) : result;
}

/* ---- fields ---- */

/* What the engine itself reads of the fields: the first of each name, and how many there are. */
typedef struct NotedFields {
    Str host, length, coding, expectation;
    size_t hosts, lengths, codings, expectations;
    bool close;
    bool keep_alive;
} NotedFields;

static void
note_first(Str value, Str *first, size_t *count)
{
    if ((*count)++ == 0) {
        *first = value;
    }
}

/* Which of the comma-separated options of Connection are there. */
static void
note_connection(Str value, NotedFields *noted)
{
    bool more = true;

    while (more) {
        Str option;

        more = str_cut(value, ',', &option, &value);
        option = str_trim(option);
        noted->close = noted->close || str_eq_nocase(option, STR("close"));
        noted->keep_alive = noted->keep_alive || str_eq_nocase(option, STR("keep-alive"));
    }
}

static void
note_field(Str name, Str value, NotedFields *noted)
{
    switch (name.len) {
    case sizeof("Host") - 1:
        if (str_eq_nocase(name, STR("Host"))) {
            note_first(value, &noted->host, &noted->hosts);
        }
        break;
    case sizeof("Expect") - 1:
        if (str_eq_nocase(name, STR("Expect"))) {
            note_first(value, &noted->expectation, &noted->expectations);
        }
        break;
    case sizeof("Connection") - 1:
        if (str_eq_nocase(name, STR("Connection"))) {
            note_connection(value, noted);
        }
        break;
    case sizeof("Content-Length") - 1:
        if (str_eq_nocase(name, STR("Content-Length"))) {
            note_first(value, &noted->length, &noted->lengths);
        }
        break;
    case sizeof("Transfer-Encoding") - 1:
        if (str_eq_nocase(name, STR("Transfer-Encoding"))) {
            note_first(value, &noted->coding, &noted->codings);
        }
        break;
    default:
        break;
    }
}

/* How long the value is that lies at the front: to the first control character but a tab. */
static size_t
value_length(Str rest)
{
    size_t length = str_ctl_at(rest);

    while (length < rest.len && rest.ptr[length] == '\t') {
        length += 1 + str_ctl_at(str_skip(rest, length + 1));
    }
    return length;
}

/* Takes a line from the front of *rest.  There is an empty line behind it, so neither its name nor
 * its value can pass the end. */
static HttpParseResult
parse_field(Str *rest, HttpRequestHead *head, NotedFields *noted, HttpParseFault *fault)
{
    size_t colon = 0;

    if (head->field_count == HTTP_FIELDS_MAX) {
        return bad(fault, 431, "there are too many header fields");
    }
    if (rest->ptr[0] == ' ' || rest->ptr[0] == '\t') {
        return bad(fault, 400, "a header field is folded over two lines");
    }
    while (char_is(rest->ptr[colon], CHAR_TOKEN)) {
        colon++;
    }
    if (colon == 0 || rest->ptr[colon] != ':') {
        return bad(fault, 400, "a header field has a malformed name");
    }
    Str name = str_n(rest->ptr, colon);
    *rest = str_skip(*rest, colon + 1);
    Str value = str_n(rest->ptr, value_length(*rest));
    *rest = str_skip(*rest, value.len);
    if (!str_starts(*rest, STR("\r\n"))) {
        return bad(fault, 400, "a header field has a control character in its value");
    }
    *rest = str_skip(*rest, 2);
    value = str_trim(value);
    head->fields[head->field_count++] = (HttpField){name, value};
    head->initials |= http_initial(name.ptr[0]);
    note_field(name, value, noted);
    return HTTP_PARSE_DONE;
}

bool
http_fields_get(const HttpField *fields, size_t count, Str name, Str *out, size_t *out_count)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        if (fields[i].name.len == name.len && str_eq_nocase(fields[i].name, name)) {
            if (found++ == 0) {
                *out = fields[i].value;
            }
        }
    }
    if (out_count != NULL) {
        *out_count = found;
    }
    return found > 0;
}

size_t
http_request_field(const HttpRequestHead *head, Str name, Str *out)
{
    size_t count = 0;

    if (head->initials & http_initial(name.ptr[0])) {
        http_fields_get(head->fields, head->field_count, name, out, &count);
    }
    return count;
}

static bool
read_length(Str value, uint64_t *out)
{
    uint64_t length = 0;

    if (value.len == 0 || value.len > 19) { /* 19 digits always fit */
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return false;
        }
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    *out = length;
    return true;
}

/* RFC 9112 6: where the body ends, or a refusal. */
static HttpParseResult
judge_framing(HttpRequestHead *head, const NotedFields *noted, HttpParseFault *fault)
{
    if (noted->lengths > 0 && noted->codings > 0) {
        return bad(fault, 400, "Content-Length and Transfer-Encoding exclude each other");
    }
    if (noted->lengths > 1 || noted->codings > 1) {
        return bad(fault, 400, "Content-Length or Transfer-Encoding is repeated");
    }
    if (noted->codings == 1) {
        if (head->minor == 0) {
            return bad(fault, 400, "Transfer-Encoding does not exist in HTTP/1.0");
        }
        if (!str_eq_nocase(noted->coding, STR("chunked"))) {
            return bad(fault, 501, "the only transfer coding taken is chunked");
        }
        head->body_kind = HTTP_BODY_CHUNKED;
    } else if (noted->lengths == 1) {
        if (!read_length(noted->length, &head->content_length)) {
            return bad(fault, 400, "Content-Length is not a number of bytes");
        }
        head->body_kind = head->content_length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    }
    return HTTP_PARSE_DONE;
}

static HttpParseResult
judge_host(HttpRequestHead *head, const NotedFields *noted, HttpParseFault *fault)
{
    if (noted->hosts > 1 || (noted->hosts == 0 && head->minor >= 1)) {
        return bad(fault, 400, "there must be exactly one Host");
    }
    if (!all_are(noted->host, CHAR_HOST)) {
        return bad(fault, 400, "Host is malformed");
    }
    if (head->host.len == 0) {
        head->host = noted->host;
    }
    return HTTP_PARSE_DONE;
}

static HttpParseResult
judge_fields(HttpRequestHead *head, const NotedFields *noted, HttpParseFault *fault)
{
    if (noted->expectations > 0 && head->minor >= 1) {
        if (noted->expectations > 1 || !str_eq_nocase(noted->expectation, STR("100-continue"))) {
            return bad(fault, 417, "the only expectation met is 100-continue");
        }
        head->expect_continue = true;
    }
    head->keep_alive = !noted->close && (head->minor >= 1 || noted->keep_alive);
    HttpParseResult result = judge_host(head, noted, fault);
    return result == HTTP_PARSE_DONE ? judge_framing(head, noted, fault) : result;
}

static HttpParseResult
parse_lines(Str text, HttpRequestHead *head, HttpParseFault *fault)
{
    NotedFields noted = {.host = STR_EMPTY};
    HttpParseResult result = parse_request_line(next_line(&text), head, fault);

    while (result == HTTP_PARSE_DONE && !str_starts(text, STR("\r\n"))) {
        result = parse_field(&text, head, &noted, fault);
    }
    return result == HTTP_PARSE_DONE ? judge_fields(head, &noted, fault) : result;
}

HttpParseResult
http_parse_head(Str bytes, size_t *scanned, HttpRequestHead *out, HttpParseFault *fault)
{
    size_t blank =
        str_starts(bytes, STR("\r\n")) ? 2 : 0; /* RFC 9112 2.2: one empty line may lead */
    size_t from = DS_MAX(*scanned, blank) - blank;
    size_t end = 0;
    HttpParseResult result = find_head_end(str_skip(bytes, blank), &from, &end, fault);

    *scanned = blank + from;
    if (result != HTTP_PARSE_DONE) {
        return result;
    }
    out->host = out->path = out->query = STR_EMPTY;
    out->has_query = out->expect_continue = out->keep_alive = false;
    out->body_kind = HTTP_BODY_NONE;
    out->content_length = 0;
    out->initials = 0;
    out->field_count = 0;
    out->bytes = blank + end;
    return parse_lines(str_n(bytes.ptr + blank, end), out, fault);
}

/* ---- chunked bodies ---- */

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static HttpParseResult
step_size(HttpChunks *chunks, char c, HttpParseFault *fault)
{
    int digit = hex_value(c);

    if (digit >= 0) {
        if (chunks->left >> 58 != 0) {
            return bad(fault, 400, "a chunk size is out of range");
        }
        chunks->left = chunks->left * 16 + (uint64_t)digit;
        chunks->state = HTTP_CHUNK_SIZE;
    } else if (chunks->state == HTTP_CHUNK_SIZE_FIRST) {
        return bad(fault, 400, "a chunk does not begin with its size");
    } else if (c == ';') {
        chunks->state = HTTP_CHUNK_EXTENSION;
    } else if (c == '\r') {
        chunks->state = HTTP_CHUNK_SIZE_LF;
    } else {
        return bad(fault, 400, "a chunk size is malformed");
    }
    return HTTP_PARSE_MORE;
}

static HttpParseResult
step_extension(HttpChunks *chunks, char c, HttpParseFault *fault)
{
    if (c == '\r') {
        chunks->state = HTTP_CHUNK_SIZE_LF;
    } else if (!char_is(c, CHAR_VALUE)) {
        return bad(fault, 400, "a chunk extension has a control character");
    } else if (++chunks->extension > HTTP_CHUNK_EXTENSION_BYTES_MAX) {
        return bad(fault, 431, "the chunk extensions are too long");
    }
    return HTTP_PARSE_MORE;
}

/* Trailer fields have the shape of fields, are bounded, and mean nothing here. */
static HttpParseResult
step_trailer(HttpChunks *chunks, char c, HttpParseFault *fault)
{
    if (++chunks->trailer > HTTP_TRAILER_BYTES_MAX) {
        return bad(fault, 431, "the trailer fields are too long");
    }
    if (chunks->state == HTTP_CHUNK_TRAILER_START && c == '\r') {
        chunks->state = HTTP_CHUNK_END_LF;
    } else if (chunks->state == HTTP_CHUNK_TRAILER_NAME && c == ':') {
        chunks->state = HTTP_CHUNK_TRAILER_VALUE;
    } else if (chunks->state == HTTP_CHUNK_TRAILER_VALUE && c == '\r') {
        chunks->state = HTTP_CHUNK_TRAILER_LF;
    } else if (chunks->state == HTTP_CHUNK_TRAILER_VALUE && char_is(c, CHAR_VALUE)) {
        return HTTP_PARSE_MORE;
    } else if (chunks->state != HTTP_CHUNK_TRAILER_VALUE && char_is(c, CHAR_TOKEN)) {
        chunks->state = HTTP_CHUNK_TRAILER_NAME;
    } else {
        return bad(fault, 400, "a trailer field is malformed");
    }
    return HTTP_PARSE_MORE;
}

static HttpParseResult
step_exact(HttpChunks *chunks, char c, char expected, HttpChunkState next, HttpParseFault *fault)
{
    if (c != expected) {
        return bad(fault, 400, "a line of the chunked body ends without CR LF");
    }
    chunks->state = next;
    return HTTP_PARSE_MORE;
}

/* One byte that is not data. */
static HttpParseResult
step_chunks(HttpChunks *chunks, char c, HttpParseFault *fault)
{
    switch (chunks->state) {
    case HTTP_CHUNK_SIZE_FIRST:
    case HTTP_CHUNK_SIZE:
    case HTTP_CHUNK_EXTENSION:
        if (++chunks->line > HTTP_CHUNK_LINE_BYTES_MAX) {
            return bad(fault, 431, "a chunk-size line is too long");
        }
        return chunks->state == HTTP_CHUNK_EXTENSION ? step_extension(chunks, c, fault)
                                                     : step_size(chunks, c, fault);
    case HTTP_CHUNK_SIZE_LF:
        chunks->line = 0;
        return step_exact(chunks, c, '\n',
                          chunks->left > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER_START, fault);
    case HTTP_CHUNK_DATA_CR:
        return step_exact(chunks, c, '\r', HTTP_CHUNK_DATA_LF, fault);
    case HTTP_CHUNK_DATA_LF:
        return step_exact(chunks, c, '\n', HTTP_CHUNK_SIZE_FIRST, fault);
    case HTTP_CHUNK_TRAILER_START:
    case HTTP_CHUNK_TRAILER_NAME:
    case HTTP_CHUNK_TRAILER_VALUE:
        return step_trailer(chunks, c, fault);
    case HTTP_CHUNK_TRAILER_LF:
        return step_exact(chunks, c, '\n', HTTP_CHUNK_TRAILER_START, fault);
    case HTTP_CHUNK_END_LF:
        return step_exact(chunks, c, '\n', HTTP_CHUNK_DONE, fault);
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_DONE:
    case HTTP_CHUNK_STATE_COUNT:
        break;
    }
    DS_UNREACHABLE("http_chunks_next takes data itself and stops when done");
}

HttpParseResult
http_chunks_next(HttpChunks *chunks, Str *in, Str *out_data, HttpParseFault *fault)
{
    HttpParseResult result = HTTP_PARSE_MORE;

    while (chunks->state != HTTP_CHUNK_DONE && in->len > 0) {
        if (chunks->state == HTTP_CHUNK_DATA) {
            size_t take = chunks->left < in->len ? (size_t)chunks->left : in->len;

            *out_data = str_n(in->ptr, take);
            *in = str_skip(*in, take);
            chunks->left -= take;
            if (chunks->left == 0) {
                chunks->state = HTTP_CHUNK_DATA_CR;
            }
            return HTTP_PARSE_DATA;
        }
        result = step_chunks(chunks, in->ptr[0], fault);
        if (result != HTTP_PARSE_MORE) {
            return result;
        }
        *in = str_skip(*in, 1);
    }
    return chunks->state == HTTP_CHUNK_DONE ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
}
