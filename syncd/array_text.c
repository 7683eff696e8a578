/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/array_text.h"

#include "common/pg.h"

bool
array_add_number(Buf *array, int64_t number, Error *err)
{
    return buf_append_char(array, array->len == 0 ? '{' : ',', err) &&
           buf_append_i64(array, number, err);
}

bool
array_add_text(Buf *array, Str text, Error *err)
{
    bool first = array->len == 0;

    return (!first || buf_append_char(array, '{', err)) && pg_array_append(array, text, first, err);
}

bool
array_add_null(Buf *array, Error *err)
{
    return buf_append(array, array->len == 0 ? STR("{NULL") : STR(",NULL"), err);
}

bool
array_add_bytes(Buf *array, Str bytes, Error *err)
{
    return buf_append(array, array->len == 0 ? STR("{\"\\\\x") : STR(",\"\\\\x"), err) &&
           buf_append_hex(array, bytes, err) && buf_append_char(array, '"', err);
}

bool
array_end(Buf *array, Error *err)
{
    return buf_append(array, array->len == 0 ? STR("{}") : STR("}"), err);
}
