#include "sample/rng.h"

#include "sample/normal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define WORDS 624
#define SHIFT 397
#define BLOCK (2 * BL_PAIRS)
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
        int next = i + 1 < WORDS ? i + 1 : 0, far = i + SHIFT < WORDS ? i + SHIFT : i + SHIFT - WORDS;
        uint32_t y = (s[i] & 0x80000000u) | (s[next] & 0x7fffffffu);
        s[i] = s[far] ^ y >> 1 ^ ((0u - (y & 1)) & 0x9908b0dfu);
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
static void normal_block(float *out, const double *u) {
    double radius[BL_PAIRS];
    for (int j = 0; j < BL_PAIRS; j++) {
        radius[j] = 1 - u[j];
    }
    bl_box_muller(radius, u + BL_PAIRS, out, out + BL_PAIRS);
}

/* torch takes all n uniforms first, then turns blocks of 16; of an odd rest it draws the last 16 values
 * afresh. A float holds a uniform of 24 bits exactly, so the uniforms can wait in `out`. */
static void normal_blocks(bl_rng *rng, float *out, size_t n) {
    double u[BLOCK];
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)uniform24(rng);
    }
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK) {
        for (size_t j = 0; j < BLOCK; j++) {
            u[j] = (double)out[i + j];
        }
        normal_block(out + i, u);
    }
    if (n % BLOCK) {
        for (int j = 0; j < BLOCK; j++) {
            u[j] = uniform24(rng);
        }
        normal_block(out + n - BLOCK, u);
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

/* Each value is one CUDA thread's first normal of this call: sqrt(-2 ln u) sin(2 pi v). */
static void normal_philox(bl_rng *rng, float *out, size_t n) {
    for (size_t i = 0; i < n; i += BL_PAIRS) {
        double u[BL_PAIRS], v[BL_PAIRS];
        float cosines[BL_PAIRS], sines[BL_PAIRS];
        for (uint32_t j = 0; j < BL_PAIRS; j++) {
            uint32_t w[2];
            philox(rng->draws, (uint32_t)i + j, rng->seed, w);
            u[j] = ((double)w[0] + 0.5) * 0x1p-32;
            v[j] = ((double)w[1] + 0.5) * 0x1p-32;
        }
        bl_box_muller(u, v, cosines, sines);
        memcpy(out + i, sines, (n - i < BL_PAIRS ? n - i : BL_PAIRS) * sizeof *sines);
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
        return bl_fail(err, BL_E_NOT_FOUND, "rng: no \"%.100s\"; there are cpu, gpu", name);
    }
    return 0;
}
