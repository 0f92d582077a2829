/* All configurations of a checkpoint against their rules, and against the weights: diffusers builds its
 * networks from the configuration and leaves weights over that it does not name, so that where the two
 * disagree, it would draw another picture. */
#include "checkpoint/config.h"
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

typedef struct config {
    const json_t *json; /* NULL: there is none */
    char path[BL_PATH_ROOM];
} config;

/* The configuration of a module and its path: beside the weights. */
static void module_config(config *out, const bl_checkpoint *c, bl_module module) {
    const bl_safetensors *file = bl_checkpoint_module_file(c, module);
    out->json = c->modules[module].config;
    const char *path = file ? bl_safetensors_path(file) : "", *slash = strrchr(path, '/');
    snprintf(out->path, sizeof out->path, "%.*sconfig.json", slash ? (int)(slash + 1 - path) : 0, path);
}

/* ---- rules */

/* A component that no rule knows changes what is computed: a ControlNet, an adapter, a depth estimator. */
static int check_components(const config *index, const bl_config_rule *rules, bl_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)index->json, key, value) {
        bool known = false;
        for (const bl_config_rule *r = rules; r->key; r++) {
            known = known || strcmp(r->key, key) == 0;
        }
        if (!known && key[0] != '_' && json_is_array(value) && !json_is_null(json_array_get(value, 0))) {
            return bl_config_refuse(index->path, key, value, "Ballast runs models without it", err);
        }
    }
    return 0;
}

/* What rules do not say: chunks have 77 tokens, and every special word needs its row of embeddings. */
static int check_tokenizer(const config *f, bl_error *err) {
    const json_t *longest = json_object_get(f->json, "model_max_length");
    if (json_is_number(longest) && json_number_value(longest) < 77) {
        return bl_config_refuse(f->path, "model_max_length", longest, "Ballast runs 77", err);
    }
    return 0;
}

/* An object in the text encoder's configuration. */
static int check_rope(const config *f, const bl_config_rule *rules, char unknown[BL_UNKNOWN_BYTES],
                      bl_error *err) {
    const json_t *rope = json_object_get(f->json, "rope_parameters");
    if (!rules || !rope || json_is_null(rope)) {
        return 0;
    }
    return json_is_object(rope)
               ? bl_config_check(rope, rules, f->path, unknown, err)
               : bl_config_refuse(f->path, "rope_parameters", rope, "Ballast runs an object", err);
}

int bl_check_configs(char unknown[BL_UNKNOWN_BYTES], const bl_checkpoint *c, const bl_family *family,
                     bl_error *err) {
    const bl_config_rules *rules = family->rules;
    const struct {
        bl_module module;
        const bl_config_rule *rules;
    } modules[] = {{bl_family_denoiser(family), rules->denoiser},
                   {BL_TEXT_ENCODER, rules->text},
                   {BL_TEXT_ENCODER_2, rules->text_2 ? rules->text_2 : rules->text},
                   {BL_TEXT_ENCODER_3, rules->text_3 ? rules->text_3 : rules->text},
                   {BL_VAE_ENCODER, rules->vae},
                   {BL_VAE_DECODER, rules->vae}};
    config f = {.json = c->index};
    unknown[0] = '\0';
    snprintf(f.path, sizeof f.path, "%s/model_index.json", c->path);
    int rc = check_components(&f, rules->index, err);
    rc = rc ? rc : bl_config_check(f.json, rules->index, f.path, unknown, err);
    for (int i = 0; i < 2 && rules->tokenizer && !rc; i++) {
        f.json = c->tokenizers[i].config;
        snprintf(f.path, sizeof f.path, "%s/tokenizer%s/tokenizer_config.json", c->path, i ? "_2" : "");
        rc = bl_config_check(f.json, rules->tokenizer, f.path, unknown, err);
        rc = rc || family->reader != BL_READER_CLIP ? rc : check_tokenizer(&f, err);
    }
    f.json = c->scheduler;
    snprintf(f.path, sizeof f.path, "%s/scheduler/scheduler_config.json", c->path);
    rc = rc ? rc : bl_config_check(f.json, rules->scheduler, f.path, unknown, err);
    for (int i = 0; i < (int)(sizeof modules / sizeof *modules) && !rc; i++) {
        const json_t *before = f.json;
        module_config(&f, c, modules[i].module);
        if (f.json != before) { /* both halves of the autoencoder have one */
            rc = bl_config_check(f.json, modules[i].rules, f.path, unknown, err);
        }
    }
    module_config(&f, c, BL_TEXT_ENCODER);
    return rc ? rc : check_rope(&f, rules->rope, unknown, err);
}

/* ---- weights */

/* Value number `i` of one that is given once, or once a level. */
static const json_t *item(const json_t *v, int i) {
    return json_is_array(v) ? json_array_get(v, (size_t)i) : v;
}

static int disagree(const config *f, const char *key, const json_t *value, int weights, const char *where,
                    int i, bl_error *err) {
    char why[96], number[16] = "";
    if (i >= 0) {
        snprintf(number, sizeof number, " %d", i);
    }
    snprintf(why, sizeof why, "the weights have %d%s%s", weights, where, number);
    return bl_config_refuse(f->path, key, value, why, err);
}

/* A number that must be the weights', where the configuration has it. */
static int agree(const config *f, const char *key, int weights, bl_error *err) {
    const json_t *v = json_object_get(f->json, key);
    bool good = !v || json_is_null(v) || (json_is_integer(v) && json_integer_value(v) == weights);
    return good ? 0 : disagree(f, key, v, weights, "", -1, err);
}

/* The same of one number, or one a level. */
static int agree_levels(const config *f, const char *key, const int *weights, int levels, bl_error *err) {
    const json_t *v = json_object_get(f->json, key);
    bool good = !json_is_array(v) || json_array_size(v) == (size_t)levels;
    for (int l = 0; v && l < levels; l++) {
        const json_t *one = item(v, l);
        if (!good || !json_is_integer(one) || json_integer_value(one) != weights[l]) {
            return disagree(f, key, v, weights[l], " at level", l, err);
        }
    }
    return 0;
}

/* Do the blocks of this list attend to the text where the weights do? depth: [levels][BL_ARCH_BLOCKS]. */
static int agree_types(const config *f, const char *key, const int depth[][BL_ARCH_BLOCKS],
                       const int *resnets, int more, int levels, bool up, bl_error *err) {
    const json_t *v = json_object_get(f->json, key);
    for (int i = 0; v && i < levels; i++) {
        const char *type = json_string_value(json_array_get(v, (size_t)i));
        bool attends = type && strncmp(type, "CrossAttn", 9) == 0, good = type != NULL;
        int n = resnets[up ? levels - 1 - i : i] + more;
        for (int j = 0; j < n; j++) {
            good = good && attends == (depth[i][j] > 0);
        }
        if (!good || json_array_size(v) != (size_t)levels) {
            return bl_config_refuse(f->path, key, v, "the weights have other attentions", err);
        }
    }
    return 0;
}

/* The number of transformer blocks behind resnet j of a level, -1 if the configuration does not say. */
static int depth_in(const json_t *v, int level, int j) {
    const json_t *one = item(item(v, level), j);
    return json_is_integer(one) && json_integer_value(one) >= 0 && json_integer_value(one) < 100
               ? (int)json_integer_value(one)
               : -1;
}

static int agree_depths(const config *f, const bl_unet_architecture *u, bl_error *err) {
    static const char key[] = "transformer_layers_per_block",
                      reverse_key[] = "reverse_transformer_layers_per_block";
    const json_t *v = json_object_get(f->json, key), *reverse = json_object_get(f->json, reverse_key);
    bool reversed = reverse && !json_is_null(reverse);
    for (int i = 0; v && i < u->levels; i++) {
        int level = u->levels - 1 - i;
        for (int j = 0; j < u->resnets[i]; j++) {
            if (u->down_depth[i][j] && depth_in(v, i, j) != u->down_depth[i][j]) {
                return disagree(f, key, v, u->down_depth[i][j], " on the way down, at level", i, err);
            }
        }
        for (int j = 0; j <= u->resnets[level]; j++) {
            int depth = reversed ? depth_in(reverse, i, j) : depth_in(v, level, j);
            if (u->up_depth[i][j] && depth != u->up_depth[i][j]) {
                return disagree(f, reversed ? reverse_key : key, reversed ? reverse : v, u->up_depth[i][j],
                                " on the way up, at level", level, err);
            }
        }
    }
    const json_t *last = item(v, u->levels - 1);
    if (u->mid_depth && json_is_integer(last) && json_integer_value(last) != u->mid_depth) {
        return disagree(f, key, v, u->mid_depth, " in the middle", -1, err);
    }
    return 0;
}

/* The middle: two resnets around a transformer, one resnet, or nothing. */
static int agree_middle(const config *f, const bl_unet_architecture *u, bl_error *err) {
    const json_t *v = json_object_get(f->json, "mid_block_type");
    const char *type = json_string_value(v);
    bool attends = type && strcmp(type, "UNetMidBlock2DCrossAttn") == 0;
    bool good = attends == (u->mid_depth > 0) && u->mid_resnets == (attends ? 2 : type ? 1 : 0);
    return !v || good
               ? 0
               : bl_config_refuse(f->path, "mid_block_type", v, "the weights have another middle", err);
}

static int agree_unet(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    const bl_unet_architecture *u = &a->unet;
    config f;
    module_config(&f, c, BL_UNET);
    int contexts[BL_ARCH_LEVELS];
    for (int l = 0; l < u->levels; l++) {
        contexts[l] = u->context_dim;
    }
    int rc = agree(&f, "in_channels", u->in_channels, err);
    rc = rc ? rc : agree(&f, "out_channels", u->out_channels, err);
    rc = rc ? rc : agree(&f, "time_embedding_dim", u->time_dim, err);
    rc = rc ? rc : agree_levels(&f, "block_out_channels", u->channels, u->levels, err);
    rc = rc ? rc : agree_levels(&f, "layers_per_block", u->resnets, u->levels, err);
    rc = rc ? rc : agree_levels(&f, "cross_attention_dim", contexts, u->levels, err);
    rc = rc ? rc : agree_levels(&f, "attention_head_dim", u->heads, u->levels, err);
    rc = rc ? rc : agree_types(&f, "down_block_types", u->down_depth, u->resnets, 0, u->levels, false, err);
    rc = rc ? rc : agree_types(&f, "up_block_types", u->up_depth, u->resnets, 1, u->levels, true, err);
    rc = rc ? rc : agree_depths(&f, u, err);
    rc = rc ? rc : agree_middle(&f, u, err);
    if (rc) {
        return rc;
    }
    const json_t *conditions = json_object_get(f.json, "addition_embed_type"),
                 *adm = json_object_get(f.json, "projection_class_embeddings_input_dim"),
                 *guidance = json_object_get(f.json, "time_cond_proj_dim");
    if (conditions && json_is_string(conditions) != (u->adm_dim > 0)) {
        return bl_config_refuse(f.path, "addition_embed_type", conditions,
                                "the weights have other conditions", err);
    }
    if (u->adm_dim && json_is_integer(adm) && json_integer_value(adm) != u->adm_dim) {
        return disagree(&f, "projection_class_embeddings_input_dim", adm, u->adm_dim, "", -1, err);
    }
    return guidance && !json_is_null(guidance)
               ? bl_config_refuse(f.path, "time_cond_proj_dim", guidance, "the weights have none", err)
               : 0;
}

static int agree_vae(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    const bl_vae_architecture *v = &a->vae;
    config f;
    module_config(&f, c, BL_VAE_DECODER);
    int resnets[BL_ARCH_LEVELS];
    for (int l = 0; l < v->levels; l++) {
        resnets[l] = v->resnets;
    }
    int rc = agree(&f, "latent_channels", v->latent_channels, err);
    rc = rc ? rc : agree_levels(&f, "block_out_channels", v->channels, v->levels, err);
    return rc ? rc : agree_levels(&f, "layers_per_block", resnets, v->levels, err);
}

/* Where a text is pooled, transformers looks for the end token: the first of this number, or for the old
 * value 2 the largest number there is, which is the end token's. */
static int agree_end_token(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int rc = 0;
    for (int e = 0; e < a->family->encoders && !rc; e++) {
        config f;
        module_config(&f, c, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER);
        const json_t *end = json_object_get(f.json, "eos_token_id");
        bool good = !end || !bl_family_pools(a->family, e) ||
                    (json_is_integer(end) &&
                     (json_integer_value(end) == BL_END_TOKEN || json_integer_value(end) == 2));
        rc = good ? 0 : bl_config_refuse(f.path, "eos_token_id", end, "Ballast runs 49407 and 2", err);
    }
    return rc;
}

int bl_agree_number(const bl_checkpoint *c, bl_module module, const char *key, int weights, bl_error *err) {
    config f;
    module_config(&f, c, module);
    return agree(&f, key, weights, err);
}

int bl_agree_with_configs(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int rc = a->family->net == BL_NET_UNET ? agree_unet(a, c, err) : 0;
    rc = rc ? rc : agree_vae(a, c, err);
    rc = rc ? rc : agree_end_token(a, c, err);
    const json_t *clip = json_object_get(c->scheduler, "clip_sample");
    if (!rc && a->family == &bl_sdxl && json_is_true(clip)) { /* SDXL's pipelines leave it on */
        config f;
        snprintf(f.path, sizeof f.path, "%s/scheduler/scheduler_config.json", c->path);
        rc = bl_config_refuse(f.path, "clip_sample", clip, "Ballast runs false", err);
    }
    return rc;
}
