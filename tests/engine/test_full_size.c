/* SPDX-License-Identifier: MIT
 *
 * test_full_size.c - LLaVA-1.5-7B's exact shapes with random weights (14.1 GB): loading never holds
 * more than it planned, the quantised folder is the same model and loads in seconds. Needs disk,
 * memory and minutes: only `make test-full` runs it.
 */
#include "engine_fixture.h"

#include <jansson.h>
#include <sys/statvfs.h>

#define DISK_BYTES_MIN 40e9   /* 14.1 GB of f16, 7.2 GB of INT8, and room for others */
#define MEMORY_BYTES_MIN 16e9 /* the model, and its files in the page cache */
#define PEAK_BYTES_MAX 7.6e9
#define PLAN_ERROR_MAX 0.01    /* of the plan; measured 0.0007: the program itself */
#define WARM_LOAD_MS_MAX 10e3
#define CONTEXT "--context 744" /* a picture, 40 tokens of text, 128 of answer */

static char model[4096], quantized[4096];

static double available_memory(void) {
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

static void need_room(void) {
    struct statvfs disk;
    assert_int_equal(statvfs(temp, &disk), 0);
    double disk_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    double memory_bytes = available_memory();
    if (disk_bytes >= DISK_BYTES_MIN && memory_bytes >= MEMORY_BYTES_MIN) return;
    print_message("skipped: %.0f GB of disk at %s, %.0f GB of memory; needed: %.0f and %.0f\n",
                  disk_bytes * 1e-9, temp, memory_bytes * 1e-9, DISK_BYTES_MIN * 1e-9,
                  MEMORY_BYTES_MIN * 1e-9);
    skip();
}

/* The command's standard output, parsed; json_decref it. */
static json_t *run(const char *arguments, const char *dir) {
    char build[4096], command[16384];
    json_error_t problem;
    fixture_build_dir(build);
    int n = snprintf(command, sizeof command, "%s/newsreader %s --model %s", build,
                     arguments, dir);
    assert_true(n > 0 && (size_t)n < sizeof command);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    json_t *reply = json_loadf(out, 0, &problem);
    if (pclose(out) != 0 || !reply) fail_msg("%s: %s", command, problem.text);
    return reply;
}

static double number(const json_t *object, const char *group, const char *name) {
    const json_t *value = json_object_get(group ? json_object_get(object, group) : object, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static json_t *read_page(const char *dir) {
    json_t *reply = run("read --json --prompt 'What is it?' --max-tokens 8 --ignore-stop "
                        CONTEXT " samples/harbour-courier.png",
                        dir);
    double peak = number(reply, "memory", "peak_bytes");
    double planned = number(reply, "memory", "planned_resident_bytes");
    print_message("%s: load %.1f s, peak %.3f GB, planned %.3f GB\n", strrchr(dir, '/') + 1,
                  number(reply, "ms", "load") * 1e-3, peak * 1e-9, planned * 1e-9);
    assert_true(peak <= PEAK_BYTES_MAX);
    assert_true(fabs(peak - planned) <= PLAN_ERROR_MAX * planned);
    return reply;
}

static void test_load(void **state) {
    (void)state;
    need_room();
    fixture_make_checkpoint("llava-1.5-7b", fixture_path(model, "%s/llava-7b", temp), "");
    json_t *plan = run("plan --json " CONTEXT, model), *direct = read_page(model);
    assert_true(number(plan, NULL, "total_bytes") == number(direct, "memory", "planned_bytes"));
    MUST(nr_quantize(model, fixture_path(quantized, "%s/llava-7b-int8", temp), NULL, err));
    fixture_remove_tree(model);
    json_t *again = read_page(quantized);
    assert_true(json_equal(json_object_get(again, "text"), json_object_get(direct, "text")));
    json_decref(again);
    json_decref(direct);
    json_decref(plan);
}

/* The folder of the last test is in the page cache now; the best of three loads counts. */
static void test_warm_load(void **state) {
    (void)state;
    double load_ms = INFINITY, busy = 0;
    if (access(quantized, R_OK) != 0) {
        print_message("skipped: the quantised folder was not made\n");
        skip();
    }
    for (int i = 0; i < 3; i++) {
        json_t *reply = run("bench --json --tokens 1 " CONTEXT, quantized);
        load_ms = fmin(load_ms, number(reply, NULL, "load_ms"));
        assert_true(number(reply, NULL, "load_peak_bytes") <= PEAK_BYTES_MAX);
        json_decref(reply);
    }
    assert_int_equal(getloadavg(&busy, 1), 1);
    print_message("warm load %.1f s, load average %.1f\n", load_ms * 1e-3, busy);
    if (load_ms > WARM_LOAD_MS_MAX && busy > 2 * (double)sysconf(_SC_NPROCESSORS_ONLN)) {
        print_message("skipped: %.1f s, but others use the machine (load average %.1f)\n",
                      load_ms * 1e-3, busy);
        skip();
    }
    assert_true(load_ms <= WARM_LOAD_MS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_load),
                                       cmocka_unit_test(test_warm_load)};
    return cmocka_run_group_tests(tests, fixture_make_temp, fixture_remove_temp);
}
