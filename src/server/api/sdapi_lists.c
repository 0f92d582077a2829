/* What A1111 lists. A list of things that are not here is empty, and there. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include "ballast.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void sd_models(struct call *c) {
    reply_json(c->x, 200, c->api->service.models(c->api->service.self));
}

void sd_vaes(struct call *c) {
    json_t *list = json_array(), *vaes = c->api->service.vaes(c->api->service.self), *vae;
    size_t i;
    json_array_foreach(vaes, i, vae) {
        json_array_append_new(list, json_pack("{s:O, s:O}", "model_name", json_object_get(vae, "title"),
                                              "filename", json_object_get(vae, "filename")));
    }
    json_decref(vaes);
    reply_json(c->x, 200, list);
}

/* As there an alias is never null. What trainers put into the metadata is not passed on. */
void sd_loras(struct call *c) {
    json_t *list = json_array(), *adapters = c->api->service.adapters(c->api->service.self), *x;
    size_t i;
    json_array_foreach(adapters, i, x) {
        json_t *name = json_object_get(x, "name"), *alias = json_object_get(x, "alias");
        json_array_append_new(list, json_pack("{s:O, s:O, s:O, s:{}}", "name", name, "alias",
                                              json_is_string(alias) ? alias : name, "path",
                                              json_object_get(x, "path"), "metadata"));
    }
    json_decref(adapters);
    reply_json(c->x, 200, list);
}

/* "DPM++ 2M" as older clients write it: "k_dpmpp_2m". */
static json_t *aliases_of(const char *name) {
    char alias[64] = "k_";
    size_t n = 2;
    for (; *name && n + 1 < sizeof alias; name++) {
        alias[n++] = *name == ' ' ? '_' : *name == '+' ? 'p' : (char)tolower((unsigned char)*name);
    }
    alias[n] = 0;
    return json_pack("[s]", alias);
}

void sd_samplers(struct call *c) {
    json_t *list = json_array();
    for (int i = 0; ballast_sampler_name(i); i++) {
        const char *name = ballast_sampler_name(i);
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:{}}", "name", name, "aliases", aliases_of(name), "options"));
    }
    reply_json(c->x, 200, list);
}

const char *schedule_label(const char *name) {
    static const char *const labels[][2] = {{"automatic", "Automatic"},
                                            {"normal", "Normal"},
                                            {"karras", "Karras"},
                                            {"exponential", "Exponential"},
                                            {"sgm_uniform", "SGM Uniform"},
                                            {"simple", "Simple"},
                                            {"ddim_uniform", "DDIM"},
                                            {"beta", "Beta"},
                                            {"polyexponential", "Polyexponential"},
                                            {"kl_optimal", "KL Optimal"},
                                            {"align_your_steps", "Align Your Steps"},
                                            {"turbo", "Turbo"},
                                            {"leading", "Leading"},
                                            {"linspace", "Linspace"},
                                            {"trailing", "Trailing"}};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        if (!strcmp(name, labels[i][0])) {
            return labels[i][1];
        }
    }
    return name;
}

void sd_schedulers(struct call *c) {
    json_t *list = json_array();
    for (int i = 0; ballast_schedule_name(i); i++) {
        const char *name = ballast_schedule_name(i);
        json_array_append_new(list, json_pack("{s:s, s:s, s:n, s:f, s:b}", "name", name, "label",
                                              schedule_label(name), "aliases", "default_rho", -1.0,
                                              "need_inner_model", 0));
    }
    reply_json(c->x, 200, list);
}

static bool is_latent(const char *name) {
    return !strncmp(name, "Latent", 6);
}

static json_t *upscaler(const char *name) {
    return json_pack("{s:s, s:n, s:n, s:n, s:f}", "name", name, "model_name", "model_path", "model_url",
                     "scale", 4.0);
}

void sd_upscalers(struct call *c) {
    json_t *list = json_array();
    json_array_append_new(list, upscaler("None"));
    for (int i = 0; ballast_upscaler_name(i); i++) {
        if (!is_latent(ballast_upscaler_name(i))) {
            json_array_append_new(list, upscaler(ballast_upscaler_name(i)));
        }
    }
    reply_json(c->x, 200, list);
}

void sd_latent_modes(struct call *c) {
    json_t *list = json_array();
    for (int i = 0; ballast_upscaler_name(i); i++) {
        if (is_latent(ballast_upscaler_name(i))) {
            json_array_append_new(list, json_pack("{s:s}", "name", ballast_upscaler_name(i)));
        }
    }
    reply_json(c->x, 200, list);
}

void sd_empty_list(struct call *c) {
    reply_json(c->x, 200, json_array());
}

/* By name, as there; whatever model is the current one. */
void sd_embeddings(struct call *c) {
    json_t *list = c->api->service.embeddings(c->api->service.self), *loaded = json_object(), *x;
    size_t i;
    json_array_foreach(list, i, x) {
        json_object_set_new(loaded, json_string_value(json_object_get(x, "name")),
                            json_pack("{s:n, s:n, s:n, s:O, s:O}", "step", "sd_checkpoint",
                                      "sd_checkpoint_name", "shape", json_object_get(x, "width"), "vectors",
                                      json_object_get(x, "vectors")));
    }
    json_decref(list);
    reply_json(c->x, 200, json_pack("{s:o, s:{}}", "loaded", loaded, "skipped"));
}

void sd_scripts(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:[], s:[]}", "txt2img", "img2img"));
}

/* The same whatever the flags are: nothing of them is anybody's business. */
void sd_cmd_flags(struct call *c) {
    reply_json(c->x, 200,
               json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:n, s:n}", "api", 1, "nowebui", 1,
                         "share", 0, "listen", 0, "lowvram", 0, "medvram", 0, "no_half", 0, "xformers", 0,
                         "ckpt_dir", "api_auth"));
}

/* What gradio clients look at to see whether somebody is there. */
void sd_config(struct call *c) {
    reply_json(c->x, 200,
               json_pack("{s:s, s:s, s:[], s:[]}", "version", ballast_version(), "title", "Ballast",
                         "components", "dependencies"));
}
