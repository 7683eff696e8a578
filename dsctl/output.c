/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/output.h"

#include <errno.h>
#include <unistd.h>

#include "common/mem.h"
#include "dsctl/options.h"

#define COLUMNS_MAX    32
#define CELL_BYTES_MAX (1 << 20)
#define COLUMN_GAP     2

static bool
output_failed(Error *err)
{
    if (errno == EPIPE) {
        return error_set(err, ERR_CANCELED, "the reader of the output left");
    }
    return error_set(err, ERR_LIMIT, "cannot write the output: %s", strerror(errno));
}

bool
output_bytes(Str bytes, Error *err)
{
    if (bytes.len > 0 && fwrite(bytes.ptr, 1, bytes.len, stdout) != bytes.len) {
        return output_failed(err);
    }
    return true;
}

bool
output_flush(Error *err)
{
    return fflush(stdout) == 0 || output_failed(err);
}

/* ---- cells ---- */

/* Length of the UTF-8 character at the start that a terminal shows as text; 0 when it is none. */
static size_t
printable(Str s)
{
    unsigned char first = (unsigned char)s.ptr[0];
    size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    Str one = str_head(s, len);

    if (len == 1) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    bool is_c1 = first == 0xc2 && one.len == 2 && (unsigned char)one.ptr[1] < 0xa0;
    return one.len == len && !is_c1 && str_is_utf8(one) ? len : 0;
}

bool
output_escape(Buf *out, Str text, bool keep_lines, Error *err)
{
    while (text.len > 0) {
        size_t len = printable(text);
        bool keep = keep_lines && (text.ptr[0] == '\n' || text.ptr[0] == '\t');

        if (len == 0 && keep) {
            len = 1;
        }
        bool ok = len > 0 ? buf_append(out, str_head(text, len), err)
                          : buf_printf(out, err, "\\x%02x", (unsigned char)text.ptr[0]);
        if (!ok) {
            return false;
        }
        text = str_skip(text, len > 0 ? len : 1);
    }
    return true;
}

/* Characters, not bytes; wide ones count as one. */
static size_t
text_width(Str text)
{
    size_t width = 0;

    for (size_t i = 0; i < text.len; i++) {
        width += ((unsigned char)text.ptr[i] & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static bool
append_age(Buf *out, double ms, Error *err)
{
    double s = ms / 1000;

    if (s < 60) {
        return buf_printf(out, err, "%.1fs", s < 0 ? 0 : s);
    }
    if (s < 3600) {
        return buf_printf(out, err, "%.0fm", s / 60);
    }
    return s < 172800 ? buf_printf(out, err, "%.0fh", s / 3600)
                      : buf_printf(out, err, "%.0fd", s / 86400);
}

/* none is what an absent or null value shows as. */
static bool
append_cell(Buf *out, const json_t *value, ColumnForm form, const char *none, Error *err)
{
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        return buf_append(out, str_n(json_string_value(value), json_string_length(value)), err);
    case JSON_INTEGER:
        return form == COLUMN_AGE
                   ? append_age(out, (double)json_integer_value(value), err)
                   : buf_printf(out, err, "%lld", (long long)json_integer_value(value));
    case JSON_REAL:
        return form == COLUMN_AGE ? append_age(out, json_real_value(value), err)
                                  : buf_printf(out, err, "%.15g", json_real_value(value));
    case JSON_TRUE:
        return buf_append(out, STR("yes"), err);
    case JSON_FALSE:
        return buf_append(out, STR("no"), err);
    case JSON_NULL:
        return buf_append(out, str_c(none), err);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    char *text = json_dumps(value, JSON_COMPACT);
    bool ok = text != NULL ? buf_append(out, str_c(text), err)
                           : error_set(err, ERR_LIMIT, "cannot print a value");
    free(text);
    return ok;
}

/* Safe for a terminal. */
static bool
append_shown(Buf *out, const json_t *row, const OutputColumn *column, Error *err)
{
    const json_t *value = json_object_get(row, column->key);
    ColumnForm form = column->form;
    Buf cell;

    if ((value == NULL || json_is_null(value)) && column->or_key != NULL) {
        value = json_object_get(row, column->or_key);
        form = COLUMN_TEXT;
    }

    buf_init(&cell, CELL_BYTES_MAX);
    bool ok =
        append_cell(&cell, value, form, "-", err) && output_escape(out, buf_str(&cell), false, err);
    buf_done(&cell);
    return ok;
}

/* ---- tables ---- */

typedef struct Table {
    size_t columns;
    const OutputColumn *column[COLUMNS_MAX];
    size_t rows; /* with the titles */
    Buf *cells;  /* rows * columns */
} Table;

static bool
table_fill(Table *table, const OutputColumn *columns, const json_t *rows, Error *err)
{
    for (size_t i = 0; columns[i].key != NULL; i++) {
        if (columns[i].title != NULL) {
            DS_ASSERT(table->columns < COLUMNS_MAX);
            table->column[table->columns++] = &columns[i];
        }
    }
    table->rows = json_array_size(rows) + 1;
    table->cells = mem_array(table->rows * table->columns, sizeof(*table->cells));
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        const OutputColumn *column = table->column[i % table->columns];
        const json_t *row =
            i < table->columns ? NULL : json_array_get(rows, i / table->columns - 1);
        Buf *cell = &table->cells[i];

        buf_init(cell, CELL_BYTES_MAX);
        bool ok = row == NULL ? buf_append(cell, str_c(column->title), err)
                              : append_shown(cell, row, column, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static size_t
table_width(const Table *table, size_t column)
{
    size_t width = 0;

    for (size_t row = 0; row < table->rows; row++) {
        width = DS_MAX(width, text_width(buf_str(&table->cells[row * table->columns + column])));
    }
    return width;
}

static bool
output_spaces(size_t count, Error *err)
{
    for (; count > 0; count--) {
        if (!output_bytes(STR(" "), err)) {
            return false;
        }
    }
    return true;
}

/* A cell of a terminal's table; nothing is put behind the last one. */
static bool
table_print_cell(const Table *table, size_t column, Str cell, size_t width, Error *err)
{
    bool last = column + 1 == table->columns;
    bool right = table->column[column]->form != COLUMN_TEXT;
    size_t pad = width - text_width(cell);

    return output_spaces(right ? pad : 0, err) && output_bytes(cell, err) &&
           output_spaces(last ? 0 : COLUMN_GAP + (right ? 0 : pad), err);
}

static bool
table_print(const Table *table, bool is_terminal, Error *err)
{
    size_t widths[COLUMNS_MAX] = {0};

    for (size_t column = 0; is_terminal && column < table->columns; column++) {
        widths[column] = table_width(table, column);
    }
    for (size_t row = is_terminal ? 0 : 1; row < table->rows; row++) {
        for (size_t column = 0; column < table->columns; column++) {
            Str cell = buf_str(&table->cells[row * table->columns + column]);
            bool ok = is_terminal ? table_print_cell(table, column, cell, widths[column], err)
                                  : output_bytes(column > 0 ? STR("\t") : STR_EMPTY, err) &&
                                        output_bytes(cell, err);
            if (!ok) {
                return false;
            }
        }
        if (!output_bytes(STR("\n"), err)) {
            return false;
        }
    }
    return true;
}

static bool
output_table(const OutputColumn *columns, const json_t *rows, Error *err)
{
    Table table = {.columns = 0};
    bool ok = table_fill(&table, columns, rows, err) &&
              table_print(&table, isatty(STDOUT_FILENO) == 1, err);

    for (size_t i = 0; i < table.rows * table.columns; i++) {
        buf_done(&table.cells[i]);
    }
    free(table.cells);
    return ok;
}

/* ---- CSV (RFC 4180, lines end with LF) ---- */

static bool
output_csv_cell(Str text, bool first, Error *err)
{
    bool quote = false;

    for (size_t i = 0; i < text.len && !quote; i++) {
        quote = strchr(",\"\r\n", text.ptr[i]) != NULL;
    }
    if (!output_bytes(first ? STR_EMPTY : STR(","), err)) {
        return false;
    }
    if (!quote) {
        return output_bytes(text, err);
    }
    if (!output_bytes(STR("\""), err)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if ((text.ptr[i] == '"' && !output_bytes(STR("\""), err)) ||
            !output_bytes(str_n(text.ptr + i, 1), err)) {
            return false;
        }
    }
    return output_bytes(STR("\""), err);
}

static bool
output_csv_row(const OutputColumn *columns, const json_t *row, Error *err)
{
    Buf cell;
    bool ok = true;

    buf_init(&cell, CELL_BYTES_MAX);
    for (size_t i = 0; ok && columns[i].key != NULL; i++) {
        buf_reset(&cell);
        ok = (row == NULL ? buf_append(&cell, str_c(columns[i].key), err)
                          : append_cell(&cell, json_object_get(row, columns[i].key), COLUMN_TEXT,
                                        "", err)) &&
             output_csv_cell(buf_str(&cell), i == 0, err);
    }
    buf_done(&cell);
    return ok && output_bytes(STR("\n"), err);
}

/* ---- the forms ---- */

static bool
output_json(const json_t *value, size_t flags, Error *err)
{
    char *text = json_dumps(value, flags);
    bool ok = text != NULL ? output_bytes(str_c(text), err) && output_bytes(STR("\n"), err)
                           : error_set(err, ERR_LIMIT, "cannot print the output as JSON");

    free(text);
    return ok;
}

static bool
output_document(const char *kind, const json_t *value, Error *err)
{
    json_t *document = json_object();

    json_object_set_new(document, "schema_version", json_integer(OUTPUT_SCHEMA_VERSION));
    if (kind != NULL) {
        json_object_set(document, kind, (json_t *)(uintptr_t)value); /* only counted up and down */
    } else {
        json_object_update(document, (json_t *)(uintptr_t)value);
    }
    bool ok = output_json(document, JSON_INDENT(2), err);
    json_decref(document);
    return ok;
}

bool
output_rows(const char *kind, const OutputColumn *columns, const json_t *rows, Error *err)
{
    size_t count = json_array_size(rows);
    bool ok = true;

    switch (options_output()) {
    case OUTPUT_TABLE:
        ok = output_table(columns, rows, err);
        break;
    case OUTPUT_JSON:
        ok = output_document(kind, rows, err);
        break;
    case OUTPUT_NDJSON:
        for (size_t i = 0; ok && i < count; i++) {
            ok = output_json(json_array_get(rows, i), JSON_COMPACT, err);
        }
        break;
    case OUTPUT_CSV:
        ok = output_csv_row(columns, NULL, err);
        for (size_t i = 0; ok && i < count; i++) {
            ok = output_csv_row(columns, json_array_get(rows, i), err);
        }
        break;
    }
    return ok && output_flush(err);
}

static bool
output_lines(const OutputColumn *columns, const json_t *record, Error *err)
{
    bool is_terminal = isatty(STDOUT_FILENO) == 1;
    size_t width = 0;
    bool ok = true;
    Buf line;

    buf_init(&line, CELL_BYTES_MAX);
    for (size_t i = 0; columns[i].key != NULL; i++) {
        width = columns[i].title != NULL ? DS_MAX(width, strlen(columns[i].title)) : width;
    }
    for (size_t i = 0; ok && columns[i].key != NULL; i++) {
        if (columns[i].title == NULL) {
            continue;
        }
        buf_reset(&line);
        ok =
            (is_terminal ? buf_printf(&line, err, "%-*s", (int)width + COLUMN_GAP, columns[i].title)
                         : buf_printf(&line, err, "%s\t", columns[i].title)) &&
            append_shown(&line, record, &columns[i], err) && buf_append_char(&line, '\n', err) &&
            output_bytes(buf_str(&line), err);
    }
    buf_done(&line);
    return ok;
}

bool
output_record(const OutputColumn *columns, const json_t *record, Error *err)
{
    bool ok = true;

    switch (options_output()) {
    case OUTPUT_TABLE:
        ok = output_lines(columns, record, err);
        break;
    case OUTPUT_JSON:
        ok = output_document(NULL, record, err);
        break;
    case OUTPUT_NDJSON:
        ok = output_json(record, JSON_COMPACT, err);
        break;
    case OUTPUT_CSV:
        ok = output_csv_row(columns, NULL, err) && output_csv_row(columns, record, err);
        break;
    }
    return ok && output_flush(err);
}
