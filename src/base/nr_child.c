/* SPDX-License-Identifier: MIT
 * nr_child.c - see nr_child.h. */
#define _GNU_SOURCE
#include "nr_child.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

nr_status nr_child_run(const char *what, unsigned seconds, int (*fn)(void *ctx), void *ctx,
                       int *code, nr_error *err) {
    int state = 0;
    pid_t child = fork();
    NR_FAIL_IF(child < 0, NO_MEMORY, "%s: no process for it: %s", what, strerror(errno));
    if (child == 0) {
        alarm(seconds);
        _exit(fn(ctx) & 0xff);
    }
    while (waitpid(child, &state, 0) < 0)
        NR_FAIL_IF(errno != EINTR, INTERNAL, "%s: its process is lost: %s", what, strerror(errno));
    NR_FAIL_IF(WIFSIGNALED(state), SELF_TEST, "%s: ended by signal %d (%s)", what, WTERMSIG(state),
               strsignal(WTERMSIG(state)));
    *code = WEXITSTATUS(state);
    return NR_STATUS_OK;
}
