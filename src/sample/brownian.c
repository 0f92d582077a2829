#include "sample/brownian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POOL 24          /* words of a SeedSequence's pool, as torchsde asks for */
#define DECIMALS 1e6     /* times are rounded to this part of 1 */
#define ENTROPY_WORDS 32 /* the pool, then up to two words each of key and depth */

#define REMEMBERED 3 /* DPM++ SDE asks for (a, m) and (a, b), then goes on from b */

/* W at one sigma, less W at the low end. */
typedef struct point {
    double at;     /* rounded; negative: nothing here */
    unsigned used; /* when, for the oldest to be replaced */
    double *value; /* [n] */
} point;

struct bl_brownian {
    bl_rng_kind kind;
    uint64_t seed;
    size_t n;
    double low, high; /* rounded */
    float *whole;     /* [n] increment from low to high */
    float *current;   /* [n] increment of the interval that a search is in */
    float *noise;     /* [n] */
    unsigned asked;
    point points[REMEMBERED];
    bl_rng rng;
};

/* A node of the tree of halved intervals. */
typedef struct interval {
    double start, end;
    uint64_t key; /* of numpy's spawn_key: 2 * parent's + (0 left, 1 right) */
    int depth;
} interval;

static uint32_t hash_word(uint32_t value, uint32_t *constant, uint32_t multiplier) {
    value ^= *constant;
    *constant *= multiplier;
    value *= *constant;
    return value ^ value >> 16;
}

static uint32_t mix_words(uint32_t x, uint32_t y) {
    uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ r >> 16;
}

static int put_words(uint32_t *words, int at, uint64_t value) {
    words[at++] = (uint32_t)value;
    if (value >> 32) {
        words[at++] = (uint32_t)(value >> 32);
    }
    return at;
}

/* First word of numpy's SeedSequence(seed, spawn_key=(key, depth), pool_size=24); without spawn key when at <
 * 0 (M. O'Neill's seed_seq design). */
static uint32_t first_seed(uint64_t seed, const interval *at) {
    uint32_t words[ENTROPY_WORDS] = {0}, pool[POOL], constant = 0x43b0d7e5u;
    int count = put_words(words, 0, seed);
    if (at) {
        count = put_words(words, POOL, at->key);
        count = put_words(words, count, (uint64_t)at->depth);
    }
    for (int i = 0; i < POOL; i++) {
        pool[i] = hash_word(words[i], &constant, 0x931e8875u);
    }
    for (int from = 0; from < POOL; from++) {
        for (int to = 0; to < POOL; to++) {
            if (from != to) {
                pool[to] = mix_words(pool[to], hash_word(pool[from], &constant, 0x931e8875u));
            }
        }
    }
    for (int from = POOL; from < count; from++) {
        for (int to = 0; to < POOL; to++) {
            pool[to] = mix_words(pool[to], hash_word(words[from], &constant, 0x931e8875u));
        }
    }
    constant = 0x8b51f9ddu;
    return hash_word(pool[0], &constant, 0x58f38dedu);
}

/* Nearest multiple of 1e-6, decided on the exact value of x (a product of two doubles is exact as p + rest).
 */
static double rounded(double x) {
    double p = x * DECIMALS, rest = fma(x, DECIMALS, -p), whole = floor(p);
    double above_half = (p - whole - 0.5) + rest;
    if (above_half > 0 || (above_half == 0 && fmod(whole, 2) != 0)) {
        whole += 1;
    }
    return whole / DECIMALS;
}

int bl_brownian_new(bl_brownian **out, bl_rng_kind kind, uint64_t seed, size_t n, double low, double high,
                    bl_error *err) {
    *out = NULL;
    if (!(low >= 0 && low <= high && high < 1e9)) {
        return bl_fail(err, BL_E_INTERNAL, "no Brownian path from sigma %g to %g", low, high);
    }
    /* The sampler's times reach torchsde as floats. */
    double from = (double)(float)low, to = (double)(float)high;
    size_t each = REMEMBERED * sizeof(double) + 3 * sizeof(float);
    bl_brownian *b = calloc(1, sizeof *b);
    double *buffers = n && n < SIZE_MAX / each ? malloc(n * each) : NULL;
    if (!b || !buffers) {
        free(buffers);
        free(b);
        return bl_fail_memory(err, "the Brownian path", (unsigned long long)n * each);
    }
    *b = (bl_brownian){.kind = kind, .seed = seed, .n = n, .low = rounded(from), .high = rounded(to)};
    for (int p = 0; p < REMEMBERED; p++) {
        b->points[p] = (point){.at = -1, .value = buffers + (size_t)p * n};
    }
    b->whole = (float *)(buffers + REMEMBERED * n);
    b->current = b->whole + n;
    b->noise = b->current + n;
    bl_rng_seed(&b->rng, kind, first_seed(seed, NULL));
    bl_rng_normal(&b->rng, b->whole, n);
    float scale = (float)sqrt(to - from);
    for (size_t i = 0; i < n; i++) {
        b->whole[i] *= scale;
    }
    *out = b;
    return 0;
}

/* Goes down from `at`, whose increment is in b->current, to the interval that ends at t, adding to w what
 * lies left of it. Ends there because t is a multiple of the smallest interval. */
static void search(bl_brownian *b, interval at, double t, double *w) {
    while (t < at.end) {
        double middle = rounded(0.5 * (at.end + at.start));
        double before = middle - at.start, after = at.end - middle, part = 1 / (at.end - at.start);
        float share = (float)before, reciprocal = (float)part, deviation = (float)sqrt(before * after * part);
        bool right = t > middle;
        bl_rng_seed(&b->rng, b->kind, first_seed(b->seed, &at));
        bl_rng_normal(&b->rng, b->noise, b->n);
        for (size_t i = 0; i < b->n; i++) {
            float left = share * b->current[i] * reciprocal + deviation * b->noise[i];
            w[i] += right ? (double)left : 0.0;
            b->current[i] = right ? b->current[i] - left : left;
        }
        at = right ? (interval){middle, at.end, 2 * at.key + 1, at.depth + 1}
                   : (interval){at.start, middle, 2 * at.key, at.depth + 1};
    }
    for (size_t i = 0; i < b->n; i++) {
        w[i] += (double)b->current[i];
    }
}

/* W(t) - W(low), remembered or found. */
static const double *value_at(bl_brownian *b, double t) {
    point *oldest = &b->points[0];
    b->asked++;
    for (int p = 0; p < REMEMBERED; p++) {
        if (b->points[p].at == t) {
            b->points[p].used = b->asked;
            return b->points[p].value;
        }
        oldest = b->points[p].used < oldest->used ? &b->points[p] : oldest;
    }
    memset(oldest->value, 0, b->n * sizeof *oldest->value);
    if (t > b->low) {
        memcpy(b->current, b->whole, b->n * sizeof *b->current);
        search(b, (interval){b->low, b->high, 0, 0}, t, oldest->value);
    }
    oldest->at = t;
    oldest->used = b->asked;
    return oldest->value;
}

void bl_brownian_noise(bl_brownian *b, double sigma, double next, float *out) {
    double high = (double)(float)sigma, low = (double)(float)next;
    double from = rounded(fmin(fmax(low, b->low), b->high)), to = rounded(fmin(fmax(high, b->low), b->high));
    if (!(from < to)) {
        memset(out, 0, b->n * sizeof *out);
        return;
    }
    const double *upper = value_at(b, to), *lower = value_at(b, from);
    double scale = 1 / sqrt(high - low);
    for (size_t i = 0; i < b->n; i++) {
        out[i] = (float)((lower[i] - upper[i]) * scale);
    }
}

void bl_brownian_free(bl_brownian **b) {
    if (*b) {
        free((*b)->points[0].value);
        free(*b);
        *b = NULL;
    }
}
