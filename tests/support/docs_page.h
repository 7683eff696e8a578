/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/docs_page.h -- tables in docs/ that are made from tables in the code.
 *
 * A page holds such a table between the lines <!-- name --> and <!-- end name -->.
 */
#pragma once

#include "common/str.h"

/* Whether that place of docs/<page> holds exactly `table`.  With DS_DOCS=write in the environment
 * the table is put there, and the answer is true.  A page without the place fails the test. */
bool docs_page_holds(const char *page, const char *name, Str table);
