#include "sample/noise.h"

#include "sample/brownian.h"

#include <math.h>
#include <stdlib.h>

#define NEARLY_PARALLEL 0.9995
#define MAX_VALUES (1 << 28)

struct bl_noise {
    bl_noise_options o;
    size_t n;
    bl_rng rng;
    bl_brownian *path; /* NULL unless Brownian */
};

int bl_noise_new(bl_noise **out, const bl_noise_options *o, bl_error *err) {
    *out = NULL;
    if (!(o->variation_strength >= 0 && o->variation_strength <= 1)) {
        return bl_fail(err, BL_E_ARGUMENT, "variation strength must be 0 to 1, not %g",
                       o->variation_strength);
    }
    if (o->channels < 1 || o->height < 1 || o->width < 1 ||
        (double)o->channels * o->height * o->width > (double)MAX_VALUES) {
        return bl_fail(err, BL_E_ARGUMENT, "no noise for latents of %d x %d x %d", o->channels, o->height,
                       o->width);
    }
    bl_noise *s = calloc(1, sizeof *s);
    if (!s) {
        return bl_fail_memory(err, "the noise", sizeof *s);
    }
    s->o = *o;
    s->n = (size_t)o->channels * (size_t)o->height * (size_t)o->width;
    bl_rng_seed(&s->rng, o->rng, o->seed);
    if (o->use == BL_NOISE_BROWNIAN) {
        int rc = bl_brownian_new(&s->path, o->rng, o->seed, s->n, o->brownian_low, o->brownian_high, err);
        if (rc) {
            free(s);
            return rc;
        }
    }
    *out = s;
    return 0;
}

void bl_noise_free(bl_noise **noise) {
    if (*noise) {
        bl_brownian_free(&(*noise)->path);
        free(*noise);
        *noise = NULL;
    }
}

/* ComfyUI draws what it adds between steps from a generator of its own, on the CPU with the seed + 1; the
 * others go on where the start's noise ended. */
static void seed_steps(bl_noise *s) {
    if (s->o.seed_delta) {
        bl_rng_seed(&s->rng, s->o.rng, s->o.seed + s->o.seed_delta);
    } else if (s->o.compat == BL_COMPAT_COMFYUI) {
        bl_rng_seed(&s->rng, s->o.rng, s->o.seed + (s->o.rng == BL_RNG_CPU ? 1 : 0));
    }
}

typedef struct column {
    double aa, ab, bb; /* sums of products */
} column;

static column column_of(const float *a, const float *b, int height, int width) {
    column c = {0};
    for (int y = 0; y < height; y++) {
        double p = (double)a[(size_t)y * (size_t)width], q = (double)b[(size_t)y * (size_t)width];
        c.aa += p * p;
        c.ab += p * q;
        c.bb += q * q;
    }
    return c;
}

static double cosine(column c) {
    return fmin(fmax(c.ab / sqrt(c.aa * c.bb), -1.0), 1.0);
}

void bl_slerp(float *out, const float *a, const float *b, double t, int channels, int height, int width) {
    size_t plane = (size_t)height * (size_t)width;
    double mean = 0.0;
    for (int c = 0; c < channels; c++) {
        for (int x = 0; x < width; x++) {
            size_t at = (size_t)c * plane + (size_t)x;
            mean += cosine(column_of(a + at, b + at, height, width));
        }
    }
    bool straight = mean / ((double)channels * width) > NEARLY_PARALLEL;
    for (int c = 0; c < channels; c++) {
        for (int x = 0; x < width; x++) {
            size_t at = (size_t)c * plane + (size_t)x;
            double wa = t, wb = 1 - t;
            if (!straight) {
                double omega = acos(cosine(column_of(a + at, b + at, height, width))), so = sin(omega);
                wa = so > 0 ? sin((1 - t) * omega) / so : 1 - t;
                wb = so > 0 ? sin(t * omega) / so : t;
            }
            for (int y = 0; y < height; y++) {
                size_t i = at + (size_t)y * (size_t)width;
                out[i] = (float)(wa * (double)a[i] + wb * (double)b[i]);
            }
        }
    }
}

int bl_noise_start(bl_noise *s, float *out, bl_error *err) {
    bl_rng_normal(&s->rng, out, s->n);
    if (s->o.variation_strength > 0) {
        float *other = malloc(s->n * sizeof *other);
        if (!other) {
            return bl_fail_memory(err, "the variation's noise", s->n * sizeof *other);
        }
        bl_rng rng;
        bl_rng_seed(&rng, s->o.rng, s->o.variation_seed);
        bl_rng_normal(&rng, other, s->n);
        bl_slerp(out, out, other, s->o.variation_strength, s->o.channels, s->o.height, s->o.width);
        free(other);
    }
    seed_steps(s);
    return 0;
}

void bl_noise_step(bl_noise *s, double sigma, double next, float *out) {
    if (s->path) {
        bl_brownian_noise(s->path, sigma, next, out);
    } else {
        bl_rng_normal(&s->rng, out, s->n);
    }
}
