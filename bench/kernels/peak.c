/* SPDX-License-Identifier: MIT
 * peak.c - see peak.h. Twenty-four accumulators cover latency times throughput of every machine so
 * far; an empty asm after each round keeps the compiler from folding rounds together. */
#include "peak.h"

#include <stdbool.h>
#include <string.h>

static volatile int32_t sink;

#if defined(__x86_64__)
#include <immintrin.h>

#define CHAINS 24
#define UNROLL _Pragma("GCC unroll 24")
#define KEEP(v) __asm__ volatile("" : "+v"(v))

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))) static double
i8_avx512(int64_t rounds) {
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    UNROLL for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_set1_epi32(c);
    for (int64_t i = 0; i < rounds; i++) {
        UNROLL for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_dpbusd_epi32(sum[c], a, b);
            KEEP(sum[c]);
        }
    }
    UNROLL for (int c = 1; c < CHAINS; c++) sum[0] = _mm512_add_epi32(sum[0], sum[c]);
    sink = _mm512_reduce_add_epi32(sum[0]);
    return (double)rounds * CHAINS * 64 * 2;
}

/* Tiles of zeros, 2 x 2 products on four registers: what a tile product takes does not depend on
 * the numbers. Whoever opened the kernels has asked for the tiles. */
__attribute__((target("amx-tile,amx-int8"))) static double i8_amx(int64_t rounds) {
    _Alignas(64) uint8_t shapes[64] = {1};
    for (int i = 0; i < 8; i++) shapes[16 + 2 * i] = 64, shapes[48 + i] = 16;
    __asm__ volatile("" ::"r"(shapes) : "memory"); /* gcc takes it that 8 bytes are read */
    _tile_loadconfig(shapes);
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
    return (double)rounds * 4 * 16 * 16 * 64 * 2;
}

__attribute__((target("avx512f"))) static double f32_avx512(int64_t rounds) {
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    UNROLL for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_set1_ps((float)c);
    for (int64_t i = 0; i < rounds; i++) {
        UNROLL for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_fmadd_ps(sum[c], a, b);
            KEEP(sum[c]);
        }
    }
    UNROLL for (int c = 1; c < CHAINS; c++) sum[0] = _mm512_add_ps(sum[0], sum[c]);
    sink = (int32_t)_mm512_reduce_add_ps(sum[0]);
    return (double)rounds * CHAINS * 16 * 2;
}

__attribute__((target("avx512f"))) static void read_avx512(const char *p, size_t bytes) {
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    for (size_t i = 0; i + 256 <= bytes; i += 256) {
        _mm_prefetch(p + i + 4096, _MM_HINT_T0);
        _mm_prefetch(p + i + 4096 + 64, _MM_HINT_T0);
        _mm_prefetch(p + i + 4096 + 128, _MM_HINT_T0);
        _mm_prefetch(p + i + 4096 + 192, _MM_HINT_T0);
        s0 = _mm512_xor_si512(s0, _mm512_loadu_si512(p + i));
        s1 = _mm512_xor_si512(s1, _mm512_loadu_si512(p + i + 64));
        s2 = _mm512_xor_si512(s2, _mm512_loadu_si512(p + i + 128));
        s3 = _mm512_xor_si512(s3, _mm512_loadu_si512(p + i + 192));
    }
    s0 = _mm512_xor_si512(_mm512_xor_si512(s0, s1), _mm512_xor_si512(s2, s3));
    sink = _mm512_reduce_add_epi32(s0);
}

#define CHAINS_AVX2 12

__attribute__((target("avx2,fma"))) static double i8_avx2(int64_t rounds) {
    __m256i sum[CHAINS_AVX2], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
    const __m256i ones = _mm256_set1_epi16(1);
    UNROLL for (int c = 0; c < CHAINS_AVX2; c++) sum[c] = _mm256_set1_epi32(c);
    for (int64_t i = 0; i < rounds; i++) {
        UNROLL for (int c = 0; c < CHAINS_AVX2; c++) {
            __m256i x = _mm256_sign_epi8(a, b); /* the sign trick's step: four operations */
            KEEP(x);
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(_mm256_maddubs_epi16(a, x), ones));
            KEEP(sum[c]);
        }
    }
    UNROLL for (int c = 1; c < CHAINS_AVX2; c++) sum[0] = _mm256_add_epi32(sum[0], sum[c]);
    sink = _mm256_extract_epi32(sum[0], 0);
    return (double)rounds * CHAINS_AVX2 * 32 * 2;
}

__attribute__((target("avx2,fma"))) static double f32_avx2(int64_t rounds) {
    __m256 sum[CHAINS_AVX2], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    UNROLL for (int c = 0; c < CHAINS_AVX2; c++) sum[c] = _mm256_set1_ps((float)c);
    for (int64_t i = 0; i < rounds; i++) {
        UNROLL for (int c = 0; c < CHAINS_AVX2; c++) {
            sum[c] = _mm256_fmadd_ps(sum[c], a, b);
            KEEP(sum[c]);
        }
    }
    UNROLL for (int c = 1; c < CHAINS_AVX2; c++) sum[0] = _mm256_add_ps(sum[0], sum[c]);
    sink = (int32_t)_mm256_cvtss_f32(sum[0]);
    return (double)rounds * CHAINS_AVX2 * 8 * 2;
}
#endif

#if defined(__x86_64__)
static bool has_512(const char *isa) {
    return strcmp(isa, "avx512vnni") == 0 || strcmp(isa, "amx") == 0;
}
#endif

double peak_i8(const char *isa, int64_t rounds) {
#if defined(__x86_64__)
    if (strcmp(isa, "amx") == 0) return i8_amx(rounds);
    if (strcmp(isa, "avx512vnni") == 0) return i8_avx512(rounds);
    if (strcmp(isa, "avx2") == 0) return i8_avx2(rounds);
#endif
    (void)isa, (void)rounds;
    return 0.0;
}

double peak_f32(const char *isa, int64_t rounds) {
#if defined(__x86_64__)
    if (has_512(isa)) return f32_avx512(rounds);
    if (strcmp(isa, "avx2") == 0) return f32_avx2(rounds);
#endif
    (void)isa, (void)rounds;
    return 0.0;
}

void peak_read(const char *isa, const void *src, size_t bytes) {
#if defined(__x86_64__)
    if (has_512(isa)) {
        read_avx512(src, bytes);
        return;
    }
#endif
    (void)isa;
    const uint64_t *p = src;
    uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i + 4 <= bytes / 8; i += 4) {
        s0 ^= p[i];
        s1 ^= p[i + 1];
        s2 ^= p[i + 2];
        s3 ^= p[i + 3];
    }
    sink = (int32_t)(s0 ^ s1 ^ s2 ^ s3);
}
