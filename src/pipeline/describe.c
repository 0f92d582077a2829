#include "pipeline/describe.h"

#include "core/decimal.h"
#include "image/parameters.h"

#include <stdlib.h>

/* A1111's names for schedules, by which it finds them again in a picture. */
static const char *schedule_label(bl_schedule_id id) {
    static const char *const labels[BL_SCHEDULE_COUNT] = {[BL_SCHEDULE_NORMAL] = "Normal",
                                                          [BL_SCHEDULE_KARRAS] = "Karras",
                                                          [BL_SCHEDULE_EXPONENTIAL] = "Exponential",
                                                          [BL_SCHEDULE_SGM_UNIFORM] = "SGM Uniform",
                                                          [BL_SCHEDULE_SIMPLE] = "Simple",
                                                          [BL_SCHEDULE_DDIM_UNIFORM] = "DDIM",
                                                          [BL_SCHEDULE_BETA] = "Beta",
                                                          [BL_SCHEDULE_POLYEXPONENTIAL] = "Polyexponential",
                                                          [BL_SCHEDULE_KL_OPTIMAL] = "KL Optimal",
                                                          [BL_SCHEDULE_ALIGN_YOUR_STEPS] = "Align Your Steps",
                                                          [BL_SCHEDULE_TURBO] = "Turbo"};
    return labels[id] ? labels[id] : bl_schedule_name(id);
}

int bl_describe(char **out, const bl_pipeline *m, const bl_request *r, const bl_adapters *adapters,
                const bl_embeddings *embeddings, const char *hash, uint64_t seed, int index, int width,
                int height, bl_error *err) {
    const ballast_generate_options *o = r->o;
    char *prompt, *hashes, *of_embeddings, guidance[BL_DECIMAL_TEXT];
    *out = NULL;
    int result = bl_adapters_describe(&prompt, &hashes, adapters, o->prompt, err);
    if (result) {
        return result;
    }
    result = bl_embeddings_hashes(&of_embeddings, embeddings, err);
    if (result) {
        free(prompt);
        free(hashes);
        return result;
    }
    bl_decimal_text(guidance, r->guidance);
    bl_parameters p = {.prompt = prompt,
                       .negative = o->negative_prompt,
                       .steps = o->steps,
                       .sampler = bl_sampler_name(r->sampler),
                       .schedule = schedule_label(r->base->schedule),
                       .cfg = o->cfg,
                       .guidance = m->arch->family->guidance ? guidance : NULL,
                       .seed = seed,
                       .width = width,
                       .height = height,
                       .model_hash = hash,
                       .model = m->model_name,
                       .vae = m->vae_name,
                       .decoder = r->taesd ? "TAESD" : NULL,
                       .variation_seed = o->variation_seed + (uint64_t)index,
                       .variation_strength = o->variation_strength,
                       .denoising_strength = r->second     ? o->hires_strength
                                             : o->init_rgb ? o->strength
                                                           : 0,
                       .clip_skip = o->clip_skip,
                       .pad_conds = r->padded ? "True" : NULL,
                       .ensd = r->ensd,
                       .rng = r->rng == BL_RNG_CPU ? "CPU" : NULL,
                       .noise_schedule = m->arch->zero_snr ? "Zero Terminal SNR" : NULL,
                       .lora_hashes = hashes,
                       .ti_hashes = of_embeddings,
                       .version = "Ballast " BALLAST_VERSION};
    if (r->second) { /* A1111 gives the first pass's size and how it grew */
        p.width = r->width;
        p.height = r->height;
        p.hires_upscale = o->hires_scale;
        p.hires_steps = o->hires_steps;
        p.hires_upscaler = r->upscaler->name;
    }
    result = bl_parameters_text(out, &p, err);
    free(prompt);
    free(hashes);
    free(of_embeddings);
    return result;
}
