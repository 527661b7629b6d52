/* SPDX-License-Identifier: MIT
 *
 * jail.c - a process locks itself up before it decodes: limits, no files (Landlock), and of the
 * system calls only those that memory and the result's file need (seccomp). Anything else ends it.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* shadow memory: terabytes of addresses, and calls of its own */
#else
#define SANITIZED 0
#endif

static bool limit(int what, rlim_t n) {
    return setrlimit((__rlimit_resource_t)what, &(struct rlimit){n, n}) == 0;
}

/* Every kind of access that the kernel knows is handled, none is allowed. Kernels without Landlock
 * leave files to seccomp, which has no open. */
static bool forbid_files(void) {
    struct landlock_ruleset_attr rules = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                             LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR};
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (fd < 0) return errno == ENOSYS || errno == EOPNOTSUPP;
    bool fine = syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    close(fd);
    return fine;
}

static bool forbid_calls(void) {
    static const int allowed[] = {
        SCMP_SYS(munmap),        SCMP_SYS(mremap),       SCMP_SYS(brk),
        SCMP_SYS(madvise),       SCMP_SYS(futex),        SCMP_SYS(exit),
        SCMP_SYS(exit_group),    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(clock_gettime), SCMP_SYS(getrandom),    SCMP_SYS(write),
        SCMP_SYS(pwrite64),      SCMP_SYS(ftruncate),    SCMP_SYS(sched_yield),
        SCMP_SYS(getpid),        SCMP_SYS(gettid),       SCMP_SYS(sysinfo)};
    static const int sanitizer[] = {SCMP_SYS(sigaltstack), SCMP_SYS(getrlimit),
                                    SCMP_SYS(prlimit64),   SCMP_SYS(rt_sigaction),
                                    SCMP_SYS(readlink),    SCMP_SYS(gettimeofday)};
    const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int bad = !ctx;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; SANITIZED && i < sizeof sanitizer / sizeof sanitizer[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, sanitizer[i], 0);
    bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_code);
    bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_code);
    bad |= ctx ? seccomp_load(ctx) : 1;
    seccomp_release(ctx);
    return bad == 0;
}

bool jail_enter(size_t memory_bytes, size_t file_bytes, int cpu_seconds) {
    if (!SANITIZED && !limit(RLIMIT_AS, memory_bytes)) return false;
    return limit(RLIMIT_CPU, (rlim_t)cpu_seconds) && limit(RLIMIT_CORE, 0) &&
           limit(RLIMIT_FSIZE, file_bytes) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_DUMPABLE, 0) == 0 && forbid_files() && limit(RLIMIT_NOFILE, 0) &&
           forbid_calls();
}
