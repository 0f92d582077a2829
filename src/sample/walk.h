/* What the families of samplers share. Inside of the sample room. */
#ifndef BALLAST_SAMPLE_WALK_H
#define BALLAST_SAMPLE_WALK_H

#include "sample/sampler.h"

#define BL_WALK_BUFFERS 6

typedef struct bl_walk {
    const bl_schedule *schedule;
    const bl_sampler_calls *calls;
    bl_error *err;
    size_t n;
    float *x;                       /* [n] */
    float *buffer[BL_WALK_BUFFERS]; /* [n] each; as many as the sampler's row in sampler.c says */
    double eta;
    int order;
    bl_sampler_id id;
} bl_walk;

typedef int bl_sample_fn(bl_walk *walk);

bl_sample_fn bl_sample_euler, bl_sample_lcm, bl_sample_tcd;                           /* euler.c */
bl_sample_fn bl_sample_lms, bl_sample_plms;                                           /* linear.c */
bl_sample_fn bl_sample_dpm_fast, bl_sample_dpm_adaptive;                              /* dpm_solver.c */
bl_sample_fn bl_sample_restart;                                                       /* restart.c */
bl_sample_fn bl_sample_heun, bl_sample_dpm2, bl_sample_dpmpp_2s, bl_sample_dpmpp_sde; /* two_stage.c */
bl_sample_fn bl_sample_dpmpp_2m, bl_sample_dpmpp_2m_sde, bl_sample_dpmpp_3m_sde;      /* multistep.c */
bl_sample_fn bl_sample_unipc;                                                         /* unipc.c */

/* One summand of a weighted sum of vectors. */
typedef struct bl_term {
    double weight;
    const float *v; /* [n] */
} bl_term;

/* out[i] = sum of weight * v[i], in double, rounded once; out may be one of the v. count <= BL_WALK_BUFFERS.
 */
void bl_mix(size_t n, float *out, const bl_term *terms, int count);

/* The prediction at step i's own sigma, of walk->x. */
int bl_walk_denoise(bl_walk *walk, int i, float *denoised);

int bl_walk_noise(bl_walk *walk, double sigma, double next, float *noise);

/* Tells the caller that step i is done. */
int bl_walk_step(bl_walk *walk, int i, const float *denoised);

/* Step i ended on sigma `at` in variance-preserving space, where the sample is x / sqrt(at^2 + 1); the next
 * step, or the decoder, takes that sample for one of sigmas[i + 1]: what x is multiplied by. Only the
 * schedules of DDIM, PLMS and TCD make the two differ. */
double bl_reread(const bl_schedule *s, int i, double at);

/* Splits the way from sigma a to b into a deterministic part down to *down and fresh noise *up:
 * down^2 + up^2 = b^2 (k-diffusion's ancestral step). */
void bl_ancestral(double a, double b, double eta, double *down, double *up);

#endif
