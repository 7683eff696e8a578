/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/mutant.h -- statements with one rule left out, so that the tests can show that they notice.
 *
 * In a release build there are no mutants and every statement is what its file says.
 */
#pragma once

#include "common/buf.h"

/* sql, or a changed copy of it in scratch when DS_MUTANT names a rule of the guard. */
const char *mutant_statement(const char *sql, Buf *scratch);
/* Likewise, of a rule about the rows of a table of state. */
const char *mutant_state_statement(const char *sql, Buf *scratch);
const char *mutant_state_put(const char *sql, Buf *scratch);
const char *mutant_state_sieve(const char *sql, Buf *scratch);
