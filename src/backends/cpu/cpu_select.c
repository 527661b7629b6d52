/* SPDX-License-Identifier: MIT
 * cpu_select.c - see cpu_kernels.h. The only file that names instruction sets. The x86 checks
 * include the operating system's part (saved vector state), which __builtin_cpu_supports reads
 * with xgetbv. */
#define _GNU_SOURCE /* syscall */
#include "cpu_kernels.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define ARCH_REQ_XCOMP_PERM 0x1023 /* asm/prctl.h, since Linux 5.16 */
#define XCOMP_TILE_DATA 18         /* of the saved state */
#ifndef bit_AMX_TILE
#define bit_AMX_TILE (1u << 24) /* cpuid 7, edx */
#define bit_AMX_INT8 (1u << 25)
#endif
#endif
#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1ul << 20) /* asm/hwcap.h */
#endif
#endif

static bool always(void) {
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(void) {
    unsigned a, b, c, d; /* not every compiler's builtin knows "f16c" */
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}
static bool has_avx512vnni(void) {
    __builtin_cpu_init();
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
/* Tiles are 8 KiB of state for each thread that uses them: Linux gives them to a process that asks,
 * for all its threads, and says no where it cannot save them. Asking again is harmless. */
static bool has_amx(void) {
    const unsigned needed = bit_AMX_TILE | bit_AMX_INT8;
    unsigned a, b, c, d;
    return has_avx512vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XCOMP_TILE_DATA) == 0;
}
#elif defined(__aarch64__)
static bool has_neon(void) {
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
#endif

/* Best first. */
static const struct {
    const nr_cpu_kernels *kernels;
    bool (*usable)(void);
} tables[] = {
#if defined(__x86_64__)
    {&nr_cpu_kernels_amx, has_amx},
    {&nr_cpu_kernels_avx512vnni, has_avx512vnni},
    {&nr_cpu_kernels_avx2, has_avx2},
#elif defined(__aarch64__)
    {&nr_cpu_kernels_neon, has_neon},
#endif
    {&nr_cpu_kernels_scalar, always},
};

static const char *const known_names[] = {"scalar", "avx2", "avx512vnni", "amx", "neon"};

static void list_usable(char *dst, size_t cap) {
    size_t used = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < NR_COUNT(tables); i++) {
        if (!tables[i].usable()) continue;
        int n = snprintf(dst + used, cap - used, "%s%s", used ? ", " : "", tables[i].kernels->name);
        if (n < 0 || (size_t)n >= cap - used) return;
        used += (size_t)n;
    }
}

nr_status nr_cpu_select(const char *name, const nr_cpu_kernels **out, nr_error *err) {
    for (size_t i = 0; i < NR_COUNT(tables); i++) {
        if (name && strcmp(name, tables[i].kernels->name) != 0) continue;
        if (!tables[i].usable()) continue;
        *out = tables[i].kernels;
        return NR_STATUS_OK;
    }
    char usable[128];
    list_usable(usable, sizeof usable);
    for (size_t i = 0; i < NR_COUNT(known_names); i++)
        NR_FAIL_IF(strcmp(name, known_names[i]) == 0, UNSUPPORTED,
                   "CPU kernels \"%s\": this machine lacks what they need; usable here: %s", name,
                   usable);
    NR_FAIL(ARG, "CPU kernels \"%.40s\": no such name; usable here: %s", name, usable);
}
