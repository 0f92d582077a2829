/* The names of samplers, schedules and compatibility modes, as people know them from A1111 and ComfyUI. */
#ifndef BALLAST_SAMPLE_NAMES_H
#define BALLAST_SAMPLE_NAMES_H

#include "core/error.h"

#include <stdbool.h>

/* Whose meaning of the names applies: which timestep belongs to a sigma, what noise the start gets, what
 * strength does to the steps, where DDIM and UniPC end. */
typedef enum bl_compat {
    BL_COMPAT_A1111 = 0,
    BL_COMPAT_COMFYUI,
    BL_COMPAT_DIFFUSERS,
    BL_COMPAT_COUNT
} bl_compat;

typedef enum bl_sampler_id {
    BL_SAMPLER_EULER = 0,
    BL_SAMPLER_EULER_A,
    BL_SAMPLER_HEUN,
    BL_SAMPLER_DPM2,
    BL_SAMPLER_DPM2_A,
    BL_SAMPLER_DPMPP_2S_A,
    BL_SAMPLER_DPMPP_2M,
    BL_SAMPLER_DPMPP_SDE,
    BL_SAMPLER_DPMPP_2M_SDE,
    BL_SAMPLER_DPMPP_2M_SDE_HEUN,
    BL_SAMPLER_DPMPP_3M_SDE,
    BL_SAMPLER_DDIM,
    BL_SAMPLER_UNIPC,
    BL_SAMPLER_UNIPC_BH2,
    BL_SAMPLER_LCM,
    BL_SAMPLER_LMS,
    BL_SAMPLER_PLMS,
    BL_SAMPLER_DPM_FAST,
    BL_SAMPLER_RESTART,
    BL_SAMPLER_TCD,
    BL_SAMPLER_DPM_ADAPTIVE,
    BL_SAMPLER_COUNT
} bl_sampler_id;

typedef enum bl_schedule_id {
    BL_SCHEDULE_AUTOMATIC = 0, /* the one that the sampler has in the chosen compatibility mode */
    BL_SCHEDULE_NORMAL,
    BL_SCHEDULE_KARRAS,
    BL_SCHEDULE_EXPONENTIAL,
    BL_SCHEDULE_SGM_UNIFORM,
    BL_SCHEDULE_SIMPLE,
    BL_SCHEDULE_DDIM_UNIFORM,
    BL_SCHEDULE_BETA,
    BL_SCHEDULE_POLYEXPONENTIAL,
    BL_SCHEDULE_KL_OPTIMAL,
    BL_SCHEDULE_ALIGN_YOUR_STEPS,
    BL_SCHEDULE_TURBO,
    BL_SCHEDULE_LEADING, /* the last three: diffusers' timestep spacings */
    BL_SCHEDULE_LINSPACE,
    BL_SCHEDULE_TRAILING,
    BL_SCHEDULE_COUNT
} bl_schedule_id;

/* Where the noise that a sampler adds between its steps comes from. */
typedef enum bl_noise_use {
    BL_NOISE_NONE,       /* draws none (DDIM: none while eta is 0) */
    BL_NOISE_SUCCESSIVE, /* the next draw of the picture's random numbers */
    BL_NOISE_BROWNIAN    /* increments of one Brownian path per picture, see brownian.h */
} bl_noise_use;

/* Names as shown to people: "DPM++ 2M", "karras", "a1111". Static storage. */
const char *bl_sampler_name(bl_sampler_id id);
const char *bl_schedule_name(bl_schedule_id id);
const char *bl_compat_name(bl_compat compat);

/* Which noise the sampler asks for between steps. diffusers' multistep SDE solver draws successive noise,
 * k-diffusion's walks a Brownian path. */
bl_noise_use bl_sampler_noise(bl_sampler_id id, bl_compat compat);

/* Does it compute with eta? And with a seed of its own for the noise between steps ("ensd")? */
bool bl_sampler_takes_eta(bl_sampler_id id);
bool bl_sampler_takes_ensd(bl_sampler_id id);

/* Of samplers that choose their steps while they run, "adaptive": progress is told in parts of the way, and
 * so many evaluations are the most. */
#define BL_ADAPTIVE_PARTS 100
#define BL_ADAPTIVE_MOST 600
bool bl_sampler_adapts(bl_sampler_id id);

/* Evaluations of the denoiser that `steps` steps cost (a step whose target is 0 takes one in every sampler);
 * the most of them where the sampler adapts. */
int bl_sampler_evaluations(bl_sampler_id id, int steps);

/* What "automatic" stands for: A1111's choice for the sampler; normal in ComfyUI; leading in diffusers. */
bl_schedule_id bl_sampler_schedule(bl_sampler_id id, bl_compat compat);

/* Finds a sampler by any of its names, A1111's ("DPM++ 2M", "Euler a"), ComfyUI's ("dpmpp_2m",
 * "euler_ancestral"); case, blanks, '_' and '-' do not count. A schedule's name at the end ("DPM++ 2M
 * Karras") goes to *schedule, which is left alone when there is none; `schedule` may be NULL, then such names
 * are refused. BL_E_NOT_FOUND with a message that lists the names. */
int bl_sampler_find(bl_sampler_id *out, bl_schedule_id *schedule, const char *name, bl_error *err);

/* Finds a schedule by name. "leading karras" (any spacing before karras, exponential or beta) sets *spacing
 * too, which is left alone otherwise and may be NULL. BL_E_NOT_FOUND with a message that lists the names. */
int bl_schedule_find(bl_schedule_id *out, bl_schedule_id *spacing, const char *name, bl_error *err);

int bl_compat_find(bl_compat *out, const char *name, bl_error *err);

#endif
