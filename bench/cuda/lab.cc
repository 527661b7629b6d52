/* SPDX-License-Identifier: MIT
 *
 * lab.cc - the CUDA kernel lab: every fast kernel against the plain ones and the reference on fresh
 * random inputs, bit by bit, then its time. One command, no arguments:
 *
 *   cuda_lab [--seed N] [section ...]
 *
 * Each section runs in a child process with a time limit, so that a kernel that hangs or faults
 * costs its own section only.
 */
#include "lab.h"

#include <algorithm>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#ifdef NR_CUDA_EMULATED
#define EMULATED_SLOWER 20
#else
#define EMULATED_SLOWER 1
#endif

uint64_t lab_seed;
int lab_failures;

static const lab_section sections[] = {
    {"check-few", lab_check_linears, 20},   {"check-tile", lab_check_tiles, 20},
    {"check-wgmma", lab_check_wgmma, 15},   {"check-attention", lab_check_attention, 25},
    {"check-join", lab_check_join, 5},      {"check-rows", lab_check_rows, 15},

#ifndef NR_CUDA_EMULATED
    {"copy", lab_time_copy, 10},            {"few", lab_time_few, 20},
    {"many", lab_time_many, 20},            {"wgmma", lab_time_wgmma, 20},
    {"wgmma-split", lab_time_wgmma_split, 20},
    {"attention", lab_time_attention, 20},  {"rows", lab_time_rows, 10},
    {"token", lab_time_token, 25},          {"vision", lab_time_vision, 10},
#endif
};

void lab_check(cudaError_t e, const char *what, const char *file, int line) {
    if (e == cudaSuccess) return;
    printf("FAILED %s:%d: %s: %s\n", file, line, what, cudaGetErrorString(e));
    fflush(stdout);
    _exit(1);
}

lab_card lab_find_card(void) {
    lab_card card = {};
#ifdef NR_CUDA_EMULATED
    card.sm = 90;
    card.n_multiprocessors = 3;
    card.emulated = true;
#else
    cudaDeviceProp p;
    LAB_CHECK(cudaGetDeviceProperties(&p, 0));
    card.sm = p.major * 10 + p.minor;
    card.n_multiprocessors = p.multiProcessorCount;
    card.l2_bytes = (size_t)p.l2CacheSize;
    card.memory_bytes = p.totalGlobalMem;
#endif
    return card;
}

void *lab_device(size_t bytes) {
    void *p;
    LAB_CHECK(cudaMalloc(&p, bytes ? bytes : 1));
    lab_poison(p, bytes);
    return p;
}

void lab_poison(void *device, size_t bytes) {
    LAB_CHECK(cudaMemset(device, 0xa5, bytes));
}

void *lab_upload(const void *host, size_t bytes) {
    void *p = lab_device(bytes);
    LAB_CHECK(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice));
    return p;
}

void lab_download(void *host, const void *device, size_t bytes) {
    LAB_CHECK(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}

size_t lab_compare(const char *what, const float *expected, const float *found, size_t rows,
                   size_t columns, size_t ld) {
    size_t n_bad = 0, bad_row = 0, bad_column = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            if (memcmp(&expected[r * ld + c], &found[r * ld + c], sizeof(float)) == 0) continue;
            if (n_bad++ == 0) bad_row = r, bad_column = c;
        }
    if (n_bad == 0) {
        printf("  equal  %s\n", what);
        return 0;
    }
    lab_failures++;
    printf("  WRONG  %s: %zu of %zu; first at row %zu column %zu: found %.9g, expected %.9g\n",
           what, n_bad, rows * columns, bad_row, bad_column, found[bad_row * ld + bad_column],
           expected[bad_row * ld + bad_column]);
    return n_bad;
}

#ifndef NR_CUDA_EMULATED
lab_time lab_measure(cudaStream_t stream, int n, int inner,
                     const std::function<cudaError_t(int)> &launch) {
    cudaEvent_t begin, end;
    std::vector<double> ms;
    int at = 0;
    LAB_CHECK(cudaEventCreate(&begin));
    LAB_CHECK(cudaEventCreate(&end));
    for (int i = 0; i < n + 2; i++) {
        LAB_CHECK(cudaEventRecord(begin, stream));
        for (int j = 0; j < inner; j++) LAB_CHECK(launch(at++));
        LAB_CHECK(cudaEventRecord(end, stream));
        LAB_CHECK(cudaEventSynchronize(end));
        float t;
        LAB_CHECK(cudaEventElapsedTime(&t, begin, end));
        if (i >= 2) ms.push_back(t / inner);
    }
    std::sort(ms.begin(), ms.end());
    lab_time r = {ms[ms.size() / 2], ms[0]};
    return r;
}

lab_time lab_measure_graph(cudaStream_t stream, int n, int inner,
                           const std::function<cudaError_t(int)> &launch) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    LAB_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < inner; i++) LAB_CHECK(launch(i));
    LAB_CHECK(cudaStreamEndCapture(stream, &graph));
    LAB_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    lab_time t = lab_measure(stream, n, 1, [&](int) { return cudaGraphLaunch(exec, stream); });
    LAB_CHECK(cudaGraphExecDestroy(exec));
    LAB_CHECK(cudaGraphDestroy(graph));
    t.median_ms /= inner;
    t.best_ms /= inner;
    return t;
}
#endif

static int run_child(const lab_section *s) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm((unsigned)s->limit_s * EMULATED_SLOWER);
        lab_card card = lab_find_card();
        s->run(&card);
        fflush(stdout);
        _exit(lab_failures != 0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) return 1;
    if (WIFSIGNALED(status))
        printf("FAILED %s: signal %d (%d s allowed)\n", s->name, WTERMSIG(status), s->limit_s);
    return status != 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a section that is killed has printed what it found */
    std::vector<const char *> wanted;
    lab_seed = (uint64_t)time(NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) lab_seed = strtoull(argv[++i], NULL, 0);
        else wanted.push_back(argv[i]);
    }
    printf("seed %llu\n", (unsigned long long)lab_seed);
    int n_bad = 0;
    for (const lab_section &s : sections) {
        bool run = wanted.empty();
        for (const char *w : wanted) run |= strcmp(w, s.name) == 0;
        if (!run) continue;
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        printf("== %s\n", s.name);
        fflush(stdout);
        int bad = run_child(&s);
        clock_gettime(CLOCK_MONOTONIC, &end);
        printf("   %s %s, %.1f s\n", s.name, bad ? "FAILED" : "done",
               (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
        fflush(stdout);
        n_bad += bad;
    }
    printf("%d sections failed\n", n_bad);
    return n_bad != 0;
}
