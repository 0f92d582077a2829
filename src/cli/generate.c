#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct job {
    const struct settings *s;
    struct progress_bar bar;
    char *pattern, *latents_pattern; /* the second may be NULL */
    uint64_t seed;
    bool one_seed; /* of all pictures: with a variation it is that seed that goes up */
    bool overwrite;
    bool told; /* of flags without effect */
    struct like_hashes like;
    enum show_protocol show;
    struct preview_writer *previews; /* NULL: none is under way */
    json_t *files;                   /* one object a picture */
    int failed;                      /* exit code of a callback that could not write */
};

static uint64_t seed_of(const struct job *job, int picture) {
    return job->one_seed ? job->seed : job->seed + (uint64_t)picture;
}

static int on_progress(void *payload, const ballast_progress *p) {
    struct job *job = payload;
    if (!job->told) {
        job->told = true;
        tell_of_no_effect(job->s);
        tell_of_unseen_previews(job->s);
    }
    progress_bar_show(&job->bar, p);
    return interrupted() || job->failed;
}

static ballast_png_options png_of(const ballast_image *image) {
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = image->rgb;
    o.width = image->width;
    o.height = image->height;
    o.parameters = image->parameters;
    return o;
}

static int print_picture(const struct job *job, const ballast_image *image) {
    uint8_t *png = NULL;
    size_t bytes;
    ballast_error err = {0};
    ballast_png_options o = png_of(image);
    if (ballast_image_encode_png(&png, &bytes, &o, &err)) {
        return report_error(job->s, &err);
    }
    bool sent = send_stdout(png, bytes);
    ballast_bytes_free(&png);
    return sent ? 0 : report_stdout();
}

/* Is the name made of a seed that was drawn, so that nobody knows it who is not told? */
static bool hides_seed(const struct job *job) {
    const char *seed = setting_text(job->s, S_SEED);
    return strstr(job->pattern, "%s") && seed && !strcmp(seed, "-1");
}

static int write_picture(struct job *job, const ballast_image *image) {
    char path[4096];
    ballast_error err = {0};
    if (is_stdout(job->pattern)) {
        return print_picture(job, image);
    }
    int result = expand_pattern(path, sizeof path, job->s, S_OUTPUT, job->pattern, image->seed, image->index);
    if (result) {
        return result;
    }
    result = make_folders(job->s, S_OUTPUT, path);
    if (!result && setting_text(job->s, S_TRACE)) { /* written after the first batch */
        result = make_folders(job->s, S_TRACE, setting_text(job->s, S_TRACE));
    }
    if (result) {
        return result;
    }
    ballast_png_options o = png_of(image);
    if (ballast_image_write(&o, form_of(path), setting_int(job->s, S_QUALITY), path, job->overwrite, &err)) {
        return report_error(job->s, &err);
    }
    int lost =
        json_array_append_new(job->files, json_pack("{s:o, s:o, s:i, s:i, s:i}", "path", json_name(path),
                                                    "seed", json_seed(image->seed), "index", image->index,
                                                    "width", image->width, "height", image->height));
    if (!setting_on(job->s, S_JSON) && (!setting_on(job->s, S_QUIET) || hides_seed(job))) {
        printf("%s\n", path);
        flush_stdout();
    }
    if (lost) {
        return out_of_memory();
    }
    show_picture(job->show, image, setting_on(job->s, S_QUIET));
    return 0;
}

/* To the file, which it replaces, and to the terminal. */
static int on_preview(void *payload, const ballast_image *image) {
    struct job *job = payload;
    const char *path = setting_text(job->s, S_PREVIEW_FILE);
    if (job->failed) {
        return job->failed;
    }
    progress_bar_clear(&job->bar);
    if (path && !job->previews) {
        job->failed = make_folders(job->s, S_PREVIEW_FILE, path);
        job->previews = job->failed ? NULL : preview_writer_open(path, setting_int(job->s, S_QUALITY));
        job->failed = job->failed || job->previews ? job->failed : out_of_memory();
    }
    if (path && !job->failed) {
        job->failed = preview_writer_put(job->previews, image, job->s);
    }
    show_picture(job->show, image, setting_on(job->s, S_QUIET));
    return job->failed || interrupted();
}

static int on_image(void *payload, const ballast_image *image) {
    struct job *job = payload;
    progress_bar_clear(&job->bar);
    if (!setting_on(job->s, S_QUIET)) {
        tell_other_files(&job->like, image->parameters);
        free_like(&job->like); /* once */
    }
    if (!job->failed) { /* no preview comes after its picture, nor a picture after one that failed */
        job->failed = preview_writer_close(&job->previews, job->s);
    }
    if (!job->failed) {
        job->failed = write_picture(job, image);
    }
    return job->failed || interrupted();
}

static int on_latents(void *payload, const ballast_latents *latents) {
    struct job *job = payload;
    char path[4096];
    ballast_error err = {0};
    const int shape[4] = {1, latents->channels, latents->height, latents->width};
    progress_bar_clear(&job->bar);
    if (!job->failed) {
        job->failed = expand_pattern(path, sizeof path, job->s, S_SAVE_LATENTS, job->latents_pattern,
                                     latents->seed, latents->index);
    }
    if (!job->failed) {
        job->failed = make_folders(job->s, S_SAVE_LATENTS, path);
    }
    if (!job->failed && ballast_latents_write(latents->data, shape, path, job->overwrite, &err)) {
        job->failed = report_error(job->s, &err);
    }
    return job->failed;
}

/* Every file this request would write, looked at before the work starts. */
static int check_outputs(const struct job *job, int pictures) {
    char path[4096], latents_path[4096];
    int result = 0;
    for (int i = 0; i < pictures && !result; i++) {
        uint64_t seed = seed_of(job, i);
        result = expand_pattern(path, sizeof path, job->s, S_OUTPUT, job->pattern, seed, i);
        if (!result) {
            result = is_stdout(path) ? check_stdout(job->s, S_OUTPUT, pictures)
                                     : check_output(job->s, S_OUTPUT, path);
        }
        if (!result && i == 0) {
            result = check_suffix(job->s, S_OUTPUT, path);
        }
        if (result || !job->latents_pattern) {
            continue;
        }
        result = expand_pattern(latents_path, sizeof latents_path, job->s, S_SAVE_LATENTS,
                                job->latents_pattern, seed, i);
        if (!result) {
            result = check_output(job->s, S_SAVE_LATENTS, latents_path);
        }
        if (!result && !strcmp(path, latents_path)) {
            result = complain_of(job->s, S_SAVE_LATENTS, "\"%s\" is also the picture's name", path);
        }
    }
    return result;
}

/* The previews' file may be none of the pictures. */
static int check_preview(const struct job *job, const char *preview, int pictures) {
    char path[4096];
    int result = check_suffix(job->s, S_PREVIEW_FILE, preview);
    for (int i = 0; i < pictures && !result; i++) {
        result = expand_pattern(path, sizeof path, job->s, S_OUTPUT, job->pattern, seed_of(job, i), i);
        if (!result && !strcmp(path, preview)) {
            result = complain_of(job->s, S_PREVIEW_FILE, "\"%s\" is also the picture's name", preview);
        }
    }
    return result;
}

/* The trace's file, too; it may be none of the others. */
static int check_trace(const struct job *job, const char *trace, int pictures) {
    char path[4096];
    int result = check_output(job->s, S_TRACE, trace);
    for (int i = 0; i < 2 * pictures && !result; i++) {
        const char *pattern = i % 2 ? job->latents_pattern : job->pattern;
        if (!pattern) {
            continue;
        }
        result = expand_pattern(path, sizeof path, job->s, S_OUTPUT, pattern, seed_of(job, i / 2), i / 2);
        if (!result && !strcmp(path, trace)) {
            result =
                complain_of(job->s, S_TRACE, "\"%s\" is also the name of a picture or its latents", trace);
        }
    }
    return result;
}

static int print_report(const char *text, json_t *files) {
    json_t *report = json_loads(text, 0, NULL);
    if (json_object_set(report, "files", files)) {
        json_decref(report);
        report = NULL;
    }
    return print_json(report);
}

static int run(struct job *job, ballast_generate_options *o) {
    struct session session;
    char *report = NULL;
    ballast_error err = {0};
    o->progress = on_progress;
    o->image = on_image;
    o->save_latents = job->latents_pattern ? on_latents : NULL;
    o->payload = job;
    catch_interrupt();
    if (setting_on(job->s, S_SHOW) && !setting_on(job->s, S_JSON)) {
        job->show = find_show_protocol(setting_on(job->s, S_QUIET));
    }
    bool shown = setting_text(job->s, S_PREVIEW) && job->show != SHOW_NOTHING;
    o->preview = shown || setting_text(job->s, S_PREVIEW_FILE) ? on_preview : NULL;
    int result = open_session(&session, job->s, NULL, &job->bar);
    if (!result) {
        int code = ballast_generate(&report, session.model, o, &err);
        progress_bar_clear(&job->bar);
        int unwritten = preview_writer_close(&job->previews, job->s);
        result = job->failed ? job->failed : code ? report_error(job->s, &err) : unwritten;
    }
    if (!result && setting_on(job->s, S_JSON)) {
        result = print_report(report, job->files);
    }
    ballast_string_free(&report);
    close_session(&session);
    return result;
}

int command_generate(int argc, char **argv) {
    struct settings s;
    struct job job = {.s = &s};
    ballast_generate_options o;
    struct inputs in = {0};
    int result = settings_load(&s, CMD_GENERATE, 0, argc, argv);
    result = result ? result : apply_like(&s, &job.like);
    if (!result && !setting_text(&s, S_PROMPT)) {
        fprintf(stderr, "ballast: --prompt is missing: say what to draw, e.g. --prompt \"a red fox\"\n");
        result = EXIT_USAGE;
    }
    if (!result) {
        result = read_options(&o, &in, &s);
    }
    if (!result) {
        int pictures = o.batch * o.count;
        const char *output = setting_text(&s, S_OUTPUT), *save = setting_text(&s, S_SAVE_LATENTS);
        job.seed = o.seed;
        job.one_seed = o.variation_strength > 0;
        job.overwrite = setting_on(&s, S_OVERWRITE);
        job.pattern = distinct_pattern(output ? output : "ballast-%s.png", pictures, job.one_seed);
        job.latents_pattern = save ? distinct_pattern(save, pictures, job.one_seed) : NULL;
        job.files = json_array();
        progress_bar_open(&job.bar, setting_on(&s, S_QUIET), o.batch);
        if (!job.pattern || (save && !job.latents_pattern) || !job.files) {
            result = out_of_memory();
        } else {
            result = check_outputs(&job, pictures);
        }
        if (!result && setting_text(&s, S_PREVIEW_FILE)) {
            result = check_preview(&job, setting_text(&s, S_PREVIEW_FILE), pictures);
        }
        if (!result && setting_text(&s, S_TRACE)) {
            result = check_trace(&job, setting_text(&s, S_TRACE), pictures);
        }
    }
    if (!result) {
        result = run(&job, &o);
    }
    free_inputs(&in);
    free(job.pattern);
    free(job.latents_pattern);
    json_decref(job.files);
    free_like(&job.like);
    settings_free(&s);
    return result;
}
