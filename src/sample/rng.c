#include "sample/rng.h"

#include "core/parallel.h"

#include <math.h>
#include <strings.h>

#define WORDS 624
#define SHIFT 397
#define BLOCK 16
#define TWO_PI 6.283185307179586476925286766559

static void seed_words(uint32_t *state, uint32_t seed) {
    state[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) {
        state[i] = 1812433253u * (state[i - 1] ^ state[i - 1] >> 30) + i;
    }
}

void bl_rng_seed(bl_rng *rng, bl_rng_kind kind, uint64_t seed) {
    *rng = (bl_rng){.kind = kind, .seed = seed, .used = WORDS};
    seed_words(rng->state, (uint32_t)seed);
}

static void next_words(uint32_t *s) {
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % WORDS] & 0x7fffffffu);
        s[i] = s[(i + SHIFT) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0u);
    }
}

static uint32_t word(bl_rng *rng) {
    if (rng->used == WORDS) {
        next_words(rng->state);
        rng->used = 0;
    }
    uint32_t y = rng->state[rng->used++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* Uniform in [0, 1), of 24 bits: exact in float. */
static double uniform24(bl_rng *rng) {
    return (double)(word(rng) & 0xffffffu) * 0x1p-24;
}

/* Uniform in [0, 1), of 53 bits. */
static double uniform53(bl_rng *rng) {
    uint64_t high = word(rng);
    return (double)((high << 32 | word(rng)) & 0x1fffffffffffffu) * 0x1p-53;
}

/* Sixteen uniforms become sixteen normals: 1 - u[j] the radius and u[j + 8] the angle of out[j] and out[j +
 * 8]. */
static void box_muller_block(float *v, const double *u) {
    for (int j = 0; j < BLOCK / 2; j++) {
        double radius = sqrt(-2 * log(1 - u[j])), angle = TWO_PI * u[j + BLOCK / 2];
        v[j] = (float)(radius * cos(angle));
        v[j + BLOCK / 2] = (float)(radius * sin(angle));
    }
}

static void box_muller_range(void *context, int64_t begin, int64_t end, int thread) {
    float *out = context;
    (void)thread;
    for (int64_t block = begin; block < end; block++) {
        double u[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
            u[j] = (double)out[block * BLOCK + j];
        }
        box_muller_block(out + block * BLOCK, u);
    }
}

/* torch takes all n uniforms first, then turns blocks of 16; of an odd rest it draws the last 16 values
 * afresh. A float holds a uniform of 24 bits exactly, so the uniforms can wait in `out`. */
static void normal_blocks(bl_rng *rng, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)uniform24(rng);
    }
    bl_parallel_for((int64_t)(n / BLOCK), 64, box_muller_range, out);
    if (n % BLOCK) {
        double u[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
            u[j] = uniform24(rng);
        }
        box_muller_block(out + n - BLOCK, u);
    }
}

static double normal_single(bl_rng *rng) {
    if (rng->has_cached) {
        rng->has_cached = false;
        return rng->cached;
    }
    double angle = TWO_PI * uniform53(rng), radius = sqrt(-2 * log1p(-uniform53(rng)));
    rng->cached = radius * sin(angle);
    rng->has_cached = true;
    return radius * cos(angle);
}

/* Philox4x32-10; the first two of its four words. */
static void philox(uint32_t draw, uint32_t index, uint64_t seed, uint32_t out[2]) {
    uint32_t c0 = draw, c1 = 0, c2 = index, c3 = 0;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)c0 * 0xd2511f53u, p1 = (uint64_t)c2 * 0xcd9e8d57u;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
}

/* Each value is one CUDA thread's first normal of this call. */
static void normal_philox(bl_rng *rng, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t w[2];
        philox(rng->draws, (uint32_t)i, rng->seed, w);
        double u = ((double)w[0] + 0.5) * 0x1p-32, v = ((double)w[1] + 0.5) * 0x1p-32;
        out[i] = (float)(sqrt(-2 * log(u)) * sin(TWO_PI * v));
    }
    rng->draws++;
}

void bl_rng_normal(bl_rng *rng, float *out, size_t n) {
    if (rng->kind == BL_RNG_GPU) {
        normal_philox(rng, out, n);
    } else if (n >= BLOCK) {
        normal_blocks(rng, out, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            out[i] = (float)normal_single(rng);
        }
    }
}

int bl_rng_find(bl_rng_kind *out, const char *name, bl_error *err) {
    if (strcasecmp(name, "cpu") == 0) {
        *out = BL_RNG_CPU;
    } else if (strcasecmp(name, "gpu") == 0 || strcasecmp(name, "nv") == 0) {
        *out = BL_RNG_GPU;
    } else {
        return bl_fail(err, BL_E_NOT_FOUND, "unknown rng '%.100s'; known are cpu, gpu", name);
    }
    return 0;
}
