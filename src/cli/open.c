#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void log_line(void *payload, int level, const char *line) {
    int most = *(const int *)payload;
    if (level <= most) {
        fprintf(stderr, "%s%s\n", level == BALLAST_LOG_WARNING ? "ballast: " : "", line);
    }
}

/* The embedded model: beside the program in a build tree, or where it was installed. */
static int find_embedded(char *path, size_t size) {
    static const char *const places[] = {"../models/ballast-mini.safetensors",
                                         "../../models/ballast-mini.safetensors",
                                         "../share/ballast/ballast-mini.safetensors"};
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0) {
        program[n] = 0;
        char *slash = strrchr(program, '/');
        if (slash) {
            *slash = 0;
        }
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            int length = snprintf(path, size, "%s/%s", program, places[i]);
            if (length > 0 && (size_t)length < size && !access(path, R_OK)) {
                return 0;
            }
        }
    }
    fprintf(stderr,
            "ballast: --model: none given, and the embedded model (ballast-mini.safetensors) is not here; "
            "give a .safetensors file or a diffusers folder\n");
    return EXIT_USAGE;
}

int open_model(ballast_context **context, ballast_model **model, const struct settings *s, const char *path) {
    static int log_level;
    char embedded[PATH_MAX + 64];
    if (!path) {
        path = setting_text(s, S_MODEL);
    }
    if (!path) {
        int result = find_embedded(embedded, sizeof embedded);
        if (result) {
            return result;
        }
        path = embedded;
    }
    log_level = setting_on(s, S_QUIET)     ? -1
                : setting_on(s, S_VERBOSE) ? BALLAST_LOG_INFO
                                           : BALLAST_LOG_WARNING;
    if (getenv("BALLAST_MOVE_DEBUG")) {
        log_level = BALLAST_LOG_DEBUG;
    }
    ballast_error err = {0};
    ballast_context_options co = BALLAST_CONTEXT_OPTIONS_INIT;
    co.threads = setting_int(s, S_THREADS);
    co.isa = setting_text(s, S_ISA);
    co.log = log_line;
    co.log_payload = &log_level;
    if (ballast_context_open(context, &co, &err)) {
        return report_error(&err);
    }
    ballast_model_options mo = BALLAST_MODEL_OPTIONS_INIT;
    mo.path = path;
    mo.vae_path = setting_text(s, S_VAE);
    mo.dtype = setting_text(s, S_DTYPE);
    mo.vae_dtype = setting_text(s, S_VAE_DTYPE);
    mo.prediction = setting_text(s, S_PREDICTION);
    if (ballast_model_open(model, *context, &mo, &err)) {
        ballast_context_close(context);
        return report_error(&err);
    }
    return 0;
}

void fill_generate_options(ballast_generate_options *o, const struct settings *s) {
    ballast_generate_options_init(o);
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
}
