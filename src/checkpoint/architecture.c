#include "checkpoint/architecture.h"

#include "checkpoint/detect.h"
#include "checkpoint/opened.h"

#include <string.h>

const char *bl_family_name(bl_family family) {
    return family == BL_SD1 ? "SD 1.x" : family == BL_SD2 ? "SD 2.x" : "SDXL base";
}

const char *bl_family_type(bl_family family) {
    return family == BL_SD1 ? "sd1" : family == BL_SD2 ? "sd2" : "sdxl";
}

const char *bl_prediction_name(bl_prediction prediction) {
    return prediction == BL_PREDICT_V ? "v_prediction" : "epsilon";
}

#define CLIP_L_WIDTH 768
#define CLIP_H_WIDTH 1024

bl_family bl_detect_family(const bl_checkpoint *c, const bl_unet_architecture *u) {
    const bl_module_files *text = &c->modules[BL_TEXT_ENCODER];
    if (u->adm_dim) {
        return BL_SDXL;
    }
    if (u->context_dim == CLIP_L_WIDTH || u->context_dim == CLIP_H_WIDTH) {
        return u->context_dim == CLIP_H_WIDTH ? BL_SD2 : BL_SD1;
    }
    /* a small model: which of the two its encoder was made like */
    const char *act = json_string_value(json_object_get(text->config, "hidden_act"));
    bool like_h = act ? strcmp(act, "quick_gelu") != 0 : text->naming == BL_NAMES_OPEN_CLIP;
    return like_h ? BL_SD2 : BL_SD1;
}

/* What the modules must agree on. */
static int check_agreement(const bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int context = a->text[0].width + (a->family == BL_SDXL ? a->text[1].width : 0);
    if (a->unet.context_dim != context) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the unet expects a text context of width %d, the text encoders give %d",
                       c->path, a->unet.context_dim, context);
    }
    int adm = a->family == BL_SDXL ? a->text[1].projection + BL_SIZE_VALUES * BL_SIZE_VALUE_DIM : 0;
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
    switch (a->family) {
    case BL_SD1:
        a->text[0].pad_token = 49407;
        a->text[0].context_norm = true;
        break;
    case BL_SD2:
        /* Trained on the last layer but one. Single files hold all 24; diffusers, and files converted back
         * from it, drop the layer that nothing reads. */
        a->text[0].context_skip =
            c->modules[BL_TEXT_ENCODER].naming == BL_NAMES_OPEN_CLIP && a->text[0].layers != 23;
        a->text[0].context_norm = true;
        break;
    case BL_SDXL:
        a->text[0].pad_token = 49407;
        a->text[0].context_skip = 1;
        a->text[1].context_skip = 1;
        break;
    }
}

static int detect_texts(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER)) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s holds a unet but no text encoder that is known; a whole model is needed",
                       c->path);
    }
    int rc = bl_detect_text(&a->text[0], c, BL_TEXT_ENCODER, a->family, err);
    if (rc || a->unet.adm_dim == 0) {
        return rc;
    }
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER_2)) {
        return bl_fail(err, BL_E_FORMAT, "%.400s holds an SDXL unet but not the second text encoder",
                       c->path);
    }
    rc = bl_detect_text(&a->text[1], c, BL_TEXT_ENCODER_2, a->family, err);
    return rc ? rc
              : bl_dimension(&a->text[1].projection, c, BL_TEXT_ENCODER_2, 0, err, "text_projection.weight");
}

int bl_architecture_detect(bl_architecture *out, const bl_checkpoint *ckpt, bl_error *err) {
    bl_architecture a = {.prediction = BL_PREDICT_EPSILON};
    if (!bl_checkpoint_has_module(ckpt, BL_UNET)) {
        return bl_refuse_without_unet(ckpt, err);
    }
    int rc = bl_detect_unet(&a.unet, ckpt, err);
    rc = rc ? rc : bl_refuse_unet(ckpt, &a.unet, err);
    a.family = bl_detect_family(ckpt, &a.unet);
    rc = rc ? rc : detect_texts(&a, ckpt, err);
    rc = rc ? rc : bl_detect_vae(&a.vae, ckpt, err);
    if (rc) {
        return rc;
    }
    if (a.vae.scaling_factor == 0) {
        a.vae.scaling_factor = a.family == BL_SDXL ? 0.13025 : 0.18215;
    }
    set_text_rules(&a, ckpt);
    rc = check_agreement(&a, ckpt, err);
    if (rc) {
        return rc;
    }
    rc = bl_detect_prediction(&a, ckpt, err);
    if (!rc) {
        *out = a;
    }
    return rc;
}
