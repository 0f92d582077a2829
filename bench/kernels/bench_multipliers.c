/* What the multipliers do in a loop of nothing else: bench_multipliers [THREADS]
 * Prints GF/s of all threads together, of bf16 pairs (AVX512_BF16) where the processor has them, and of F32.
 * Every sum is kept in a register and none is loaded or stored, so no product of matrices can do more. */
#include "core/clock.h"

#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SUMS 16 /* that do not wait for each other */
#define ROUNDS 20000000L
#define MOST_THREADS 256

typedef struct loop {
    const char *name;
    double flops; /* of one instruction */
    void *(*run)(void *sink);
} loop;

__attribute__((target("avx512f,avx512bf16"))) static void *pairs(void *sink) {
    __m512 s[SUMS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3c003c00), b = (__m512bh)_mm512_set1_epi32(0x3c013c01);
    for (int i = 0; i < SUMS; i++) {
        s[i] = _mm512_set1_ps((float)i);
    }
    for (long r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < SUMS; i++) {
            s[i] = _mm512_dpbf16_ps(s[i], a, b);
        }
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int i = 0; i < SUMS; i++) {
        *(float *)sink += _mm512_reduce_add_ps(s[i]);
    }
    return NULL;
}

__attribute__((target("avx2,fma"))) static void *floats(void *sink) {
    __m256 s[SUMS - 4], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int i = 0; i < SUMS - 4; i++) {
        s[i] = _mm256_set1_ps((float)i);
    }
    for (long r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < SUMS - 4; i++) {
            s[i] = _mm256_fmadd_ps(s[i], a, b);
        }
        __asm__ volatile("" : "+x"(a), "+x"(b));
    }
    for (int i = 0; i < SUMS - 4; i++) {
        *(float *)sink += s[i][0];
    }
    return NULL;
}

static void measure(const loop *l, int sums, int threads) {
    static float sinks[MOST_THREADS * 16];
    pthread_t made[MOST_THREADS];
    double best = 1e9;
    int started = 0;
    for (int round = 0; round < 3; round++) {
        const double began = bl_now();
        started = 0;
        while (started < threads && !pthread_create(&made[started], NULL, l->run, &sinks[16 * started])) {
            started++;
        }
        for (int i = 0; i < started; i++) {
            pthread_join(made[i], NULL);
        }
        const double took = bl_now() - began;
        best = took < best ? took : best;
    }
    printf("%s %.0f GF/s\n", l->name, l->flops * sums * (double)ROUNDS * started / best * 1e-9);
}

int main(int argc, char **argv) {
    const int asked = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 2;
    const int threads = asked < 1 ? 1 : asked > MOST_THREADS ? MOST_THREADS : asked;
    if (__builtin_cpu_supports("avx512bf16")) {
        measure(&(loop){"bf16", 64, pairs}, SUMS, threads);
    }
    if (__builtin_cpu_supports("fma")) {
        measure(&(loop){"f32", 16, floats}, SUMS - 4, threads);
    }
    return 0;
}
