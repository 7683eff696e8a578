/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_syncd_docs.c -- the pages about syncd say what its tables say.
 *
 * With DS_DOCS=write in the environment the pages are written instead of compared.
 */
#include <criterion/criterion.h>

#include "syncd/error_class.h"
#include "syncd/session.h"
#include "syncd/syncd_config.h"
#include "tests/support/docs_page.h"

#define HOW "run DS_DOCS=write build/dev/bin/test_syncd_docs"

Test(syncd_docs, the_settings_of_the_page_are_those_of_the_program)
{
    Error err;
    Buf table;

    buf_init(&table, 1u << 20);
    cr_assert(config_markdown(&syncd_config_table, &table, &err));
    cr_expect(docs_page_holds("syncd.md", "settings", buf_str(&table)),
              "docs/syncd.md is not up to date: " HOW);
    buf_done(&table);
}

Test(syncd_docs, the_error_classes_of_the_page_are_those_of_the_program)
{
    Error err;
    Buf table;

    buf_init(&table, 1u << 20);
    cr_assert(error_class_markdown(&table, &err));
    cr_expect(docs_page_holds("syncd.md", "error classes", buf_str(&table)),
              "docs/syncd.md is not up to date: " HOW);
    buf_done(&table);
}

Test(syncd_docs, the_diagram_of_the_session_has_the_edges_of_the_program)
{
    Error err;
    Buf diagram;

    buf_init(&diagram, 1u << 20);
    cr_assert(buf_append(&diagram, STR("```mermaid\nstateDiagram-v2\n"), &err));
    cr_assert(session_print_states(&diagram, &err));
    cr_assert(buf_append(&diagram, STR("```\n"), &err));
    cr_expect(docs_page_holds("ARCHITECTURE.md", "session states", buf_str(&diagram)),
              "docs/ARCHITECTURE.md is not up to date: " HOW);
    buf_done(&diagram);
}
