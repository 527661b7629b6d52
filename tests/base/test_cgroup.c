/* SPDX-License-Identifier: MIT
 * test_cgroup.c - control groups of both versions, in folders made up here. */
#define _GNU_SOURCE
#include "base_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nr_cgroup.h"
#include "nr_threads.h"

static char root[256];

/* Write text into root/name; folders on the way are made. */
static void put(const char *name, const char *text) {
    char path[1024];
    int n = snprintf(path, sizeof path, "%s/%s", root, name);
    assert_true(n > 0 && (size_t)n < sizeof path);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int count(const char *membership) {
    char path[1024];
    put("membership", membership);
    snprintf(path, sizeof path, "%s/membership", root);
    return nr_cgroup_cpu_count(path, root);
}

static void version_2(void **state) {
    (void)state;
    put("a/cpu.max", "400000 100000\n");
    put("a/b/cpu.max", "150000 100000\n");
    put("a/c/cpu.max", "max 100000\n");
    put("a/d/cpu.max", "800000 100000\n");
    assert_int_equal(count("0::/a\n"), 4);
    assert_int_equal(count("0::/a/b\n"), 2); /* a core and a half */
    assert_int_equal(count("0::/a/b/gone\n"), 2);
    assert_int_equal(count("0::/a/c\n"), 4); /* its parent's */
    assert_int_equal(count("0::/a/d\n"), 4);
    assert_int_equal(count("0::/\n"), 0);
    assert_int_equal(count("0::/../../elsewhere\n"), 0);
    put("cpu.max", "300000 100000\n"); /* the root of a container's own view */
    assert_int_equal(count("0::/docker/0123\n"), 3);
    assert_int_equal(count("0::/../../elsewhere\n"), 3);
    put("cpu.max", "max 100000\n");
}

static void version_1(void **state) {
    (void)state;
    put("cpu/x/cpu.cfs_quota_us", "250000\n");
    put("cpu/x/cpu.cfs_period_us", "50000\n");
    put("cpu/x/y/cpu.cfs_quota_us", "-1\n");
    put("cpu/x/y/cpu.cfs_period_us", "100000\n");
    assert_int_equal(count("5:memory:/a\n4:cpu,cpuacct:/x\n0::/c\n"), 5);
    assert_int_equal(count("4:cpuacct,cpu:/x/y\n"), 5);
    assert_int_equal(count("4:cpuset:/x\n3:cpuacct:/x\n1:name=cpu:/x\n"), 0);
    put("cpu/x/y/cpu.cfs_quota_us", "1000\n");
    assert_int_equal(count("4:cpu:/x/y\n"), 1);
}

static void nonsense_is_no_limit(void **state) {
    (void)state;
    static const char *const limits[] = {"", "max", "\n", "0 100000", "-5 100000", "100000 0",
                                         "100000", "much 5", "9223372036854775807 1"};
    for (size_t i = 0; i < NR_COUNT(limits); i++) {
        put("n/cpu.max", limits[i]);
        assert_int_equal(count("0::/n\n"), 0);
    }
    assert_int_equal(count(""), 0);
    assert_int_equal(count("0"), 0);
    assert_int_equal(count("::::\n:\n\n0:/n\n"), 0);
    assert_int_equal(nr_cgroup_cpu_count("/nowhere/at/all", root), 0);
}

static void cores_are_within_it(void **state) {
    (void)state;
    int allowed = nr_cgroup_cpu_count(NR_CGROUP_MEMBERSHIP, NR_CGROUP_ROOT);
    int used = nr_cpu_count();
    assert_true(used >= 1 && (allowed == 0 || used <= allowed));
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    int n = snprintf(root, sizeof root, "%s/nr-cgroup-XXXXXX", base ? base : "/tmp");
    return n > 0 && (size_t)n < sizeof root && mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2), cmocka_unit_test(version_1),
        cmocka_unit_test(nonsense_is_no_limit), cmocka_unit_test(cores_are_within_it)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
