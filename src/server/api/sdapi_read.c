/* From A1111's body to a request. */
#include "server/api/sdapi.h"

#include "ballast.h"
#include "server/base/base64.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* 32 bits, as A1111 draws them: every client's numbers hold them. */
uint64_t sd_draw_seed(void) {
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        seed = 1;
    }
    return seed;
}

static bool given(const char *text) {
    return text && *text && strcasecmp(text, "none") != 0;
}

int sd_resolve_sampler(struct picture_request *r, const char *sampler, const char *scheduler,
                       struct problem *p) {
    const char *name = NULL, *schedule = NULL;
    ballast_error err = {0};
    if (ballast_sampler_find(&name, &schedule, sampler, &err)) {
        return problem_set(p, 404, "sampler_name", "Sampler not found");
    }
    if (given(scheduler) && strcasecmp(scheduler, "automatic") != 0) {
        if (ballast_schedule_find(&schedule, scheduler, &err)) {
            return problem_set(p, 422, "scheduler", "%s", err.message);
        }
    }
    if (!picture_text_set(&r->sampler, name) || !picture_text_set(&r->schedule, schedule)) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    return 0;
}

int sd_check_size(const struct api *api, const struct picture_request *r, struct problem *p) {
    double scale = r->hires_scale > 0 ? r->hires_scale : 1;
    double pixels = (double)r->width * r->height * scale * scale;
    if (pixels > (double)api->options.most_pixels) {
        return problem_set(
            p, 422, "width", "width: %d x %d%s are more pixels than the %lld that are allowed (--max-pixels)",
            r->width, r->height, scale > 1 ? ", enlarged," : "", (long long)api->options.most_pixels);
    }
    if (r->steps > api->options.most_steps || r->hires_steps > api->options.most_steps) {
        return problem_set(p, 422, "steps", "steps: at most %d are allowed (--max-steps)",
                           api->options.most_steps);
    }
    if ((long long)r->batch * r->count > api->options.most_pictures) {
        return problem_set(p, 422, "n_iter",
                           "n_iter: %d times %d are more than the %d pictures that are allowed", r->count,
                           r->batch, api->options.most_pictures);
    }
    return 0;
}

int sd_read_picture(const struct api *api, char **file, size_t *bytes, int size[2], const json_t *value,
                    const char *field, struct problem *p) {
    const char *text = json_string_value(value), *comma;
    uint8_t *rgb = NULL;
    ballast_error err = {0};
    *file = NULL;
    if (!text) {
        return problem_set(p, 422, field, "%s: a picture in base64 is needed", field);
    }
    if (!strncmp(text, "data:", 5) && (comma = strchr(text, ','))) {
        text = comma + 1;
    } else if (!strncmp(text, "http://", 7) || !strncmp(text, "https://", 8)) {
        return problem_set(p, 422, field, "%s: pictures are not fetched from addresses; send them in base64",
                           field);
    }
    *file = base64_decode(text, strlen(text), bytes);
    if (!*file || !*bytes) {
        free(*file);
        *file = NULL;
        return problem_set(p, 422, field, "%s: this is no base64", field);
    }
    int code = ballast_image_decode(&rgb, &size[0], &size[1], NULL, NULL, *file, *bytes,
                                    (size_t)api->options.most_pixels, &err);
    ballast_bytes_free(&rgb);
    if (code) {
        free(*file);
        *file = NULL;
        return problem_set(p, code == BALLAST_E_MEMORY ? 503 : 422, field, "%s: %s", field, err.message);
    }
    return 0;
}

char *sd_current_model(struct api *api) {
    char *title = NULL, *known = NULL;
    api->service.get_setting(api->service.self, "sd_model_checkpoint", &title, NULL);
    if (title && !api->service.find_model(api->service.self, title, &known, NULL)) {
        free(title);
        return known;
    }
    free(title);
    json_t *models = api->service.models(api->service.self);
    const char *first = json_string_value(json_object_get(json_array_get(models, 0), "title"));
    known = strdup(first ? first : "");
    json_decref(models);
    return known;
}

void sd_recommend(const struct api *api, struct picture_request *r) {
    if (r->steps && r->cfg >= 0) {
        return;
    }
    json_t *models = api->service.models(api->service.self), *model;
    int steps = 0;
    double cfg = -1;
    size_t i;
    json_array_foreach(models, i, model) {
        const char *title = json_string_value(json_object_get(model, "title"));
        const json_t *recommended = json_object_get(model, "recommended"),
                     *its_cfg = json_object_get(recommended, "cfg");
        if (title && r->model && !strcmp(title, r->model)) {
            steps = (int)json_integer_value(json_object_get(recommended, "steps"));
            cfg = json_is_number(its_cfg) ? json_number_value(its_cfg) : -1;
        }
    }
    json_decref(models);
    r->steps = r->steps ? r->steps : steps ? steps : 20;
    r->cfg = r->cfg >= 0 ? r->cfg : cfg >= 0 ? cfg : 7;
}

/* Scripts that are off may stand there; one that is on is not run, and would be missed. */
static int check_scripts(json_t *scripts, struct problem *p) {
    const char *name;
    json_t *script, *unit;
    size_t i;
    json_object_foreach(scripts, name, script) {
        json_t *args = json_is_object(script) ? json_object_get(script, "args") : script;
        bool off = !args || field_is_neutral(args) || json_is_false(json_array_get(args, 0));
        bool units = json_is_array(args) && json_array_size(args) > 0;
        json_array_foreach(args, i, unit) {
            json_t *enabled = json_object_get(unit, "enabled");
            units = units && enabled && !json_is_true(enabled);
        }
        if (!off && !units) {
            return problem_set(p, 422, "alwayson_scripts",
                               "alwayson_scripts: there is no script \"%.80s\" here", name);
        }
    }
    return 0;
}

/* A setting: of the request, else the kept one, else NULL. */
static char *setting_or(struct api *api, const char *own, const char *key) {
    char *value = NULL;
    if (own) {
        return strdup(own);
    }
    api->service.get_setting(api->service.self, key, &value, NULL);
    return value;
}

/* A setting that is a number: of the request where it holds it, else the kept one. */
static int number_or(struct api *api, const json_t *overrides, const char *key, int own, int fallback) {
    char *value = NULL;
    int number = own;
    if (!json_object_get(overrides, key)) {
        api->service.get_setting(api->service.self, key, &value, NULL);
        number = value ? (int)strtol(value, NULL, 10) : fallback;
    }
    free(value);
    return number;
}

int sd_check_vae(struct api *api, const char *name, struct problem *p) {
    static const char *const keys[] = {"title", "model_name", "filename"};
    json_t *vaes, *vae;
    size_t i;
    bool known = !given(name) || !strcasecmp(name, "automatic");
    if (known) {
        return 0;
    }
    vaes = api->service.vaes(api->service.self);
    json_array_foreach(vaes, i, vae) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            const char *text = json_string_value(json_object_get(vae, keys[k]));
            size_t n = strlen(name);
            known = known || (text && !strncasecmp(text, name, n) &&
                              (!text[n] || !strcasecmp(text + n, ".safetensors")));
        }
    }
    json_decref(vaes);
    return known ? 0
                 : problem_set(p, 404, "sd_vae", "sd_vae: there is no VAE \"%.100s\"; GET sd-vae lists them",
                               name);
}

int sd_check_rng(const char *name, struct problem *p) {
    bool known = !name || !strcasecmp(name, "CPU") || !strcasecmp(name, "GPU") || !strcasecmp(name, "NV");
    return known ? 0 : problem_set(p, 422, "randn_source", "randn_source: CPU, GPU or NV");
}

const char *sd_format(const char *name) {
    static const char *const names[][2] = {
        {"png", "png"}, {"jpg", "jpeg"}, {"jpeg", "jpeg"}, {"webp", "webp"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcasecmp(name, names[i][0])) {
            return names[i][1];
        }
    }
    return NULL;
}

int sd_check_format(const char *name, struct problem *p) {
    return !name || !*name || sd_format(name)
               ? 0
               : problem_set(p, 422, "samples_format", "samples_format: png, jpg or webp");
}

int sd_check_decode_method(const struct api *api, const char *name, struct problem *p) {
    if (!name || !*name || !strcasecmp(name, "Full")) {
        return 0;
    }
    if (strcasecmp(name, "TAESD") != 0) {
        return problem_set(p, 422, "sd_vae_decode_method", "sd_vae_decode_method: Full or TAESD");
    }
    return api->options.taesd ? 0
                              : problem_set(p, 422, "sd_vae_decode_method",
                                            "sd_vae_decode_method: TAESD needs a server with --taesd FILE");
}

static int read_settings(struct api *api, struct picture_request *r, struct sd_body *b, json_t *warnings,
                         struct problem *p) {
    struct sd_settings s = {0};
    char *value, *vae;
    if (b->override_settings) {
        int status = fields_read(&s, sd_setting_fields, b->override_settings, warnings, p);
        status = status ? status : sd_check_vae(api, s.vae, p);
        status = status ? status : sd_check_rng(s.randn_source, p);
        status = status ? status : sd_check_format(s.samples_format, p);
        status = status ? status : sd_check_decode_method(api, s.decode_method, p);
        if (status) {
            return status;
        }
    }
    const char *model = given(b->model) ? b->model : given(s.checkpoint) ? s.checkpoint : NULL;
    if (model) {
        free(r->model);
        r->model = NULL;
        int status = api->service.find_model(api->service.self, model, &r->model, p);
        if (status) {
            return status;
        }
        if (!b->restore_afterwards && s.checkpoint) {
            api->service.set_setting(api->service.self, "sd_model_checkpoint", r->model, NULL);
        }
    } else {
        r->model = sd_current_model(api);
    }
    int skip = number_or(api, b->override_settings, "CLIP_stop_at_last_layers", s.clip_skip, 1);
    r->clip_skip = skip > 1 ? skip : 0; /* 1 is what the model was trained with */
    r->ensd = number_or(api, b->override_settings, "eta_noise_seed_delta", s.ensd, 0);
    r->pad_conds = number_or(api, b->override_settings, "pad_cond_uncond", s.pad_conds, 0);
    value = setting_or(api, s.randn_source, "randn_source");
    bool gpu = value && strcasecmp(value, "cpu") != 0; /* a card's numbers, which NV are as well */
    free(value);
    value = setting_or(api, given(s.samples_format) ? s.samples_format : NULL, "samples_format");
    b->format = value ? sd_format(value) : "png";
    free(value);
    value = setting_or(api, given(s.decode_method) ? s.decode_method : NULL, "sd_vae_decode_method");
    /* It may have been kept by a server that had --taesd. */
    const char *decode = value && api->options.taesd && !strcasecmp(value, "TAESD") ? "taesd" : NULL;
    free(value);
    vae = setting_or(api, s.vae, "sd_vae");
    bool good = picture_text_set(&r->rng, gpu ? "gpu" : "cpu") &&
                picture_text_set(&r->decode, b->decode ? b->decode : decode);
    if (given(vae) && strcasecmp(vae, "automatic") != 0) {
        good = good && picture_text_set(&r->vae, vae);
    }
    free(vae);
    return good && r->model ? 0 : problem_set(p, 503, NULL, "out of memory");
}

static bool other(const char *text, const char *same) {
    return given(text) && strncasecmp(text, "use same", 8) != 0 && strcasecmp(text, "automatic") != 0 &&
           (!same || strcmp(text, same) != 0);
}

static int read_hires(struct picture_request *r, const struct sd_body *b, struct problem *p) {
    const struct {
        const char *field, *text, *same;
    } others[] = {{"hr_checkpoint_name", b->hr_checkpoint, NULL},
                  {"hr_sampler_name", b->hr_sampler, b->sampler_name},
                  {"hr_scheduler", b->hr_scheduler, b->scheduler},
                  {"hr_prompt", b->hr_prompt, b->prompt},
                  {"hr_negative_prompt", b->hr_negative, b->negative_prompt}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (other(others[i].text, others[i].same)) {
            return problem_set(p, 422, others[i].field,
                               "%s: the second pass takes the first one's; leave it out", others[i].field);
        }
    }
    double scale = b->hr_scale;
    if (b->hr_resize_x || b->hr_resize_y) {
        double x = b->hr_resize_x ? (double)b->hr_resize_x / b->width : 0;
        double y = b->hr_resize_y ? (double)b->hr_resize_y / b->height : 0;
        if (!b->width || !b->height || (x > 0 && y > 0 && fabs(x - y) > 0.01)) {
            return problem_set(p, 422, "hr_resize_x",
                               "hr_resize_x: it has to keep the shape of width x height");
        }
        scale = x > y ? x : y;
    }
    if (scale < 1) {
        return problem_set(p, 422, "hr_scale", "hr_scale: the second pass cannot be smaller than the first");
    }
    const char *upscaler = given(b->hr_upscaler)               ? b->hr_upscaler
                           : b->hr_upscaler && *b->hr_upscaler ? "Lanczos"
                                                               : "Latent";
    const char *found = NULL;
    for (int i = 0; ballast_upscaler_name(i); i++) {
        if (!strcasecmp(upscaler, ballast_upscaler_name(i))) {
            found = ballast_upscaler_name(i);
        }
    }
    if (!found) {
        return problem_set(
            p, 422, "hr_upscaler",
            "hr_upscaler: there is no \"%.80s\"; GET upscalers and latent-upscale-modes list them", upscaler);
    }
    r->hires_scale = scale;
    r->hires_steps = b->hr_steps;
    r->hires_strength = b->denoising_strength;
    return picture_text_set(&r->hires_upscaler, found) ? 0 : problem_set(p, 503, NULL, "out of memory");
}

int sd_whole(int pixels, const char *name, json_t *warnings) {
    char line[96];
    if (pixels % 8) {
        snprintf(line, sizeof line, "%s: %d is no multiple of 8, so %d was taken", name, pixels,
                 pixels / 8 * 8);
        json_array_append_new(warnings, json_string(line));
    }
    return pixels / 8 * 8;
}

/* Several start pictures are a batch, as A1111 has it. */
static int read_init(struct api *api, struct picture_request *r, const struct sd_body *b, struct problem *p) {
    static const char *const fits[] = {"stretch", "crop", "pad"};
    size_t count = json_array_size(b->init_images);
    if (b->resize_mode == 3) {
        return problem_set(p, 422, "resize_mode",
                           "resize_mode: latents are not enlarged here; 0 stretches the picture");
    }
    if (count > 1 && count > (size_t)b->batch_size) {
        return problem_set(p, 422, "init_images",
                           "init_images: %zu pictures to start from, in a batch of %d; send batch_size: %zu",
                           count, b->batch_size, count);
    }
    int status =
        picture_text_set(&r->fit, fits[b->resize_mode]) ? 0 : problem_set(p, 503, NULL, "out of memory");
    for (size_t i = 0; !status && (i < count || !i); i++) {
        char *file = NULL;
        size_t bytes;
        int size[2];
        status =
            sd_read_picture(api, &file, &bytes, size, json_array_get(b->init_images, i), "init_images", p);
        if (!status && !picture_init_add(r, file, bytes)) {
            status = problem_set(p, 503, NULL, "out of memory");
        }
        free(file);
    }
    r->batch = count > 1 ? (int)count : r->batch;
    return status;
}

static int check_decode(const struct sd_body *b, struct problem *p) {
    const char *word = b->tiled_decode, *by = b->decode;
    if (word && strcmp(word, "off") != 0 && strcmp(word, "auto") != 0 && strcmp(word, "on") != 0) {
        return problem_set(p, 422, "tiled_decode", "tiled_decode: \"%.40s\" is none of off, auto, on", word);
    }
    return !by || !strcmp(by, "vae") || !strcmp(by, "taesd")
               ? 0
               : problem_set(p, 422, "decode", "decode: \"%.40s\" is none of vae, taesd", by);
}

int sd_read(struct api *api, struct picture_request *r, struct sd_body *b, const struct field *fields,
            json_t *object, json_t *warnings, struct problem *p) {
    picture_request_init(r);
    *b = (struct sd_body){.eta = -1, .cfg_scale = -1, .guidance = -1};
    int status = fields_read(b, fields, object, warnings, p);
    status = status ? status : check_scripts(b->alwayson_scripts, p);
    if (status) {
        return status;
    }
    if (b->styles && !field_is_neutral(b->styles)) {
        json_array_append_new(warnings, json_string("styles: there are none here, so they were left out"));
    }
    r->width = sd_whole(b->width, "width", warnings);
    r->height = sd_whole(b->height, "height", warnings);
    r->steps = b->steps;
    r->cfg = b->cfg_scale;
    r->guidance = b->guidance;
    r->cfg_rescale = b->cfg_rescale;
    r->eta = b->eta;
    r->batch = b->batch_size;
    r->count = b->n_iter;
    r->seed = b->seed.random ? sd_draw_seed() : b->seed.value;
    r->variation_strength = b->subseed_strength;
    r->variation_seed = b->subseed.random ? sd_draw_seed() : b->subseed.value;
    r->strength = b->denoising_strength;
    if (!picture_text_set(&r->prompt, b->prompt) ||
        !picture_text_set(&r->negative_prompt, b->negative_prompt) ||
        !picture_text_set(&r->tiled_decode, b->tiled_decode) ||
        !picture_text_set(&r->missing_adapters, "leave")) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    status = sd_resolve_sampler(r,
                                given(b->sampler_name)    ? b->sampler_name
                                : given(b->sampler_index) ? b->sampler_index
                                                          : "Euler",
                                b->scheduler, p);
    status = status ? status : read_settings(api, r, b, warnings, p);
    if (!status) {
        sd_recommend(api, r);
    }
    status = status ? status : check_decode(b, p);
    if (!status && b->enable_hr) {
        status = read_hires(r, b, p);
    }
    status = status ? status : sd_check_size(api, r, p);
    bool from_picture =
        fields == sd_img2img_fields || fields == own_img2img_fields || json_array_size(b->init_images) > 0;
    return status || !from_picture ? status : read_init(api, r, b, p);
}
