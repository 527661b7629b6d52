/* SPDX-License-Identifier: MIT
 *
 * replay_main.c - runs a fuzz target over its corpus without libFuzzer. The program fuzz_<name>
 * reads every file of tests/fuzz/corpus/<name> (or the files and folders named as arguments), each
 * in a heap block of exactly its size, so that AddressSanitizer sees a read past the end. After the
 * file as it is come variants of it that depend on nothing but its bytes: cut short and with bytes
 * changed. The name of an input is printed before it runs: the last one printed is the culprit.
 */
#define _GNU_SOURCE
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_BYTES_MAX (4l << 20)
#define N_VARIANTS 8            /* of each kind, for files up to */
#define VARIANT_BYTES_MAX 65536 /* bytes: larger ones cost too much time */

static long n_files, n_inputs;

static void run(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) exit(2);
    if (size > 0) memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    n_inputs++;
}

static void run_variants(uint8_t *data, size_t size) {
    uint32_t seed = 2463534242u ^ (uint32_t)size;
    for (size_t i = 1; i <= N_VARIANTS; i++) run(data, size * i / (N_VARIANTS + 1));
    for (int i = 0; i < N_VARIANTS && size > 0; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        size_t at = seed % size;
        uint8_t kept = data[at];
        data[at] = (uint8_t)(seed >> 24);
        run(data, size);
        data[at] = kept;
    }
}

static int replay_file(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)where;
    if (kind != FTW_F || st->st_size > FILE_BYTES_MAX) return 0;
    printf("%s\n", path);
    fflush(stdout);
    FILE *f = fopen(path, "rb");
    size_t size = (size_t)st->st_size;
    uint8_t *data = malloc(size ? size : 1);
    if (!f || !data || fread(data, 1, size, f) != size) {
        perror(path);
        exit(2);
    }
    fclose(f);
    run(data, size);
    if (size <= VARIANT_BYTES_MAX) run_variants(data, size);
    free(data);
    n_files++;
    return 0;
}

int main(int argc, char **argv) {
    char folder[512];
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s",
             strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name);
    run((const uint8_t *)"", 0);
    if (argc == 1) nftw(folder, replay_file, 16, FTW_PHYS);
    for (int i = 1; i < argc; i++) nftw(argv[i], replay_file, 16, FTW_PHYS);
    if (n_files == 0) {
        printf("%s: no input files\n", argc == 1 ? folder : argv[1]);
        return 1;
    }
    printf("%s: %ld files, %ld inputs\n", name, n_files, n_inputs);
    return 0;
}
