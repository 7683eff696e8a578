/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pg_internal.h"

#include <criterion/criterion.h>

Test(pg_sqlstate, each_state_has_the_class_that_its_reaction_needs)
{
    static const struct {
        const char *sqlstate;
        PgErrorClass class;
    } cases[] = {
        {"00000", PG_ERROR_NONE},       {"01000", PG_ERROR_UNKNOWN},
        {"02000", PG_ERROR_ROW},        {"03000", PG_ERROR_UNKNOWN},
        {"08000", PG_ERROR_CONNECTION}, {"08006", PG_ERROR_CONNECTION},
        {"08007", PG_ERROR_CONNECTION}, {"08P01", PG_ERROR_CONNECTION},
        {"09000", PG_ERROR_ROW},        {"0A000", PG_ERROR_SCHEMA},
        {"0B000", PG_ERROR_UNKNOWN},    {"0F001", PG_ERROR_UNKNOWN},
        {"0LP01", PG_ERROR_SCHEMA},     {"0P000", PG_ERROR_SCHEMA},
        {"0Z002", PG_ERROR_UNKNOWN},    {"20000", PG_ERROR_ROW},
        {"21000", PG_ERROR_ROW},        {"22003", PG_ERROR_ROW},
        {"22012", PG_ERROR_ROW},        {"22021", PG_ERROR_ROW},
        {"22P02", PG_ERROR_ROW},        {"22P05", PG_ERROR_ROW},
        {"23001", PG_ERROR_ROW},        {"23502", PG_ERROR_ROW},
        {"23503", PG_ERROR_ROW},        {"23505", PG_ERROR_ROW},
        {"23514", PG_ERROR_ROW},        {"23P01", PG_ERROR_ROW},
        {"24000", PG_ERROR_UNKNOWN},    {"25001", PG_ERROR_UNKNOWN},
        {"25006", PG_ERROR_TRANSIENT},  {"25P02", PG_ERROR_UNKNOWN},
        {"25P03", PG_ERROR_CONNECTION}, {"25P04", PG_ERROR_CONNECTION},
        {"26000", PG_ERROR_TRANSIENT},  {"27000", PG_ERROR_ROW},
        {"28000", PG_ERROR_PERMANENT},  {"28P01", PG_ERROR_PERMANENT},
        {"2BP01", PG_ERROR_SCHEMA},     {"2D000", PG_ERROR_SCHEMA},
        {"2F005", PG_ERROR_SCHEMA},     {"34000", PG_ERROR_TRANSIENT},
        {"38000", PG_ERROR_SCHEMA},     {"39P01", PG_ERROR_SCHEMA},
        {"3B001", PG_ERROR_UNKNOWN},    {"3D000", PG_ERROR_PERMANENT},
        {"3F000", PG_ERROR_SCHEMA},     {"40001", PG_ERROR_TRANSIENT},
        {"40P01", PG_ERROR_TRANSIENT},  {"40003", PG_ERROR_CONNECTION},
        {"42501", PG_ERROR_SCHEMA},     {"42703", PG_ERROR_SCHEMA},
        {"42804", PG_ERROR_SCHEMA},     {"42883", PG_ERROR_SCHEMA},
        {"42P01", PG_ERROR_SCHEMA},     {"42P10", PG_ERROR_SCHEMA},
        {"44000", PG_ERROR_ROW},        {"53000", PG_ERROR_TRANSIENT},
        {"53100", PG_ERROR_TRANSIENT},  {"53200", PG_ERROR_TRANSIENT},
        {"53300", PG_ERROR_TRANSIENT},  {"53400", PG_ERROR_TRANSIENT},
        {"54000", PG_ERROR_ROW},        {"54001", PG_ERROR_ROW},
        {"55000", PG_ERROR_SCHEMA},     {"55006", PG_ERROR_TRANSIENT},
        {"55P02", PG_ERROR_UNKNOWN},    {"55P03", PG_ERROR_TRANSIENT},
        {"57000", PG_ERROR_UNKNOWN},    {"57014", PG_ERROR_TRANSIENT},
        {"57P01", PG_ERROR_CONNECTION}, {"57P02", PG_ERROR_CONNECTION},
        {"57P03", PG_ERROR_CONNECTION}, {"57P04", PG_ERROR_CONNECTION},
        {"57P05", PG_ERROR_CONNECTION}, {"58000", PG_ERROR_UNKNOWN},
        {"58030", PG_ERROR_TRANSIENT},  {"58P01", PG_ERROR_UNKNOWN},
        {"72000", PG_ERROR_TRANSIENT},  {"F0000", PG_ERROR_PERMANENT},
        {"HV000", PG_ERROR_UNKNOWN},    {"P0000", PG_ERROR_ROW},
        {"P0001", PG_ERROR_ROW},        {"P0002", PG_ERROR_ROW},
        {"P0003", PG_ERROR_ROW},        {"P0004", PG_ERROR_ROW},
        {"XX000", PG_ERROR_UNKNOWN},    {"XX001", PG_ERROR_PERMANENT},
        {"XX002", PG_ERROR_PERMANENT},  {"APP01", PG_ERROR_ROW},
        {"45000", PG_ERROR_ROW},        {"99999", PG_ERROR_ROW},
        {"", PG_ERROR_UNKNOWN},         {"42", PG_ERROR_UNKNOWN},
        {"420000", PG_ERROR_UNKNOWN},   {"P000 ", PG_ERROR_UNKNOWN},
        {"p0001", PG_ERROR_UNKNOWN},    {NULL, PG_ERROR_UNKNOWN},
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
