/* SPDX-License-Identifier: MIT
 *
 * test_serve_memory.c - the ceiling of the whole service: started with exactly what its plan says,
 * and with ten times more requests than it has places, all of its processes together stay below the
 * plan, the arenas do not change by a byte, and newsreader allocates the pictures alone.
 */
#include "serve_client.h"

#include <dirent.h>
#include <png.h>
#include <stdatomic.h>

#define WIDTH 1600
#define HEIGHT 1200 /* 1.92 M pixels of --max-pixels 2000000 */
#define CLIENTS 30  /* for 3 places */
#define ROUNDS 3

static char model[4096], log_path[4096];
static char *page; /* data: URL */
static const service *target;

/* Noise: 5.8 MB of PNG, nearly 8 in base64. */
static char *make_page(void) {
    uint8_t *rgb = malloc(3 * WIDTH * HEIGHT);
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT, .format = PNG_FORMAT_RGB};
    uint32_t x = 1;
    for (size_t i = 0; i < 3 * WIDTH * HEIGHT; i++) {
        x = x * 1664525 + 1013904223;
        rgb[i] = (uint8_t)(x >> 24);
    }
    char *url = data_url_of_pixels(&image, rgb);
    free(rgb);
    return url;
}

static int set_up(void **state) {
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(model, "%s/odd", temp), "");
    fixture_path(log_path, "%s/log", temp);
    page = make_page();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(page);
    fixture_remove_tree(temp);
    return 0;
}

/* ---- what the system counts ----------------------------------------------------------------- */

static uint64_t kib_of(pid_t pid, const char *file, const char *format) {
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static pid_t parent_of(pid_t pid) {
    return (pid_t)kib_of(pid, "status", "PPid: %llu");
}

/* Is it the service, a helper of it or a helper's child? */
static bool belongs(pid_t pid, pid_t top) {
    for (int depth = 0; depth < 4 && pid > 1; depth++, pid = parent_of(pid))
        if (pid == top) return true;
    return false;
}

/* Proportional shares of all processes together, in bytes. */
static uint64_t tree_bytes(pid_t top) {
    DIR *all = opendir("/proc");
    uint64_t sum = 0;
    for (struct dirent *e; (e = readdir(all));) {
        pid_t pid = (pid_t)atoi(e->d_name);
        if (pid > 1 && belongs(pid, top)) sum += kib_of(pid, "smaps_rollup", "Pss: %llu");
    }
    closedir(all);
    return sum * 1024;
}

static json_t *memory_now(const service *s) {
    reply r = client_get(s, "/memory_status");
    return reply_json(&r, 200);
}

static json_int_t number(const json_t *memory, const char *group, const char *key) {
    const json_t *device = json_array_get(json_object_get(memory, "devices"), 0);
    return json_integer_value(json_object_get(json_object_get(device, group), key));
}

/* ---- overload ------------------------------------------------------------------------------- */

static atomic_int n_answered, n_refused, n_clients;

static void *run_client(void *arg) {
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        reply r = client_post(target, "/v1/chat/completions", chat_body(page, "Tell me.", 12));
        if (r.status != 200 && r.status != 503) fail_msg("status %d: %s", r.status, r.bytes);
        atomic_fetch_add(r.status == 200 ? &n_answered : &n_refused, 1);
        reply_free(&r);
    }
    atomic_fetch_sub(&n_clients, 1);
    return NULL;
}

/* The most that the service's processes had while all clients ran. */
static uint64_t overload(const service *s) {
    pthread_t threads[CLIENTS];
    uint64_t most = 0;
    target = s;
    atomic_store(&n_clients, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, NULL), 0);
    while (atomic_load(&n_clients) > 0) {
        uint64_t now = tree_bytes(s->pid);
        if (now > most) most = now;
        usleep(2000);
    }
    for (int i = 0; i < CLIENTS; i++) pthread_join(threads[i], NULL);
    return most;
}

#define OPTIONS                                                                                    \
    "--model", model, "--slots", "1", "--queue", "2", "--max-pixels", "2000000", "--max-bodies",  \
        "32MiB", "--connections", "64", "--quiet"

/* `timeout 60 newsreader FIRST --threads 1 OPTIONS`, its output to be read. */
static FILE *run_command(const char *first, const char *const *options) {
    char program[4096], command[16384];
    fixture_build_dir(program);
    int n = snprintf(command, sizeof command, "timeout 60 %s/newsreader %s --threads 1", program,
                     first);
    for (; *options; options++)
        n += snprintf(command + n, sizeof command - (size_t)n, " %s", *options);
    snprintf(command + n, sizeof command - (size_t)n, " 2>&1");
    FILE *f = popen(command, "r");
    assert_non_null(f);
    return f;
}

/* A byte less than the plan: it does not start, and says how much is missing. */
static void refuses(const char *const *options) {
    char line[512] = "";
    FILE *f = run_command("serve --port 0", options);
    assert_non_null(fgets(line, sizeof line, f));
    int status = pclose(f);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    if (!strstr(line, ": 1 bytes short")) fail_msg("%s", line);
}

/* What `newsreader plan --service` says of the same options. */
static json_int_t planned_bytes(const char *const *options) {
    FILE *f = run_command("plan --service --json", options);
    json_t *plan = json_loadf(f, 0, NULL);
    json_int_t total = json_integer_value(json_object_get(plan, "total_bytes"));
    json_decref(plan);
    assert_int_equal(pclose(f), 0);
    return total;
}

static void test_ceiling(void **state) {
    char ceiling[32];
    const char *plain[] = {OPTIONS, NULL}, *tight[] = {OPTIONS, "--max-ram", ceiling, NULL};
    (void)state;
    service s = serve_start(log_path, plain);
    json_t *m = memory_now(&s);
    json_int_t total = number(m, "planned", "total_bytes");
    json_decref(m);
    assert_int_equal(total, planned_bytes(plain));
    assert_int_equal(serve_stop(&s), 0);
    snprintf(ceiling, sizeof ceiling, "%lld", (long long)total - 1);
    refuses(tight);
    snprintf(ceiling, sizeof ceiling, "%lld", (long long)total);
    s = serve_start(log_path, tight);
    m = memory_now(&s);
    json_int_t arenas = number(m, "measured", "arena_bytes");
    json_int_t resident = number(m, "planned", "resident_bytes");
    json_t *device = json_array_get(json_object_get(m, "devices"), 0);
    assert_int_equal(json_integer_value(json_object_get(device, "ceiling_bytes")), total);
    json_decref(m);
    uint64_t idle = tree_bytes(s.pid), most = overload(&s);
    await_idle(&s, 3);
    uint64_t after = tree_bytes(s.pid);
    m = memory_now(&s);
    print_message("planned %lld resident, %lld at most; measured %llu idle, %llu at most, %llu "
                  "afterwards; %d answered, %d refused\n",
                  (long long)resident, (long long)total, (unsigned long long)idle,
                  (unsigned long long)most, (unsigned long long)after, n_answered, n_refused);
    assert_true(n_answered >= ROUNDS && n_refused > 0);
    assert_in_range(most, idle + 1, (uint64_t)total);
    assert_in_range(number(m, "measured", "peak_bytes"), 1, (uint64_t)total);
    assert_in_range(idle, 1, (uint64_t)resident);
    assert_in_range(after, 1, (uint64_t)resident);
    assert_int_equal(number(m, "measured", "arena_bytes"), arenas);
    assert_int_equal(json_integer_value(json_object_get(m, "allocations_since_start")),
                     2 * n_answered); /* a picture and its pixels, nothing else */
    json_decref(m);
    assert_int_equal(serve_stop(&s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ceiling)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
