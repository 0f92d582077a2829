/* txt2img and img2img: a body becomes a job, its end the answer. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SD_QUALITY 80 /* of JPEG and WebP; A1111's own default */

static json_t *get(const json_t *object, const char *key) {
    return json_object_get(object, key);
}

static void put(json_t *object, const char *key, const json_t *value) {
    json_object_set_new(object, key, value ? json_incref((json_t *)value) : json_null());
}

json_t *ballast_part(const json_t *job) {
    json_t *report = get(job, "report"), *batches = get(report, "batches");
    json_t *last = json_array_size(batches) ? json_array_get(batches, json_array_size(batches) - 1) : NULL;
    json_t *line = get(last, "line"), *warnings = get(job, "warnings");
    json_t *part = json_object();
    json_object_set(part, "job", get(job, "id"));
    json_object_set(part, "state", get(job, "state"));
    json_object_set_new(part, "timings", line ? json_incref(line) : json_null());
    json_object_set_new(part, "line", line ? json_incref(get(line, "text")) : json_null());
    put(part, "hint", get(report, "hint"));
    json_object_set_new(part, "plan", last ? json_incref(get(last, "plan")) : json_null());
    put(part, "after_idle", get(report, "after_idle"));
    put(part, "batched_with", get(job, "batched_with"));
    json_object_set_new(part, "warnings", json_is_array(warnings) ? json_incref(warnings) : json_array());
    return part;
}

/* The pictures in base64, of the form that `samples_format` had when they were asked for. */
static int pictures_of(struct api *api, const json_t *job, json_t *out, struct problem *p) {
    const char *format = json_string_value(get(get(job, "asked"), "format"));
    json_t *image;
    size_t i;
    json_array_foreach(get(job, "images"), i, image) {
        char *text =
            picture_text(api, json_string_value(get(job, "id")), (int)json_integer_value(get(image, "index")),
                         format ? format : "png", SD_QUALITY, p);
        int status = text ? 0 : p->status;
        if (text && json_array_append_new(out, json_string_nocheck(text))) {
            status = problem_set(p, 503, NULL, "out of memory");
        }
        free(text);
        if (status) {
            return status;
        }
    }
    return 0;
}

/* A seed and those that follow it. */
static json_t *count_up(json_t *list, const json_t *first, bool up, size_t count) {
    json_int_t seed = json_integer_value(first);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(up ? seed + (json_int_t)i : seed));
    }
    return list;
}

static json_t *repeat(const json_t *value, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append(list, value ? (json_t *)value : json_null());
    }
    return list;
}

/* A text that was not given is empty in A1111's answers, never null. */
static json_t *text_or_empty(const json_t *value) {
    return json_is_string(value) ? json_incref((json_t *)value) : json_string("");
}

/* The model's name without folder and suffix, and its short hash once that is known. */
static void put_model(struct api *api, json_t *info, const json_t *title) {
    json_t *models = api->service.models(api->service.self), *model, *known = NULL;
    size_t i;
    json_array_foreach(models, i, model) {
        if (title && json_equal(get(model, "title"), title)) {
            known = model;
        }
    }
    put(info, "sd_model_name", known ? get(known, "model_name") : title);
    put(info, "sd_model_hash", get(known, "hash"));
    json_decref(models);
}

/* What A1111 puts into `info`, as an object. */
static json_t *info_of(struct api *api, const json_t *job) {
    json_t *prompt = text_or_empty(get(get(job, "request"), "prompt"));
    json_t *negative = text_or_empty(get(get(job, "request"), "negative_prompt"));
    const json_t *r = get(job, "request"), *images = get(job, "images"), *first = json_array_get(images, 0),
                 *image;
    size_t count = json_array_size(images), i;
    json_t *info = json_object(), *infotexts = json_array(), *seeds = json_array();
    bool variation = json_number_value(get(r, "variation_strength")) > 0;
    char stamp[24];
    time_t created = (time_t)json_number_value(get(job, "created"));
    struct tm tm;
    json_array_foreach(images, i, image) {
        json_array_append(infotexts, get(image, "parameters"));
        json_array_append(seeds, variation ? get(r, "seed") : get(image, "seed"));
    }
    json_object_set_new(info, "all_prompts", repeat(prompt, count));
    json_object_set_new(info, "prompt", prompt);
    json_object_set_new(info, "all_negative_prompts", repeat(negative, count));
    json_object_set_new(info, "negative_prompt", negative);
    put(info, "seed", get(r, "seed"));
    json_object_set_new(info, "all_seeds", seeds);
    put(info, "subseed", get(r, "variation_seed"));
    json_object_set_new(info, "all_subseeds", count_up(json_array(), get(r, "variation_seed"), true, count));
    put(info, "subseed_strength", get(r, "variation_strength"));
    put(info, "width", first ? get(first, "width") : get(r, "width"));
    put(info, "height", first ? get(first, "height") : get(r, "height"));
    put(info, "sampler_name", get(r, "sampler"));
    put(info, "cfg_scale", get(r, "cfg"));
    put(info, "steps", get(r, "steps"));
    put(info, "batch_size", get(r, "batch"));
    json_object_set_new(info, "restore_faces", json_false());
    put(info, "face_restoration_model", NULL);
    put_model(api, info, get(r, "model"));
    put(info, "sd_vae_name", get(r, "vae"));
    put(info, "sd_vae_hash", NULL);
    json_object_set_new(info, "seed_resize_from_w", json_integer(-1));
    json_object_set_new(info, "seed_resize_from_h", json_integer(-1));
    put(info, "denoising_strength", get(r, "strength"));
    json_object_set_new(info, "extra_generation_params", json_object());
    json_object_set_new(info, "index_of_first_image", json_integer(0));
    json_object_set_new(info, "infotexts", infotexts);
    json_object_set_new(info, "styles", json_array());
    localtime_r(&created, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &tm);
    json_object_set_new(info, "job_timestamp", json_string(stamp));
    json_int_t skip = json_integer_value(get(r, "clip_skip"));
    json_object_set_new(info, "clip_skip", json_integer(skip ? skip : 1));
    json_object_set_new(info, "is_using_inpainting_conditioning", json_false());
    json_object_set_new(info, "version", json_string("ballast"));
    return info;
}

static json_t *answer_of(struct api *api, const json_t *job, struct problem *p) {
    json_t *asked = get(job, "asked"), *images = json_array(), *info = info_of(api, job);
    int status = json_is_false(get(asked, "send_images")) ? 0 : pictures_of(api, job, images, p);
    char *text = json_dumps(info, JSON_ENSURE_ASCII);
    json_decref(info);
    if (status || !text) {
        free(text);
        json_decref(images);
        return NULL;
    }
    json_t *answer = json_pack("{s:o, s:O?, s:s, s:o}", "images", images, "parameters",
                               get(asked, "parameters"), "info", text, "ballast", ballast_part(job));
    free(text);
    return answer;
}

static void on_done(struct api *api, struct exchange *x, bool streaming, const json_t *job, void *payload) {
    struct problem p = {0};
    json_t *answer = NULL;
    const char *state = json_string_value(get(job, "state"));
    (void)payload;
    if (!strcmp(state, "running") ||
        !strcmp(state, "queued")) { /* it has ended, and that could not be kept */
        problem_set(&p, 507, NULL,
                    "the job's end cannot be kept: the data folder cannot be written; make room");
    } else if (!strcmp(state, "failed")) {
        const char *error = json_string_value(get(job, "error"));
        json_int_t status = json_integer_value(get(job, "status"));
        problem_set(&p, status ? (int)status : 500, status == 422 ? "request" : NULL, "%s",
                    error ? error : "it failed");
    } else {
        answer = answer_of(api, job, &p);
    }
    if (!streaming && answer) {
        reply_json(x, 200, answer);
    } else if (!streaming) {
        reply_problem(x, &p);
    } else {
        char *text = answer ? json_dumps(answer, JSON_COMPACT) : api_describe(x->path, &p);
        exchange_write(x, text ? text : "{}", text ? strlen(text) : 2);
        exchange_end(x);
        free(text);
        json_decref(answer);
    }
}

static void make(struct call *c, const struct field *fields) {
    struct picture_request r;
    struct sd_body body;
    struct problem p = {0};
    char id[JOB_ID];
    json_t *warnings = json_array();
    int status = sd_read(c->api, &r, &body, fields, c->body, warnings, &p);
    if (!status) {
        json_t *echo = fields_echo(fields, c->body);
        if (!body.include_init_images) {
            json_object_set_new(echo, "init_images", json_null());
        }
        json_t *asked = json_pack("{s:o, s:b, s:s}", "parameters", echo, "send_images", body.send_images,
                                  "format", body.format);
        struct submission s = {.source = "sdapi",
                               .request = &r,
                               .asked = asked,
                               .warnings = warnings,
                               .priority = body.priority};
        status = c->api->service.submit(c->api->service.self, &s, id, &p);
        json_decref(asked);
    }
    json_decref(warnings);
    picture_request_free(&r);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        wait_for(c, id, on_done, NULL);
    }
}

void sd_txt2img(struct call *c) {
    make(c, sd_txt2img_fields);
}

void sd_img2img(struct call *c) {
    make(c, sd_img2img_fields);
}
