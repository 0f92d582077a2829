/* Options to list: how many steps the whole walk has, the list for it, what is cut off, and the start. */
#include "sample/schedule.h"

#include "sample/curves.h"
#include "sample/schedule_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LAST (BL_TRAIN_STEPS - 1)
#define LONGEST 1000000 /* steps of a whole walk of which strength leaves a part */
#define COMFY_UNIPC_END 0.001
#define LCM_STEPS 50 /* original_inference_steps: what LCM models were distilled on */

static int refuse(bl_error *err, const bl_schedule_options *o, int total) {
    return bl_fail(
        err, BL_E_ARGUMENT,
        "%s: %d steps at strength %g need a schedule of %d steps, more than %s has: use a larger strength or "
        "fewer steps",
        o->start == BL_FROM_SECOND_PASS ? "hires-steps, hires-strength" : "steps, strength", o->steps,
        o->strength, total, bl_sampler_name(o->sampler));
}

int bl_schedule_no_step(const bl_schedule_options *o, bl_error *err) {
    return bl_fail(err, BL_E_ARGUMENT,
                   "strength %g of %d steps leaves no step: use a larger strength or more steps", o->strength,
                   o->steps);
}

static int check(const bl_schedule_options *o, bl_error *err) {
    if (o->compat < 0 || o->compat >= BL_COMPAT_COUNT || o->sampler < 0 || o->sampler >= BL_SAMPLER_COUNT ||
        o->schedule < 0 || o->schedule >= BL_SCHEDULE_COUNT) {
        return bl_fail(err, BL_E_INTERNAL, "a compatibility mode, sampler or schedule that does not exist");
    }
    if (o->steps < 1 || o->steps > BL_MAX_STEPS) {
        return bl_fail(err, BL_E_ARGUMENT, "steps: must be 1 to %d, not %d", BL_MAX_STEPS, o->steps);
    }
    if (o->start != BL_FROM_NOISE && !(o->strength > 0 && o->strength <= 1)) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: must be above 0 and at most 1, not %g",
                       o->start == BL_FROM_SECOND_PASS ? "hires-strength" : "strength", o->strength);
    }
    if (o->spacing != BL_SCHEDULE_AUTOMATIC && o->spacing < BL_SCHEDULE_LEADING) {
        return bl_fail(err, BL_E_ARGUMENT, "'%s' is no spacing: use leading, linspace or trailing",
                       bl_schedule_name(o->spacing));
    }
    return 0;
}

static bool is_unipc(bl_sampler_id id) {
    return id == BL_SAMPLER_UNIPC || id == BL_SAMPLER_UNIPC_BH2;
}

/* diffusers' schedulers that work with y = x / sqrt(sigma^2 + 1) and integer timesteps. */
static bool variance_preserving(bl_sampler_id id) {
    return id == BL_SAMPLER_DPMPP_2M || id == BL_SAMPLER_DPMPP_2M_SDE || id == BL_SAMPLER_DPMPP_2M_SDE_HEUN ||
           id == BL_SAMPLER_DPMPP_3M_SDE || id == BL_SAMPLER_DDIM || id == BL_SAMPLER_LCM ||
           id == BL_SAMPLER_TCD || is_unipc(id);
}

/* "The last jump from a very low sigma to 0 is unstable": these ask for one step more and leave out the
 * smallest. */
static bool leaves_out_smallest(bl_compat compat, bl_sampler_id id) {
    bool dpm2 = id == BL_SAMPLER_DPM2 || id == BL_SAMPLER_DPM2_A;
    if (compat == BL_COMPAT_A1111) {
        return dpm2 || id == BL_SAMPLER_DPMPP_3M_SDE;
    }
    return compat == BL_COMPAT_COMFYUI && (dpm2 || is_unipc(id));
}

/* A1111's DDIM, PLMS and UniPC, which walk timesteps in variance-preserving space. */
static bool a1111_timesteps(const bl_schedule_options *o) {
    bool unipc = is_unipc(o->sampler);
    bl_schedule_id own = unipc ? BL_SCHEDULE_SGM_UNIFORM : BL_SCHEDULE_DDIM_UNIFORM;
    return o->compat == BL_COMPAT_A1111 &&
           (o->sampler == BL_SAMPLER_DDIM || o->sampler == BL_SAMPLER_PLMS || unipc) &&
           (o->schedule == BL_SCHEDULE_AUTOMATIC || o->schedule == own);
}

/* Steps of the whole walk, from noise to picture, of which strength leaves a part. */
static int whole_walk(const bl_schedule_options *o) {
    double total = o->steps;
    if (o->start == BL_FROM_SECOND_PASS && o->compat == BL_COMPAT_A1111) {
        total = o->steps / fmin(o->strength, 0.999);
    } else if (o->start != BL_FROM_NOISE && o->compat == BL_COMPAT_COMFYUI && o->strength <= 0.9999) {
        total = o->steps / o->strength;
    }
    return total > INT32_MAX ? INT32_MAX : (int)total;
}

int bl_a1111_encode_step(const bl_schedule_options *o, int total) {
    if (o->start == BL_FROM_NOISE) {
        return total - 1;
    }
    if (o->start == BL_FROM_SECOND_PASS) {
        return o->steps - 1;
    }
    return (int)(fmin(o->strength, 0.999) * o->steps);
}

static int fill_k(bl_schedule *s, const bl_schedule_options *o, int total) {
    bool drop = leaves_out_smallest(o->compat, o->sampler);
    int asked = drop ? total + 1 : total, n;
    if (s->schedule >= BL_SCHEDULE_LEADING) {
        n = bl_spaced_timesteps(s->schedule, asked, false, false, s->timesteps);
        for (int i = 0; i < n; i++) {
            s->sigmas[i] = bl_sigma_at(&s->table, s->timesteps[i]);
        }
    } else if (s->schedule == BL_SCHEDULE_ALIGN_YOUR_STEPS) {
        n = asked;
        bl_aligned_sigmas(o->aligned, n, s->sigmas);
    } else {
        n = bl_k_sigmas(&s->table, s->schedule, asked, o->compat == BL_COMPAT_COMFYUI, s->sigmas);
    }
    if (drop && n > 1) {
        n--;
    }
    for (int i = 0; i < n; i++) {
        s->timesteps[i] = bl_sigma_to_timestep(s, s->sigmas[i]);
    }
    return n;
}

/* LDM's noise schedule between timesteps: log alpha interpolated. */
static double sigma_by_log_alpha(const bl_sigmas *table, double t) {
    int low = (int)floor(t), high = (int)ceil(t);
    double w = t - low;
    double a = exp((1 - w) * log(table->alphas_cumprod[low]) + w * log(table->alphas_cumprod[high]));
    return sqrt((1 - a) / a);
}

/* DDIM and PLMS of A1111: timesteps 1, 1 + k, 1 + 2k, ... with k = 1000 // total; it steps from each to the
 * one below and never from the lowest. UniPC: as many steps as there are such timesteps, evenly spread down
 * to timestep 0. From an image, noise is added for the timestep above the one that the walk begins at; the
 * start's scales repair that. */
static int fill_a1111_timesteps(bl_schedule *s, const bl_schedule_options *o, int total) {
    int stride = BL_TRAIN_STEPS / total, count = LAST / stride + 1;
    int top = count - 1; /* index of the timestep at which the walk begins */
    if (o->start != BL_FROM_NOISE) {
        int encode = bl_a1111_encode_step(o, total);
        top = encode > 1 ? encode - 1 : 0;
    }
    int n;
    if (!is_unipc(o->sampler)) {
        n = top > 0 ? top : 1;
        for (int i = 0; i < n; i++) {
            int t = 1 + (top - i) * stride, below = top > 0 ? t - stride : 0;
            s->timesteps[i] = t < LAST ? t : LAST;
            s->sigmas[i] = s->table.sigma[t < LAST ? t : LAST];
            s->targets[i] = s->table.sigma[below];
        }
    } else {
        double first = o->start == BL_FROM_NOISE ? LAST : 1 + top * stride;
        n = top + 1;
        for (int i = 0; i < n; i++) {
            s->timesteps[i] = bl_linspace(i, n + 1, first, 0);
            s->sigmas[i] = sigma_by_log_alpha(&s->table, s->timesteps[i]);
            s->targets[i] = sigma_by_log_alpha(&s->table, bl_linspace(i + 1, n + 1, first, 0));
        }
    }
    double at = s->sigmas[0];
    if (o->start == BL_FROM_NOISE) {
        s->noise_scale = sqrt(at * at + 1);
    } else {
        int above = 1 + (top + 1) * stride;
        double added = s->table.sigma[above < LAST ? above : LAST];
        s->image_scale = sqrt((at * at + 1) / (added * added + 1));
        s->noise_scale = s->image_scale * added;
    }
    return n;
}

static int fill_lcm(bl_schedule *s, int total) {
    for (int i = 0; i < total; i++) {
        int index = (int)floor(i * ((double)LCM_STEPS / total));
        int t = (LCM_STEPS - index) * (BL_TRAIN_STEPS / LCM_STEPS) - 1;
        s->timesteps[i] = t;
        s->sigmas[i] = s->table.sigma[t];
    }
    return total;
}

/* karras, exponential and beta over what a spacing gave; with the timesteps that the sampler's scheduler
 * makes. */
static void bend(bl_schedule *s, bl_sampler_id sampler, int n) {
    bool multistep = variance_preserving(sampler);
    bool whole = multistep || sampler == BL_SAMPLER_DPM2 || sampler == BL_SAMPLER_DPM2_A;
    double high = multistep ? s->table.sigma[LAST] : s->sigmas[0];
    double low = multistep ? s->table.sigma[0] : s->sigmas[n - 1];
    bl_curve(s->schedule, n, low, high, s->sigmas);
    for (int i = 0; i < n; i++) {
        double t = bl_timestep_fractional(&s->table, s->sigmas[i]);
        if (s->schedule == BL_SCHEDULE_KARRAS && whole) {
            t = rint(t);
        } else if (multistep) {
            t = floor(t);
        } else {
            t = (double)(float)t;
        }
        s->timesteps[i] = t;
    }
}

static int fill_diffusers(bl_schedule *s, const bl_schedule_options *o, int total, bl_schedule_id spacing) {
    bool multistep = variance_preserving(o->sampler), ddim = o->sampler == BL_SAMPLER_DDIM;
    int n;
    if (o->sampler == BL_SAMPLER_LCM || o->sampler == BL_SAMPLER_TCD) {
        n = fill_lcm(s, total);
    } else if (s->schedule == BL_SCHEDULE_SIMPLE) {
        n = bl_k_sigmas(&s->table, s->schedule, total, false, s->sigmas);
        for (int i = 0; i < n; i++) {
            s->timesteps[i] = rint(bl_timestep_fractional(&s->table, s->sigmas[i]));
        }
    } else {
        n = bl_spaced_timesteps(spacing, total, multistep && !ddim, multistep, s->timesteps);
        for (int i = 0; i < n; i++) {
            s->sigmas[i] = bl_sigma_at_linear(&s->table, s->timesteps[i]);
        }
        if (s->schedule < BL_SCHEDULE_LEADING) {
            bend(s, o->sampler, n);
        }
    }
    for (int i = 0; i < n; i++) {
        s->sigmas[i] = (double)(float)s->sigmas[i];
    }
    for (int i = 0; ddim && i < n; i++) {
        int below = (int)s->timesteps[i] - BL_TRAIN_STEPS / total;
        s->targets[i] = below >= 0 ? s->table.sigma[below] : o->alpha_to_one ? 0.0 : s->table.sigma[0];
    }
    for (int i = 0; o->sampler == BL_SAMPLER_TCD && i < n; i++) {
        s->targets[i] = i + 1 < n ? s->sigmas[i + 1] : s->table.sigma[0];
    }
    return n;
}

/* diffusers' name for what was asked for, and the spacing under it. */
static int resolve_diffusers(bl_schedule *s, const bl_schedule_options *o, bl_schedule_id *spacing,
                             bl_error *err) {
    *spacing = o->spacing == BL_SCHEDULE_AUTOMATIC ? BL_SCHEDULE_LEADING : o->spacing;
    if (o->sampler == BL_SAMPLER_PLMS || o->sampler == BL_SAMPLER_DPM_FAST ||
        o->sampler == BL_SAMPLER_DPM_ADAPTIVE || o->sampler == BL_SAMPLER_RESTART) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%s is not read as diffusers has it: use compat a1111 or comfyui",
                       bl_sampler_name(o->sampler));
    }
    if (s->schedule >= BL_SCHEDULE_POLYEXPONENTIAL && s->schedule < BL_SCHEDULE_LEADING) {
        return bl_fail(err, BL_E_UNSUPPORTED, "diffusers has no schedule '%s': use compat a1111 or comfyui",
                       bl_schedule_name(s->schedule));
    }
    switch (s->schedule) {
    case BL_SCHEDULE_NORMAL:
        s->schedule = BL_SCHEDULE_LINSPACE;
        break;
    case BL_SCHEDULE_SGM_UNIFORM:
        s->schedule = BL_SCHEDULE_TRAILING;
        break;
    case BL_SCHEDULE_DDIM_UNIFORM:
        s->schedule = BL_SCHEDULE_LEADING;
        break;
    default:
        break;
    }
    if (s->schedule >= BL_SCHEDULE_LEADING) {
        *spacing = s->schedule;
    } else if (o->sampler == BL_SAMPLER_DDIM || o->sampler == BL_SAMPLER_LCM ||
               o->sampler == BL_SAMPLER_TCD) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "diffusers' %s has no schedule '%s': use leading, linspace or trailing, or another compat",
            bl_sampler_name(o->sampler), bl_schedule_name(s->schedule));
    }
    if ((o->sampler == BL_SAMPLER_LCM || o->sampler == BL_SAMPLER_TCD) && o->steps > LCM_STEPS) {
        return bl_fail(err, BL_E_ARGUMENT, "diffusers' %s takes at most %d steps, not %d",
                       bl_sampler_name(o->sampler), LCM_STEPS, o->steps);
    }
    return 0;
}

/* Equal neighbours (more steps than timesteps) would be steps of length 0, which the multistep formulas
 * divide by. */
static int drop_repeats(bl_schedule *s, int n) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (i == 0 || s->sigmas[i] < s->sigmas[kept - 1]) {
            s->sigmas[kept] = s->sigmas[i];
            s->targets[kept] = s->targets[i];
            s->timesteps[kept++] = s->timesteps[i];
        }
    }
    return kept;
}

/* Index of the first step that strength leaves. */
static int first_step(const bl_schedule_options *o, int total, int n) {
    int first = 0;
    if (o->start == BL_FROM_NOISE || a1111_timesteps(o)) {
        return 0;
    }
    if (o->compat == BL_COMPAT_A1111) {
        first = total - bl_a1111_encode_step(o, total) - 1;
    } else if (o->compat == BL_COMPAT_COMFYUI) {
        first = n - o->steps;
    } else {
        first = total - (int)(total * o->strength);
        return first < n ? first : -1;
    }
    first = first > 0 ? first : 0;
    return first < n ? first : n - 1;
}

/* Brownian noise is laid over the sigmas of the whole walk in A1111, of what is run elsewhere. */
static void set_brownian(bl_schedule *s, const double *sigmas, int n) {
    s->brownian_high = sigmas[0];
    s->brownian_low = sigmas[n - 1];
}

static void set_start(bl_schedule *s, const bl_schedule_options *o, bl_schedule_id spacing) {
    double sigma = s->sigmas[0], full = sqrt(sigma * sigma + 1), largest = s->table.sigma[LAST];
    s->noise_scale = sigma;
    if (o->compat == BL_COMPAT_COMFYUI) {
        if (sigma > largest || fabs(sigma - largest) <= 1e-5 * largest) {
            s->noise_scale = full;
        }
    } else if (o->compat == BL_COMPAT_DIFFUSERS && o->start == BL_FROM_NOISE) {
        bool by_sigma = spacing == BL_SCHEDULE_LINSPACE || spacing == BL_SCHEDULE_TRAILING;
        if (variance_preserving(o->sampler) || !by_sigma) {
            s->noise_scale = full;
        }
    }
}

static void fill_table(bl_sigmas *table, const bl_schedule_options *o) {
    bool diffusers = o->compat == BL_COMPAT_DIFFUSERS;
    bool nothing_left = diffusers && (o->sampler == BL_SAMPLER_DDIM || o->sampler == BL_SAMPLER_LCM ||
                                      o->sampler == BL_SAMPLER_TCD);
    double terminal = nothing_left ? BL_ZERO_SNR_NONE : diffusers ? BL_ZERO_SNR_DIFFUSERS : BL_ZERO_SNR_K;
    bl_sigmas_fill(table, o->zero_snr ? terminal : 0, diffusers);
    if (o->sampler == BL_SAMPLER_LCM && o->compat == BL_COMPAT_A1111) {
        bl_sigmas_thin(table, LCM_STEPS);
    }
}

static int fill(bl_schedule *s, const bl_schedule_options *o, int total, bl_error *err) {
    bl_schedule_id spacing = BL_SCHEDULE_AUTOMATIC;
    bool timesteps = a1111_timesteps(o);
    int n;
    s->compat = o->compat;
    s->image_scale = 1;
    s->boundary_scaling = o->sampler == BL_SAMPLER_LCM && o->compat != BL_COMPAT_COMFYUI;
    s->schedule = o->schedule ? o->schedule : bl_sampler_schedule(o->sampler, o->compat);
    fill_table(&s->table, o);
    if (o->compat == BL_COMPAT_DIFFUSERS) {
        int rc = resolve_diffusers(s, o, &spacing, err);
        if (rc) {
            return rc;
        }
        n = fill_diffusers(s, o, total, spacing);
    } else {
        n = timesteps ? fill_a1111_timesteps(s, o, total) : fill_k(s, o, total);
    }
    bool own_targets = timesteps || (o->compat == BL_COMPAT_DIFFUSERS &&
                                     (o->sampler == BL_SAMPLER_DDIM || o->sampler == BL_SAMPLER_TCD));
    n = drop_repeats(s, n);
    int first = first_step(o, total, n);
    if (first < 0) {
        return bl_schedule_no_step(o, err);
    }
    set_brownian(s, s->sigmas, n);
    n -= first;
    memmove(s->sigmas, s->sigmas + first, (size_t)n * sizeof *s->sigmas);
    memmove(s->targets, s->targets + first, (size_t)n * sizeof *s->targets);
    memmove(s->timesteps, s->timesteps + first, (size_t)n * sizeof *s->timesteps);
    if (o->compat != BL_COMPAT_A1111) {
        set_brownian(s, s->sigmas, n);
    }
    s->steps = n;
    s->sigmas[n] = 0;
    if (!own_targets) {
        memcpy(s->targets, s->sigmas + 1, (size_t)n * sizeof *s->targets);
        if (o->compat == BL_COMPAT_COMFYUI && is_unipc(o->sampler)) {
            s->targets[n - 1] = COMFY_UNIPC_END;
        }
    }
    if (!timesteps) {
        set_start(s, o, spacing);
    }
    return 0;
}

int bl_schedule_new(bl_schedule **out, const bl_schedule_options *o, bl_error *err) {
    *out = NULL;
    int rc = check(o, err);
    if (rc) {
        return rc;
    }
    int total = whole_walk(o);
    bool spaced = o->flow_shift > 0 || o->schedule >= BL_SCHEDULE_LEADING || a1111_timesteps(o);
    if (total > (spaced ? BL_TRAIN_STEPS : LONGEST)) {
        return refuse(err, o, total);
    }
    size_t room = (size_t)bl_k_room(total + 1) + 1, bytes = 3 * room * sizeof(double);
    bl_schedule *s = calloc(1, sizeof *s);
    double *lists = calloc(3 * room, sizeof *lists);
    if (!s || !lists) {
        rc = bl_fail_memory(err, "the list of noise levels", sizeof *s + bytes);
        goto fail;
    }
    s->sigmas = lists;
    s->targets = lists + room;
    s->timesteps = lists + 2 * room;
    rc = o->flow_shift > 0 ? bl_schedule_fill_flow(s, o, total, err) : fill(s, o, total, err);
    if (rc) {
        goto fail;
    }
    *out = s;
    return 0;
fail:
    free(lists);
    free(s);
    return rc;
}

void bl_schedule_free(bl_schedule **schedule) {
    if (*schedule) {
        free((*schedule)->sigmas);
        free(*schedule);
        *schedule = NULL;
    }
}

double bl_sigma_to_timestep(const bl_schedule *schedule, double sigma) {
    if (schedule->flow) {
        return BL_TRAIN_STEPS * sigma;
    }
    bool thinned = schedule->table.count < BL_TRAIN_STEPS;
    if (schedule->compat == BL_COMPAT_COMFYUI || thinned) {
        return bl_timestep_nearest(&schedule->table, sigma);
    }
    return bl_timestep_fractional(&schedule->table, sigma);
}
