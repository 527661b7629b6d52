/* SPDX-License-Identifier: MIT
 *
 * run_tests.c - runs test programs, each in a process of its own with a time limit, counts, and
 * ends with the line `N passed, N failed, N skipped`. Exit status 1 when something failed.
 *
 *   run_tests [--jobs N] [--full] {--group NAME [--slow FACTOR] [--wrap PROGRAM] program...}...
 *
 * A program may be a cmocka binary (its `[ RUN ]`, `[ OK ]`, `[ FAILED ]`, `[ SKIPPED ]` lines are
 * counted), print a last line `N passed, N failed` itself, or just exit: 0 is one test passed, 77
 * one skipped. Dying by a signal, running out of time, or exiting with another status without
 * having named a failed test counts as one failed. Output of programs that fail is shown; for
 * skipped tests, what they printed is their reason.
 *
 * tests/run_tests.txt gives limits and tiers: lines `program-name seconds [full] [no-GROUP]...`;
 * `full` is left out unless --full, `no-asan` is left out of the group asan. --slow multiplies the
 * limits of a group (sanitizers, emulation).
 *
 * Output goes to an unlinked temporary file, not a pipe: a child that outlives its parent, or
 * prints more than a pipe holds, cannot hang the runner.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TABLE "tests/run_tests.txt"
#define SECONDS_DEFAULT 120
#define OUTPUT_SHOWN_MAX (64 << 10) /* the last bytes of a failing program's output */
#define JOBS_MAX 64

typedef struct group {
    const char *name;
    double slow;
    const char *wrap; /* program put before the test, or NULL */
} group;

typedef struct job {
    pid_t pid; /* 0: free */
    group in;
    const char *program;
    FILE *output;
    double start, limit;
    bool timed_out;
} job;

typedef struct counts {
    long passed, failed, skipped;
} counts;

typedef struct runner {
    job jobs[JOBS_MAX];
    int n_jobs, n_running;
    bool full;
    counts total;
} runner;

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Seconds the program may take, or 0 when the table leaves it out of this group. */
static double limit_of(const char *program, const group *g, bool full) {
    double seconds = SECONDS_DEFAULT;
    FILE *table = fopen(TABLE, "r");
    char line[512], without[128];
    snprintf(without, sizeof without, "no-%s", g->name);
    while (table && fgets(line, sizeof line, table)) {
        char *name = strtok(line, " \t\n");
        if (!name || name[0] == '#' || strcmp(name, base_name(program)) != 0) continue;
        for (char *word = strtok(NULL, " \t\n"); word; word = strtok(NULL, " \t\n")) {
            if (strcmp(word, without) == 0 || (strcmp(word, "full") == 0 && !full))
                seconds = 0;
            else if (strtod(word, NULL) > 0 && seconds > 0)
                seconds = strtod(word, NULL);
        }
    }
    if (table) fclose(table);
    return seconds * g->slow;
}

static void child(const job *j) {
    setpgid(0, 0);
    dup2(fileno(j->output), STDOUT_FILENO);
    dup2(fileno(j->output), STDERR_FILENO);
    if (!freopen("/dev/null", "r", stdin)) _exit(127);
    if (j->in.wrap)
        execlp(j->in.wrap, j->in.wrap, j->program, (char *)NULL);
    else
        execl(j->program, j->program, (char *)NULL);
    printf("cannot run %s: %s\n", j->in.wrap ? j->in.wrap : j->program, strerror(errno));
    fflush(stdout);
    _exit(127);
}

static void start(runner *r, const group *g, const char *program, double limit) {
    job *j = r->jobs;
    while (j->pid) j++;
    *j = (job){.in = *g, .program = program, .limit = limit, .start = now_seconds()};
    j->output = tmpfile();
    if (!j->output) {
        perror("run_tests: temporary file");
        exit(2);
    }
    fflush(NULL);
    j->pid = fork();
    if (j->pid < 0) {
        perror("run_tests: fork");
        exit(2);
    }
    if (j->pid == 0) child(j);
    r->n_running++;
}

/* Text after "[  LABEL  ] " when the line has that label, else NULL. */
static const char *labelled(const char *line, const char *label) {
    if (line[0] != '[') return NULL;
    const char *p = line + 1 + strspn(line + 1, " ");
    size_t n = strlen(label);
    if (strncmp(p, label, n) != 0) return NULL;
    p += n + strspn(p + n, " ");
    return *p == ']' ? p + 1 + strspn(p + 1, " ") : NULL;
}

/* Count what the program printed. `open_test` gets the test that had begun and not ended. Skipped
 * tests are printed with the line before as reason. */
static counts count_output(job *j, char *open_test, size_t open_cap) {
    counts c = {0};
    char line[1024], reason[1024] = "";
    open_test[0] = '\0';
    rewind(j->output);
    while (fgets(line, sizeof line, j->output)) {
        line[strcspn(line, "\r\n")] = '\0';
        const char *name;
        counts said;
        if (sscanf(line, "%ld passed, %ld failed, %ld skipped", &said.passed, &said.failed,
                   &said.skipped) == 3 ||
            (said.skipped = 0,
             sscanf(line, "%ld passed, %ld failed", &said.passed, &said.failed) == 2)) {
            c = said;
        } else if ((name = labelled(line, "RUN"))) {
            snprintf(open_test, open_cap, "%s", name);
            reason[0] = '\0';
        } else if (open_test[0] && labelled(line, "OK")) {
            c.passed++;
            open_test[0] = '\0';
        } else if (open_test[0] && labelled(line, "SKIPPED")) {
            c.skipped++;
            printf("        skipped %s: %s\n", open_test, reason[0] ? reason : "no reason given");
            open_test[0] = '\0';
        } else if (open_test[0] && labelled(line, "FAILED")) {
            c.failed++;
            open_test[0] = '\0';
        } else if (line[0] && line[0] != '[') {
            snprintf(reason, sizeof reason, "%s", line);
        }
    }
    return c;
}

static void show_output(FILE *output) {
    static char text[OUTPUT_SHOWN_MAX];
    fseek(output, 0, SEEK_END);
    long size = ftell(output), from = size > OUTPUT_SHOWN_MAX ? size - OUTPUT_SHOWN_MAX : 0;
    fseek(output, from, SEEK_SET);
    size_t n = fread(text, 1, sizeof text, output);
    if (from > 0) printf("        ... %ld bytes left out\n", from);
    fwrite(text, 1, n, stdout);
    if (n > 0 && text[n - 1] != '\n') putchar('\n');
}

static void finish(runner *r, job *j, int wait_status) {
    kill(-j->pid, SIGKILL); /* whatever it left behind */
    double seconds = now_seconds() - j->start;
    char open_test[256], why[400] = "";
    counts c = count_output(j, open_test, sizeof open_test);
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    if (j->timed_out)
        snprintf(why, sizeof why, "ran over its %.0f s", j->limit);
    else if (code < 0)
        snprintf(why, sizeof why, "died: %s", strsignal(WTERMSIG(wait_status)));
    else if (code != 0 && code != 77 && c.failed == 0)
        snprintf(why, sizeof why, "exit %d", code);
    else if (code == 0 && open_test[0])
        snprintf(why, sizeof why, "ended early");
    if (why[0]) c.failed++;
    if (!why[0] && c.passed + c.failed + c.skipped == 0) {
        if (code == 77)
            c.skipped++;
        else
            c.passed++;
    }
    printf("%-4s %-9s %-36s %4ld passed %6.1f s",
           c.failed   ? "FAIL"
           : c.passed ? "ok"
                      : "skip",
           j->in.name, base_name(j->program), c.passed, seconds);
    if (c.skipped) printf(", %ld skipped", c.skipped);
    if (c.failed) printf(", %ld failed", c.failed);
    if (why[0]) printf(" (%s%s%s)", why, open_test[0] ? " in " : "", open_test);
    putchar('\n');
    if (c.failed || code == 77) show_output(j->output);
    fflush(stdout);
    r->total.passed += c.passed;
    r->total.failed += c.failed;
    r->total.skipped += c.skipped;
    fclose(j->output);
    *j = (job){0};
    r->n_running--;
}

/* Wait until fewer than `below` programs run. */
static void wait_below(runner *r, int below) {
    while (r->n_running >= below && r->n_running > 0) {
        int wait_status;
        pid_t pid = waitpid(-1, &wait_status, WNOHANG);
        for (job *j = r->jobs; pid > 0 && j < r->jobs + JOBS_MAX; j++)
            if (j->pid == pid) {
                finish(r, j, wait_status);
                break;
            }
        if (pid > 0) continue;
        for (job *j = r->jobs; j < r->jobs + JOBS_MAX; j++)
            if (j->pid && !j->timed_out && now_seconds() - j->start > j->limit) {
                j->timed_out = true;
                kill(-j->pid, SIGKILL);
                kill(j->pid, SIGKILL);
            }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static const char *value_of(char **argv, int argc, int *i) {
    if (*i + 1 < argc) return argv[++*i];
    fprintf(stderr, "run_tests: %s needs a value\n", argv[*i]);
    exit(2);
}

int main(int argc, char **argv) {
    runner r = {.n_jobs = 1};
    group g = {.name = "tests", .slow = 1};
    double start_time = now_seconds();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--jobs") == 0)
            r.n_jobs = atoi(value_of(argv, argc, &i));
        else if (strcmp(argv[i], "--full") == 0)
            r.full = true;
        else if (strcmp(argv[i], "--group") == 0)
            g = (group){.name = value_of(argv, argc, &i), .slow = 1};
        else if (strcmp(argv[i], "--slow") == 0)
            g.slow = atof(value_of(argv, argc, &i));
        else if (strcmp(argv[i], "--wrap") == 0)
            g.wrap = value_of(argv, argc, &i);
        else {
            double limit = limit_of(argv[i], &g, r.full);
            if (limit <= 0) continue;
            if (r.n_jobs < 1 || r.n_jobs > JOBS_MAX) r.n_jobs = JOBS_MAX;
            wait_below(&r, r.n_jobs);
            start(&r, &g, argv[i], limit);
        }
    }
    wait_below(&r, 1);
    counts t = r.total;
    printf("\nall of it took %.0f s\n%ld passed, %ld failed, %ld skipped\n",
           now_seconds() - start_time, t.passed, t.failed, t.skipped);
    return t.failed || t.passed == 0;
}
