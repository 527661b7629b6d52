/* SPDX-License-Identifier: MIT
 *
 * test_machine.c - what the kernel's files say about memory, on made-up trees: no control group,
 * version 2 with a limit in a parent, version 1, files that are missing or nonsense.
 */
#define _GNU_SOURCE
#include "base_test.h"

#include "nr_machine.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[256];

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/newsreader-machine-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A file below the root, its folders made on the way. */
static void put(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(uint64_t total, uint64_t available, bool by_cgroup) {
    nr_machine m = nr_machine_read(root);
    assert_int_equal(m.total_bytes, total);
    assert_int_equal(m.available_bytes, available);
    assert_int_equal(m.by_cgroup, by_cgroup);
}

#define MEMINFO "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    800 kB\n"
#define KIB 1024u

static void test_nothing(void **state) {
    (void)state;
    expect(0, 0, false);
    put("/proc/meminfo", "nonsense\n");
    expect(0, 0, false);
}

static void test_without_groups(void **state) {
    (void)state;
    put("/proc/meminfo", MEMINFO);
    expect(1000 * KIB, 800 * KIB, false);
    put("/proc/self/cgroup", "0::/\n");
    expect(1000 * KIB, 800 * KIB, false);
    put("/proc/self/cgroup", "garbage\n1:\n::\n");
    expect(1000 * KIB, 800 * KIB, false);
}

/* The group itself has no limit, the one above it has; file pages do not count as used. */
static void test_version_2(void **state) {
    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "5000\n");
    put("/sys/fs/cgroup/a/memory.max", "500000\n");
    put("/sys/fs/cgroup/a/memory.current", "300000\n");
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 100000\nactive_file 3\n");
    expect(500000, 300000, true);
    put("/sys/fs/cgroup/a/memory.current", "700000\n"); /* over its limit already */
    expect(500000, 1, true);
    put("/sys/fs/cgroup/a/memory.current", "100\n");
    put("/sys/fs/cgroup/a/memory.max", "1023999\n"); /* tighter than the machine, and all free */
    expect(1023999, 800 * KIB, false);
}

static void test_version_1(void **state) {
    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "3:cpu:/c\n2:memory:/c\n");
    put("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    put("/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "10\n");
    expect(1000 * KIB, 800 * KIB, false);
    put("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "400000\n");
    put("/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "150000\n");
    put("/sys/fs/cgroup/memory/c/memory.stat", "total_inactive_file 50000\n");
    expect(400000, 300000, true);
}

static void test_this_machine(void **state) {
    (void)state;
    nr_machine m = nr_machine_read("");
    assert_true(m.total_bytes > 64u << 20);
    assert_true(m.available_bytes > 0 && m.available_bytes <= m.total_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_groups, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down),
        cmocka_unit_test(test_this_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
