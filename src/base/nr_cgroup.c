/* SPDX-License-Identifier: MIT
 * nr_cgroup.c - see nr_cgroup.h. */
#define _GNU_SOURCE
#include "nr_cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR_BYTES_MAX 8192

const char *nr_cgroup_text(const char *dir, const char *name, char text[64]) {
    char path[DIR_BYTES_MAX + 64];
    size_t n_bytes = 0;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (f) {
        n_bytes = fread(text, 1, 63, f);
        fclose(f);
    }
    text[n_bytes] = '\0';
    return text;
}

/* Is name one of "cpu,cpuacct"? */
static bool is_listed(const char *list, const char *name) {
    size_t n = strlen(name);
    while (*list) {
        size_t length = strcspn(list, ",");
        if (length == n && memcmp(list, name, n) == 0) return true;
        list += length + (list[length] == ',');
    }
    return false;
}

/* base + group, base + its parent, ... base itself. A container may see its group's path without
 * having it below base: then only base exists, and is the right one. */
static void climb(const char *base, const char *group, bool unified, nr_cgroup_fn fn, void *ctx) {
    char dir[DIR_BYTES_MAX];
    size_t n_base = strlen(base);
    bool outside = strstr(group, "/..") != NULL; /* of what this process may see */
    int n = snprintf(dir, sizeof dir, "%s%s", base, outside ? "" : group);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (char *end = dir + n; end; end = strrchr(dir, '/')) {
        *end = '\0';
        if ((size_t)(end - dir) < n_base) return;
        fn(ctx, dir, unified);
    }
}

void nr_cgroup_walk(const char *membership, const char *root, const char *controller,
                    nr_cgroup_fn fn, void *ctx) {
    char line[DIR_BYTES_MAX], base[DIR_BYTES_MAX];
    FILE *f = fopen(membership, "re");
    if (!f) return;
    while (fgets(line, sizeof line, f)) { /* "4:cpu,cpuacct:/group" or, version 2, "0::/group" */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        bool unified = list[1] == '\0';
        if (!unified && !is_listed(list + 1, controller)) continue;
        int n = snprintf(base, sizeof base, unified ? "%s" : "%s/%s", root, controller);
        if (n > 0 && (size_t)n < sizeof base) climb(base, group, unified, fn, ctx);
    }
    fclose(f);
}

/* Version 2: "cpu.max" holds "quota period" or "max period", microseconds. Version 1: two files, a
 * quota of -1 is none. */
static void take_cpus(void *ctx, const char *dir, bool unified) {
    int *least = ctx;
    char text[64];
    long long quota = 0, period = 0;
    if (unified) {
        if (sscanf(nr_cgroup_text(dir, "cpu.max", text), "%lld %lld", &quota, &period) != 2) return;
    } else {
        quota = strtoll(nr_cgroup_text(dir, "cpu.cfs_quota_us", text), NULL, 10);
        period = strtoll(nr_cgroup_text(dir, "cpu.cfs_period_us", text), NULL, 10);
    }
    if (quota <= 0 || period <= 0) return;
    long long cpus = quota / period + (quota % period != 0);
    if (cpus <= INT32_MAX && (*least == 0 || cpus < *least)) *least = (int)cpus;
}

int nr_cgroup_cpu_count(const char *membership, const char *root) {
    int least = 0;
    nr_cgroup_walk(membership, root, "cpu", take_cpus, &least);
    return least;
}
