/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/before.h"

#include "common/parse.h"
#include "sql/queries.h"

#define NUMBER_BYTES 24
#define DAY_MS       INT64_C(86400000)

bool
before_find(Call *call, const char *before, CallRows *out, Error *err)
{
    char ago[NUMBER_BYTES];
    int64_t ms = 0;
    PgParam params[] = {{.value = before}, {.value = NULL}};

    if (before == NULL) {
        return error_set(err, ERR_CONFIG, "older than what? --before TIME, or an age like 30d");
    }
    if (!parse_rfc3339_ms(str_c(before), &ms)) {
        if (!parse_duration_ms(str_c(before), DAY_MS, &ms)) {
            return error_set(err, ERR_CONFIG,
                             "--before must be like 2026-01-31T00:00:00Z, 30d or 12h, not \"%s\"",
                             before);
        }
        (void)snprintf(ago, sizeof(ago), "%lld", (long long)ms);
        params[0].value = NULL;
        params[1].value = ago;
    }
    if (!call_pg(call, sql_prune_before, params, DS_COUNT(params), out, err)) {
        return false;
    }
    return strcmp(call_rows_get(out, 0, 1), "t") == 0 ||
           error_set(err, ERR_CONFIG, "--before lies in the future, so it would delete everything");
}
