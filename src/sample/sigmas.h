/* The model's own noise levels: 1000 timesteps of the "scaled linear" diffusion that SD1.x, SD2.x and SDXL
 * were trained with (Rombach et al. 2022), and the way between a timestep and a sigma.
 *
 * Sigma space: x = x0 + sigma * noise, sigma = sqrt((1 - a) / a) with a = alphas_cumprod[t]. */
#ifndef BALLAST_SAMPLE_SIGMAS_H
#define BALLAST_SAMPLE_SIGMAS_H

#include <stdbool.h>

#define BL_TRAIN_STEPS 1000

typedef struct bl_sigmas {
    int count;                             /* levels there are: 1000, or fewer of them (bl_sigmas_thin) */
    double alphas_cumprod[BL_TRAIN_STEPS]; /* [count] descending */
    double sigma[BL_TRAIN_STEPS];          /* [count] ascending */
    double log_sigma[BL_TRAIN_STEPS];      /* [count] */
    bool single; /* made in single precision, as diffusers does; else in double, as LDM and k-diffusion do */
} bl_sigmas;

/* What zero-terminal-SNR models (Lin et al. 2023, Algorithm 1) have as their last alphas_cumprod instead of
 * 0. */
#define BL_ZERO_SNR_K 4.8973451890853435e-08         /* A1111 and ComfyUI: sigma_max 4518.8 */
#define BL_ZERO_SNR_DIFFUSERS 5.9604644775390625e-08 /* 2^-24: sigma_max 4096.0 */
#define BL_ZERO_SNR_NONE \
    1e-20 /* diffusers' DDIM and LCM have 0 itself: sigma 1e10, where x is all noise in float */

/* Fills the tables. `terminal`: 0 for ordinary models, else rescaled to zero terminal SNR with this as the
 * last alphas_cumprod. `single`: with diffusers' roundings; sigmas then agree with diffusers' to 2e-7, not to
 * 1e-5. */
void bl_sigmas_fill(bl_sigmas *table, double terminal, bool single);

/* Leaves `count` levels, evenly spaced, of which the last is timestep 999: with 50 of 1000 those that LCM
 * models were distilled on, timesteps 19, 39, ... 999. 1000 must be a multiple of it. */
void bl_sigmas_thin(bl_sigmas *table, int count);

/* Timestep of the first level: 0, or 19 of 50 levels. That of the last is 999. */
int bl_sigmas_first(const bl_sigmas *table);

/* Sigma at a fractional timestep: log sigma interpolated (k-diffusion). t is held to [first level, 999]. */
double bl_sigma_at(const bl_sigmas *table, double t);

/* Sigma at a fractional timestep: sigma itself interpolated (diffusers). t is held to [0, 999]. */
double bl_sigma_at_linear(const bl_sigmas *table, double t);

/* The fractional timestep of a sigma > 0: log sigma interpolated, held to [0, 999]; of a table of all levels.
 */
double bl_timestep_fractional(const bl_sigmas *table, double sigma);

/* The timestep of the level whose log sigma is nearest. */
double bl_timestep_nearest(const bl_sigmas *table, double sigma);

#endif
