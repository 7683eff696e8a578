/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pg_internal.h"

#include <criterion/criterion.h>

Test(pg_sqlstate, each_state_has_the_class_that_its_reaction_needs)
{
    static const struct {
        const char *sqlstate;
        PgErrorClass class;
    } cases[] = {
        {"00000", PG_ERROR_NONE},       {"08000", PG_ERROR_CONNECTION},
        {"08006", PG_ERROR_CONNECTION}, {"08007", PG_ERROR_CONNECTION},
        {"0A000", PG_ERROR_SCHEMA},     {"22021", PG_ERROR_ROW},
        {"22P02", PG_ERROR_ROW},        {"23505", PG_ERROR_ROW},
        {"23514", PG_ERROR_ROW},        {"25006", PG_ERROR_TRANSIENT},
        {"25P02", PG_ERROR_UNKNOWN},    {"25P03", PG_ERROR_CONNECTION},
        {"28000", PG_ERROR_PERMANENT},  {"28P01", PG_ERROR_PERMANENT},
        {"3D000", PG_ERROR_PERMANENT},  {"3F000", PG_ERROR_SCHEMA},
        {"40001", PG_ERROR_TRANSIENT},  {"40P01", PG_ERROR_TRANSIENT},
        {"40003", PG_ERROR_CONNECTION}, {"42501", PG_ERROR_SCHEMA},
        {"42P01", PG_ERROR_SCHEMA},     {"53100", PG_ERROR_TRANSIENT},
        {"53300", PG_ERROR_TRANSIENT},  {"54000", PG_ERROR_PERMANENT},
        {"54001", PG_ERROR_PERMANENT},  {"55000", PG_ERROR_UNKNOWN},
        {"55006", PG_ERROR_TRANSIENT},  {"55P03", PG_ERROR_TRANSIENT},
        {"57014", PG_ERROR_TRANSIENT},  {"57P01", PG_ERROR_CONNECTION},
        {"57P02", PG_ERROR_CONNECTION}, {"57P03", PG_ERROR_CONNECTION},
        {"57P05", PG_ERROR_CONNECTION}, {"58030", PG_ERROR_TRANSIENT},
        {"58P01", PG_ERROR_UNKNOWN},    {"P0001", PG_ERROR_UNKNOWN},
        {"XX000", PG_ERROR_UNKNOWN},    {"XX001", PG_ERROR_UNKNOWN},
        {"", PG_ERROR_UNKNOWN},         {"42", PG_ERROR_UNKNOWN},
        {"420000", PG_ERROR_UNKNOWN},   {NULL, PG_ERROR_UNKNOWN},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        cr_expect_eq(pg_sqlstate_class(cases[i].sqlstate), cases[i].class, "%s",
                     cases[i].sqlstate == NULL ? "NULL" : cases[i].sqlstate);
    }
}

Test(pg_sqlstate, each_class_has_the_code_of_its_reaction)
{
    cr_expect_eq(pg_error_code(PG_ERROR_CONNECTION, "57P01"), ERR_RETRY);
    cr_expect_eq(pg_error_code(PG_ERROR_TRANSIENT, "40001"), ERR_RETRY);
    cr_expect_eq(pg_error_code(PG_ERROR_UNKNOWN, "XX000"), ERR_RETRY);
    cr_expect_eq(pg_error_code(PG_ERROR_ROW, "22P02"), ERR_INPUT);
    cr_expect_eq(pg_error_code(PG_ERROR_SCHEMA, "42P01"), ERR_CONFIG);
    cr_expect_eq(pg_error_code(PG_ERROR_PERMANENT, "3D000"), ERR_CONFIG);
    cr_expect_eq(pg_error_code(PG_ERROR_PERMANENT, "28P01"), ERR_AUTH);
    cr_expect_eq(pg_error_code(PG_ERROR_NONE, "00000"), ERR_PROTOCOL);
}
