/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fault.h"

/* Test builds only: the release build has no fault points, so this file is empty there. */
#ifdef DS_FAULTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/parse.h"

#define STALL_SECONDS 3600

typedef struct FaultPlan {
    Str name;
    Str action;
    uint64_t nth; /* 0: nothing is armed */
    const char *mutant;
    const char *log_path;
} FaultPlan;

static FaultPlan plan;
static atomic_uint_fast64_t passages;
static pthread_once_t plan_once = PTHREAD_ONCE_INIT;

static bool
is_action(Str action)
{
    return str_eq(action, STR("kill")) || str_eq(action, STR("fail")) ||
           str_eq(action, STR("stall")) || str_eq(action, STR("stop"));
}

static void
plan_read(void)
{
    Str spec = str_c(getenv("DS_FAULT"));
    Str rest;
    Str count;

    plan.mutant = getenv("DS_MUTANT");
    plan.log_path = getenv("DS_FAULT_LOG");
    if (spec.len == 0) {
        return;
    }
    if (!str_cut(spec, ':', &plan.name, &rest) || !str_cut(rest, ':', &plan.action, &count) ||
        !is_action(plan.action) || !parse_u64(count, UINT32_MAX, &plan.nth) || plan.nth == 0) {
        (void)fprintf(stderr, "DS_FAULT must be name:kill|fail|stall|stop:nth, not \"%.*s\"\n",
                      STR_ARG(spec));
        abort();
    }
}

static void
fault_record(const char *name)
{
    char line[160];

    if (plan.log_path == NULL) {
        return;
    }
    int length = snprintf(line, sizeof(line), "%s %.*s\n", name, STR_ARG(plan.action));
    int fd = open(plan.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        ssize_t written = write(fd, line, DS_MIN((size_t)length, sizeof(line) - 1));

        (void)written;
        (void)close(fd);
    }
}

bool
fault_hit(const char *name)
{
    (void)pthread_once(&plan_once, plan_read);
    if (plan.nth == 0 || !str_eq(plan.name, str_c(name)) ||
        atomic_fetch_add(&passages, 1) + 1 != plan.nth) {
        return false;
    }
    fault_record(name);
    if (str_eq(plan.action, STR("kill"))) {
        (void)raise(SIGKILL);
    } else if (str_eq(plan.action, STR("stop"))) {
        (void)raise(SIGSTOP); /* and on from here when somebody sends SIGCONT */
        return false;
    } else if (str_eq(plan.action, STR("stall"))) {
        /* A signal that the program handles must not wake it. */
        for (unsigned left = STALL_SECONDS; left > 0;) {
            left = sleep(left);
        }
    }
    return true;
}

bool
fault_mutant(const char *name)
{
    (void)pthread_once(&plan_once, plan_read);
    return plan.mutant != NULL && strcmp(plan.mutant, name) == 0;
}

#else

/* ISO C wants at least one declaration in a file. */
typedef int fault_is_compiled_out;

#endif
