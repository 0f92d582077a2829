/* What the families of samplers share. Inside of the sample room. */
#ifndef BALLAST_SAMPLE_RUN_H
#define BALLAST_SAMPLE_RUN_H

#include "sample/sampler.h"

#define BL_RUN_BUFFERS 6

typedef struct bl_run {
    const bl_schedule *schedule;
    const bl_sampler_calls *calls;
    bl_error *err;
    size_t n;
    float *x;                      /* [n] */
    float *buffer[BL_RUN_BUFFERS]; /* [n] each; as many as the sampler's row in sampler.c says */
    double eta;
    int order;
    bl_sampler_id id;
} bl_run;

typedef int bl_sample_fn(bl_run *run);

bl_sample_fn bl_sample_euler, bl_sample_lcm;                                          /* euler.c */
bl_sample_fn bl_sample_heun, bl_sample_dpm2, bl_sample_dpmpp_2s, bl_sample_dpmpp_sde; /* two_stage.c */
bl_sample_fn bl_sample_dpmpp_2m, bl_sample_dpmpp_2m_sde, bl_sample_dpmpp_3m_sde;      /* multistep.c */
bl_sample_fn bl_sample_unipc;                                                         /* unipc.c */

/* One summand of a weighted sum of vectors. */
typedef struct bl_term {
    double weight;
    const float *v; /* [n] */
} bl_term;

/* out[i] = sum of weight * v[i], in double, rounded once; out may be one of the v. count <= BL_RUN_BUFFERS.
 */
void bl_mix(size_t n, float *out, const bl_term *terms, int count);

/* The prediction at step i's own sigma, of run->x. */
int bl_run_denoise(bl_run *run, int i, float *denoised);

int bl_run_noise(bl_run *run, double sigma, double next, float *noise);

/* Tells the caller that step i is done. */
int bl_run_step(bl_run *run, int i, const float *denoised);

/* Splits the way from sigma a to b into a deterministic part down to *down and fresh noise *up:
 * down^2 + up^2 = b^2 (k-diffusion's ancestral step). */
void bl_ancestral(double a, double b, double eta, double *down, double *up);

#endif
