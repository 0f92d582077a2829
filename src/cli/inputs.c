#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fill(ballast_generate_options *o, const struct settings *s) {
    ballast_generate_options_init(o, sizeof *o);
    o->prompt = setting_text(s, S_PROMPT);
    o->negative_prompt = setting_text(s, S_NEGATIVE);
    o->width = setting_int(s, S_WIDTH);
    o->height = setting_int(s, S_HEIGHT);
    o->steps = setting_int(s, S_STEPS);
    o->sampler = setting_text(s, S_SAMPLER);
    o->schedule = setting_text(s, S_SCHEDULE);
    o->cfg = setting_number(s, S_CFG);
    o->cfg_rescale = setting_number(s, S_CFG_RESCALE);
    o->eta = setting_text(s, S_ETA) ? setting_number(s, S_ETA) : -1;
    o->seed = setting_seed(s, S_SEED);
    o->batch = setting_int(s, S_BATCH);
    o->count = setting_int(s, S_COUNT);
    o->clip_skip = setting_int(s, S_CLIP_SKIP);
    o->rng = setting_text(s, S_RNG);
    o->compat = setting_text(s, S_COMPAT);
    o->variation_seed = setting_seed(s, S_VARIATION_SEED);
    o->variation_strength = setting_number(s, S_VARIATION_STRENGTH);
    o->strength = setting_number(s, S_STRENGTH);
    o->hires_scale = setting_number(s, S_HIRES);
    o->hires_steps = setting_int(s, S_HIRES_STEPS);
    o->hires_strength = setting_number(s, S_HIRES_STRENGTH);
    o->hires_upscaler = setting_text(s, S_HIRES_UPSCALER);
    o->offload = setting_text(s, S_OFFLOAD);
    o->budget = setting_text(s, S_BUDGET);
    o->reserve = setting_text(s, S_RESERVE);
    o->low = setting_text(s, S_LOW) ? setting_number(s, S_LOW) : -1;
    o->high = setting_text(s, S_HIGH) ? setting_number(s, S_HIGH) : -1;
    o->never = setting_text(s, S_NEVER);
    o->always = setting_text(s, S_ALWAYS);
    o->fit_check = setting_on(s, S_FIT_CHECK);
    o->tiled_decode = setting_text(s, S_TILED_DECODE);
    o->hints = setting_on(s, S_HINT);
    o->verbose = setting_on(s, S_VERBOSE);
    o->trace_path = setting_text(s, S_TRACE);
}

/* FILE or FILE:TENSOR; a colon may also be part of the file's name. */
static int read_latents(ballast_generate_options *o, float **data, const struct settings *s) {
    const char *text = setting_text(s, S_LATENTS);
    int shape[4];
    ballast_error err = {0};
    char *copy = strdup(text);
    if (!copy) {
        return out_of_memory();
    }
    char *colon = access(text, F_OK) ? strrchr(copy, ':') : NULL;
    const char *tensor = NULL;
    if (colon) {
        *colon = 0;
        tensor = colon + 1;
    }
    int result = ballast_latents_read(data, shape, copy, tensor, &err) ? report_error(s, &err) : 0;
    free(copy);
    if (!result) {
        o->latents = *data;
        o->latents_batch = shape[0];
        o->latents_height = shape[2];
        o->latents_width = shape[3];
    }
    return result;
}

int read_options(ballast_generate_options *o, struct inputs *in, const struct settings *s) {
    ballast_error err = {0};
    const char *image = setting_text(s, S_INIT_IMAGE);
    fill(o, s);
    if (image) {
        if (ballast_image_read_png(&in->init, &o->init_width, &o->init_height, image, &err)) {
            return report_error(s, &err);
        }
        o->init_rgb = in->init;
    }
    return setting_text(s, S_LATENTS) ? read_latents(o, &in->latents, s) : 0;
}

void free_inputs(struct inputs *in) {
    ballast_bytes_free(&in->init);
    ballast_floats_free(&in->latents);
}
