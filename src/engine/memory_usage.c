/* SPDX-License-Identifier: MIT
 * memory_usage.c - what the system says this process holds, and what it could. */
#include "newsreader.h"

#include "nr_alloc.h"
#include "nr_machine.h"

#include <stdio.h>
#include <string.h>

/* "VmRSS:   1234 kB" of /proc/self/status, in bytes; 0 where there is no such file. */
static uint64_t status_bytes(const char *text, const char *key) {
    const char *line = strstr(text, key);
    unsigned long long kib = 0;
    if (!line || sscanf(line + strlen(key), " %llu", &kib) != 1) return 0;
    return kib * 1024;
}

nr_memory_usage nr_memory_usage_get(void) {
    char text[4096] = "";
    nr_alloc_stats stats = nr_alloc_get_stats();
    FILE *f = fopen("/proc/self/status", "re");
    if (f) {
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    return (nr_memory_usage){.resident_bytes = status_bytes(text, "VmRSS:"),
                             .resident_peak_bytes = status_bytes(text, "VmHWM:"),
                             .arena_bytes = stats.page_bytes,
                             .allocations = stats.calls,
                             .library_allocations = stats.library_calls};
}

nr_machine_memory nr_machine_memory_get(void) {
    nr_machine m = nr_machine_read("");
    return (nr_machine_memory){.total_bytes = m.total_bytes,
                               .available_bytes = m.available_bytes,
                               .by_cgroup = m.by_cgroup};
}
