/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/fault.h -- named fault points and mutants, compiled out of release builds.
 *
 * FAULT("writer.commit_sent") marks a place where a test may kill, stall or fail the program.
 * In a build with DS_FAULTS the environment arms it:
 *     DS_FAULT=writer.commit_sent:kill:3     the third passage kills the process with SIGKILL
 *     DS_FAULT=pg.query:fail:1               FAULT returns true on the first passage
 *     DS_FAULT=writer.guard:stall:2          the second passage sleeps for an hour
 *     DS_FAULT=writer.guard:stop:2           the second passage stops until SIGCONT
 * DS_FAULT_LOG names a file to which "name action\n" is appended before acting, so that a test can
 * count which faults really hit.
 *
 * MUTANT("no_epoch_check") is true when DS_MUTANT names it: a switch that breaks one rule, so that
 * the test suite can show that it would notice.
 */
#pragma once

#include "common/base.h"

#ifdef DS_FAULTS
bool fault_hit(const char *name);
bool fault_mutant(const char *name);
#define FAULT(name)  fault_hit(name)
#define MUTANT(name) fault_mutant(name)
#else
#define FAULT(name)  false
#define MUTANT(name) false
#endif
