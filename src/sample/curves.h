/* The lists of sigmas, before strength and endings are looked at. Inside of the sample room. */
#ifndef BALLAST_SAMPLE_CURVES_H
#define BALLAST_SAMPLE_CURVES_H

#include "sample/schedule.h"

/* numpy.linspace: point i of n from start to stop, both included. */
double bl_linspace(int i, int n, double start, double stop);

/* n values from high down to low; karras, exponential, polyexponential (with rho 1, as A1111 has it: the
 * same) or beta. */
void bl_curve(bl_schedule_id curve, int n, double low, double high, double *sigmas);

/* k-diffusion's and ComfyUI's lists for n steps without the closing 0; room for bl_k_room(n) values. Returns
 * how many there are, which for ddim_uniform, beta and n > 1000 need not be n. `comfy_beta`: quantiles of
 * timesteps, and KL optimal as ComfyUI has it, down to the smallest sigma. */
int bl_k_sigmas(const bl_sigmas *table, bl_schedule_id schedule, int n, bool comfy_beta, double *sigmas);
int bl_k_room(int n);

/* Align Your Steps (Sabour et al. 2024): n sigmas on the straight lines in log sigma between the published
 * ones, [BL_ALIGNED_STEPS]; NULL: those of SD 1.5. One step alone is the last of them, as in A1111. */
#define BL_ALIGNED_STEPS 11
void bl_aligned_sigmas(const double *steps, int n, double *sigmas);

/* diffusers' timesteps, descending, n <= 1000; returns how many. `more`: DPMSolverMultistep and UniPC space
 * one more point than Euler and leave the last out. `whole`: linspace rounded to integers, else to float. */
int bl_spaced_timesteps(bl_schedule_id spacing, int n, bool more, bool whole, double *timesteps);

#endif
