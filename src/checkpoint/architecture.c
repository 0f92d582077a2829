#include "checkpoint/architecture.h"

#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <string.h>

#define CLIP_L_WIDTH 768
#define CLIP_H_WIDTH 1024
#define MOST_SAMPLE_SIZE 512 /* more is no size that anything was trained on */

const bl_family *bl_detect_family(const bl_checkpoint *c, const bl_unet_architecture *u) {
    const bl_module_files *text = &c->modules[BL_TEXT_ENCODER];
    if (u->adm_dim) {
        return &bl_sdxl;
    }
    if (u->context_dim == CLIP_L_WIDTH || u->context_dim == CLIP_H_WIDTH) {
        return u->context_dim == CLIP_H_WIDTH ? &bl_sd2 : &bl_sd1;
    }
    /* a small model: which of the two its encoder was made like */
    const char *act = json_string_value(json_object_get(text->config, "hidden_act"));
    bool like_h = act ? strcmp(act, "quick_gelu") != 0 : text->naming == BL_NAMES_OPEN_CLIP;
    return like_h ? &bl_sd2 : &bl_sd1;
}

/* What the modules must agree on. */
static int check_agreement(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int context = 0;
    for (int e = 0; e < a->family->encoders; e++) {
        context += a->text[e].width;
    }
    if (a->unet.context_dim != context) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the unet expects a text context of width %d, the text encoders give %d",
                       c->path, a->unet.context_dim, context);
    }
    int pooled = a->family->pooled;
    int adm = pooled < 0 ? 0 : a->text[pooled].projection + BL_SIZE_VALUES * BL_SIZE_VALUE_DIM;
    if (a->unet.adm_dim != adm) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s: the unet expects %d values of pooled text and sizes, the text encoder gives %d", c->path,
            a->unet.adm_dim, adm);
    }
    if (a->unet.in_channels != a->vae.latent_channels || a->unet.out_channels != a->vae.latent_channels) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%.400s: the unet goes from %d to %d channels, the VAE has %d",
                       c->path, a->unet.in_channels, a->unet.out_channels, a->vae.latent_channels);
    }
    return 0;
}

/* What the family says about its text encoders. */
static void set_text_rules(bl_architecture *a, const bl_checkpoint *c) {
    for (int e = 0; e < a->family->encoders; e++) {
        const bl_family_encoder *rules = &a->family->encoder[e];
        a->text[e].pad_token = rules->pad_token;
        a->text[e].context_skip = rules->context_skip;
        a->text[e].context_norm = rules->context_norm;
    }
    int pooled = a->family->pooled;
    if (pooled >= 0) {
        const json_t *config = c->modules[pooled ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER].config;
        a->text[pooled].pools_largest = json_integer_value(json_object_get(config, "eos_token_id")) == 2;
    }
    if (a->family == &bl_sd2) { /* see there */
        const bl_module_files *text = &c->modules[BL_TEXT_ENCODER];
        bool open_clip = text->naming == BL_NAMES_OPEN_CLIP;
        a->text[0].context_skip =
            open_clip ? a->text[0].layers != 23 : text->given && a->text[0].layers == 24;
    }
}

static int detect_texts(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER)) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s holds a unet but no text encoder that is known; give one with --text-encoder FILE",
            c->path);
    }
    int rc = bl_detect_text(&a->text[0], c, BL_TEXT_ENCODER, a->family, err);
    if (rc || a->unet.adm_dim == 0) {
        return rc;
    }
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER_2)) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s holds an SDXL unet but not the second text encoder; give it with --text-encoder FILE",
            c->path);
    }
    rc = bl_detect_text(&a->text[1], c, BL_TEXT_ENCODER_2, a->family, err);
    return rc ? rc
              : bl_dimension(&a->text[1].projection, c, BL_TEXT_ENCODER_2, 0, err, "text_projection.weight");
}

int bl_architecture_detect(bl_architecture *out, const bl_checkpoint *ckpt, bl_error *err) {
    bl_architecture a = {0};
    if (bl_checkpoint_has_module(ckpt, BL_TRANSFORMER)) {
        return bl_detect_transformer(out, ckpt, err);
    }
    if (!bl_checkpoint_has_module(ckpt, BL_UNET)) {
        return bl_refuse_without_unet(ckpt, err);
    }
    int rc = bl_check_vae_channels(ckpt, &bl_sd1, err);
    rc = rc ? rc
            : bl_check_configs(a.unknown_keys, ckpt, &bl_sd1, err); /* whose rules are those of all UNets */
    rc = rc ? rc : bl_detect_unet(&a.unet, ckpt, err);
    rc = rc ? rc : bl_refuse_unet(ckpt, &a.unet, err);
    if (rc) {
        return rc;
    }
    a.family = bl_detect_family(ckpt, &a.unet);
    a.context_dim = a.unet.context_dim;
    a.width = a.unet.channels[0];
    rc = detect_texts(&a, ckpt, err);
    rc = rc ? rc : bl_detect_vae(&a.vae, ckpt, a.family, err);
    rc = rc ? rc : bl_detect_taesd(&a.taesd, ckpt, a.family, err);
    if (rc) {
        return rc;
    }
    set_text_rules(&a, ckpt);
    for (int e = 0; e < a.family->encoders && !rc; e++) {
        rc = bl_detect_tokens(&a.text[e], ckpt, e, err);
    }
    rc = rc ? rc : check_agreement(&a, ckpt, err);
    if (rc) {
        return rc;
    }
    json_int_t side = json_integer_value(json_object_get(ckpt->modules[BL_UNET].config, "sample_size"));
    a.sample_size = side > 0 && side <= MOST_SAMPLE_SIZE ? (int)side : 0;
    a.encodes_empty_negative = json_is_false(json_object_get(ckpt->index, "force_zeros_for_empty_prompt"));
    rc = bl_agree_with_configs(&a, ckpt, err);
    rc = rc ? rc : bl_detect_prediction(&a, ckpt, err);
    if (!rc) {
        *out = a;
    }
    return rc;
}
