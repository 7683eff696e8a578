/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/error_class.h"

#include <criterion/criterion.h>

Test(error_class, each_sqlstate_has_the_class_of_what_must_happen)
{
    static const struct {
        const char *sqlstate;
        ErrorClass class;
    } table[] = {
        {"08006", ERROR_CLASS_POSTGRES_DOWN},      {"57P01", ERROR_CLASS_POSTGRES_DOWN},
        {"25P03", ERROR_CLASS_POSTGRES_DOWN},      {"40003", ERROR_CLASS_POSTGRES_DOWN},
        {"40001", ERROR_CLASS_POSTGRES_RETRY},     {"40P01", ERROR_CLASS_POSTGRES_RETRY},
        {"55P03", ERROR_CLASS_POSTGRES_STALLED},   {"57014", ERROR_CLASS_POSTGRES_STALLED},
        {"53300", ERROR_CLASS_POSTGRES_RETRY},     {"53100", ERROR_CLASS_POSTGRES_FULL},
        {"25006", ERROR_CLASS_POSTGRES_READ_ONLY}, {"22P02", ERROR_CLASS_POSTGRES_ROW},
        {"23514", ERROR_CLASS_POSTGRES_ROW},       {"42P01", ERROR_CLASS_POSTGRES_SCHEMA},
        {"42501", ERROR_CLASS_POSTGRES_SCHEMA},    {"0A000", ERROR_CLASS_POSTGRES_SCHEMA},
        {"28P01", ERROR_CLASS_POSTGRES_REFUSED},   {"3D000", ERROR_CLASS_POSTGRES_REFUSED},
        {"54000", ERROR_CLASS_POSTGRES_ROW},       {"P0001", ERROR_CLASS_POSTGRES_ROW},
        {"XX000", ERROR_CLASS_POSTGRES_UNKNOWN},   {"XX001", ERROR_CLASS_POSTGRES_DAMAGED},
        {"XX002", ERROR_CLASS_POSTGRES_DAMAGED},   {"APP01", ERROR_CLASS_POSTGRES_ROW},
        {"26000", ERROR_CLASS_POSTGRES_RETRY},     {"53200", ERROR_CLASS_POSTGRES_RETRY},
        {"57P04", ERROR_CLASS_POSTGRES_DOWN},      {"42703", ERROR_CLASS_POSTGRES_SCHEMA},
        {"F0000", ERROR_CLASS_POSTGRES_REFUSED},   {"HV000", ERROR_CLASS_POSTGRES_UNKNOWN},
    };

    for (size_t i = 0; i < DS_COUNT(table); i++) {
        const char *sqlstate = table[i].sqlstate;

        cr_expect_eq(error_class_of_postgres(pg_sqlstate_class(sqlstate), sqlstate), table[i].class,
                     "%s", sqlstate);
    }
}

Test(error_class, a_lost_connection_is_one_whatever_its_sqlstate_says)
{
    cr_expect_eq(error_class_of_postgres(PG_ERROR_CONNECTION, ""), ERROR_CLASS_POSTGRES_DOWN);
    cr_expect_eq(error_class_of_postgres(PG_ERROR_CONNECTION, "53300"), ERROR_CLASS_POSTGRES_DOWN);
    cr_expect_eq(error_class_of_postgres(PG_ERROR_CONNECTION, "25006"), ERROR_CLASS_POSTGRES_DOWN);
    cr_expect_eq(error_class_of_postgres(PG_ERROR_PERMANENT, ""), ERROR_CLASS_POSTGRES_REFUSED);
}

Test(error_class, each_status_has_the_class_of_what_must_happen)
{
    static const struct {
        int status;
        ErrorClass class;
    } table[] = {
        {200, ERROR_CLASS_NONE},           {204, ERROR_CLASS_NONE},
        {404, ERROR_CLASS_SOURCE_MISSING}, {410, ERROR_CLASS_SOURCE_GONE},
        {401, ERROR_CLASS_SOURCE_REFUSED}, {403, ERROR_CLASS_SOURCE_REFUSED},
        {408, ERROR_CLASS_SOURCE_RETRY},   {425, ERROR_CLASS_SOURCE_RETRY},
        {429, ERROR_CLASS_SOURCE_RETRY},   {500, ERROR_CLASS_SOURCE_RETRY},
        {503, ERROR_CLASS_SOURCE_RETRY},   {599, ERROR_CLASS_SOURCE_RETRY},
        {206, ERROR_CLASS_SOURCE_FATAL},   {301, ERROR_CLASS_SOURCE_FATAL},
        {302, ERROR_CLASS_SOURCE_FATAL},   {307, ERROR_CLASS_SOURCE_FATAL},
        {400, ERROR_CLASS_SOURCE_FATAL},   {405, ERROR_CLASS_SOURCE_FATAL},
        {409, ERROR_CLASS_SOURCE_FATAL},   {413, ERROR_CLASS_SOURCE_FATAL},
        {499, ERROR_CLASS_SOURCE_FATAL},   {600, ERROR_CLASS_SOURCE_FATAL},
    };

    for (size_t i = 0; i < DS_COUNT(table); i++) {
        cr_expect_eq(error_class_of_status(table[i].status), table[i].class, "%d", table[i].status);
    }
}

Test(error_class, every_class_of_an_error_says_what_it_is_and_what_happens)
{
    for (size_t i = ERROR_CLASS_NONE + 1; i < ERROR_CLASS_COUNT; i++) {
        const ErrorClassInfo *info = error_class_info((ErrorClass)i);

        cr_assert_not_null(info->name, "%zu", i);
        cr_expect_not_null(info->meaning, "%s", info->name);
        cr_expect_not_null(info->happens, "%s", info->name);
        cr_expect_neq(info->action, ERROR_ACTION_NONE, "%s", info->name);
        if (i <= ERROR_CLASS_POSTGRES_UNKNOWN) { /* the writer waits, and says so */
            cr_expect_not_null(info->next, "%s", info->name);
            cr_expect_neq(info->event, EVENT_NONE, "%s", info->name);
        }
    }
}

/* What is shown is what decides: the table's first column behind every rule of a SQLSTATE. */
Test(error_class, every_rule_is_in_the_table_for_people)
{
    const char *prefix;
    PgErrorClass kind;
    char code[8];
    Error err;
    Buf table;

    buf_init(&table, 1u << 20);
    cr_assert(error_class_markdown(&table, &err));
    for (size_t i = 1; pg_sqlstate_rule(i, &prefix, &kind); i++) {
        const ErrorClassInfo *info = error_class_info(error_class_of_postgres(kind, prefix));

        (void)snprintf(code, sizeof(code), "`%s", prefix);
        const char *row = strstr(buf_cstr(&table), info->name);
        cr_assert_not_null(row, "%s", info->name);
        const char *found = strstr(row, code);
        cr_expect(found != NULL && found < strchr(row, '\n'), "%s in %s", prefix, info->name);
    }
    buf_done(&table);
}
