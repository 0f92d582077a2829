#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const struct settings *s;
    struct progress_bar bar;
    char *pattern, *latents_pattern;
    uint64_t seed;
    int failed; /* exit code of a callback that could not write */
};

static int on_progress(void *payload, const ballast_progress *p) {
    struct job *job = payload;
    progress_bar_show(&job->bar, p);
    return interrupted();
}

static int on_image(void *payload, const ballast_image *image) {
    struct job *job = payload;
    char path[4096];
    ballast_error err = {0};
    progress_bar_clear(&job->bar);
    job->failed = expand_pattern(path, sizeof path, job->pattern, image->seed, image->index);
    if (!job->failed && ballast_image_write_png(image, path, setting_on(job->s, S_OVERWRITE), &err)) {
        job->failed = report_error(&err);
    }
    if (job->failed) {
        return 1;
    }
    if (!setting_on(job->s, S_JSON)) {
        printf("%s\n", path);
        if (setting_on(job->s, S_SHOW)) {
            show_picture(path);
        }
        fflush(stdout);
    }
    return interrupted();
}

static void on_latents(void *payload, const float *latents, int index, int height, int width) {
    struct job *job = payload;
    char path[4096];
    ballast_error err = {0};
    const int shape[4] = {1, 4, height, width};
    if (job->failed ||
        expand_pattern(path, sizeof path, job->latents_pattern, job->seed + (uint64_t)index, index)) {
        return;
    }
    if (ballast_latents_write(latents, shape, path, setting_on(job->s, S_OVERWRITE), &err)) {
        job->failed = report_error(&err);
    }
}

/* Every file this request would write, looked at before the work starts. */
static int check_outputs(const struct job *job, int pictures) {
    for (int i = 0; i < pictures; i++) {
        const char *const patterns[] = {job->pattern, job->latents_pattern};
        for (int k = 0; k < 2; k++) {
            char path[4096];
            if (!patterns[k]) {
                continue;
            }
            int result = expand_pattern(path, sizeof path, patterns[k], job->seed + (uint64_t)i, i);
            if (!result) {
                result = check_output(path, setting_on(job->s, S_OVERWRITE));
            }
            if (result) {
                return result;
            }
        }
    }
    return 0;
}

/* FILE or FILE:TENSOR. */
static int read_latents(ballast_generate_options *o, float **data, const char *text) {
    int shape[4];
    ballast_error err = {0};
    char *copy = strdup(text);
    if (!copy) {
        return EXIT_OURS;
    }
    char *colon = strrchr(copy, ':');
    const char *tensor = NULL;
    if (colon && !strchr(colon, '/')) {
        *colon = 0;
        tensor = colon + 1;
    }
    int result = ballast_latents_read(data, shape, copy, tensor, &err) ? report_error(&err) : 0;
    free(copy);
    if (!result) {
        o->latents = *data;
        o->latents_batch = shape[0];
        o->latents_height = shape[2];
        o->latents_width = shape[3];
    }
    return result;
}

static int run(struct job *job, ballast_generate_options *o) {
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    char *report = NULL;
    ballast_error err = {0};
    int result = open_model(&context, &model, job->s, NULL);
    if (result) {
        return result;
    }
    catch_interrupt();
    if (ballast_generate(&report, model, o, &err)) {
        progress_bar_clear(&job->bar);
        result = job->failed ? job->failed : report_error(&err);
    } else if (job->failed) {
        result = job->failed;
    } else if (setting_on(job->s, S_JSON)) {
        printf("%s\n", report);
    }
    ballast_string_free(&report);
    ballast_model_close(&model);
    ballast_context_close(&context);
    return result;
}

int command_generate(int argc, char **argv) {
    struct settings s;
    struct job job = {.s = &s};
    ballast_generate_options o;
    uint8_t *init = NULL;
    float *latents = NULL;
    ballast_error err = {0};
    int result = settings_load(&s, CMD_GENERATE, 0, argc, argv);
    if (!result && !setting_text(&s, S_PROMPT)) {
        fprintf(stderr, "ballast: --prompt is missing: say what to draw, e.g. --prompt \"a red fox\"\n");
        result = EXIT_USAGE;
    }
    if (result) {
        goto done;
    }
    fill_generate_options(&o, &s);
    int pictures = o.batch * o.count;
    const char *output = setting_text(&s, S_OUTPUT), *save = setting_text(&s, S_SAVE_LATENTS);
    job.seed = o.seed;
    job.pattern = distinct_pattern(output ? output : "ballast-%s.png", pictures);
    job.latents_pattern = save ? distinct_pattern(save, pictures) : NULL;
    progress_bar_open(&job.bar, setting_on(&s, S_QUIET));
    if (!job.pattern || (save && !job.latents_pattern)) {
        result = EXIT_OURS;
        goto done;
    }
    result = check_outputs(&job, pictures);
    if (!result && setting_text(&s, S_INIT_IMAGE)) {
        if (ballast_image_read_png(&init, &o.init_width, &o.init_height, setting_text(&s, S_INIT_IMAGE),
                                   &err)) {
            result = report_error(&err);
        }
        o.init_rgb = init;
    }
    if (!result && setting_text(&s, S_LATENTS)) {
        result = read_latents(&o, &latents, setting_text(&s, S_LATENTS));
    }
    if (!result) {
        o.progress = on_progress;
        o.image = on_image;
        o.save_latents = job.latents_pattern ? on_latents : NULL;
        o.payload = &job;
        result = run(&job, &o);
    }
done:
    ballast_pixels_free(&init);
    ballast_floats_free(&latents);
    free(job.pattern);
    free(job.latents_pattern);
    settings_free(&s);
    return result;
}
