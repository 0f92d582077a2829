#include "checkpoint/architecture.h"

#include "checkpoint/detect.h"
#include "checkpoint/parts.h"

#include <math.h>
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

/* ---- prediction */

static const char *metadata(const bl_checkpoint *c, const char *key) {
    return c->folder ? NULL : bl_safetensors_metadata(c->files[0], key);
}

static bool is_v(const char *text) {
    return strcmp(text, "v") == 0 || strcmp(text, "v_prediction") == 0;
}

static bool is_near(const json_t *v, double usual) {
    return !json_is_number(v) || fabs(json_number_value(v) - usual) < 1e-6;
}

/* All SD and SDXL models were trained on one noise schedule; with another one the picture would be wrong. */
static int check_noise_schedule(const bl_checkpoint *c, bl_error *err) {
    const json_t *s = c->scheduler;
    const char *name = json_string_value(json_object_get(s, "_class_name"));
    const char *betas = json_string_value(json_object_get(s, "beta_schedule"));
    if (name && (strncmp(name, "EDM", 3) == 0 || strncmp(name, "FlowMatch", 9) == 0)) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%.400s uses %.80s, a noise schedule that Ballast does not run",
                       c->path, name);
    }
    if ((betas && strcmp(betas, "scaled_linear") != 0) ||
        !is_near(json_object_get(s, "beta_start"), 0.00085) ||
        !is_near(json_object_get(s, "beta_end"), 0.012) ||
        json_is_array(json_object_get(s, "trained_betas"))) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.400s: the scheduler's betas are not those of SD and SDXL (scaled_linear from "
                       "0.00085 to 0.012)",
                       c->path);
    }
    return 0;
}

static int from_scheduler(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int rc = check_noise_schedule(c, err);
    if (rc) {
        return rc;
    }
    a->prediction_source = "scheduler_config.json";
    const char *type = json_string_value(json_object_get(c->scheduler, "prediction_type"));
    if (type && !is_v(type) && strcmp(type, "epsilon") != 0) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.400s: prediction type \"%.60s\" is not run; epsilon and v_prediction are", c->path,
                       type);
    }
    a->prediction = type && is_v(type) ? BL_PREDICT_V : BL_PREDICT_EPSILON;
    a->zero_snr = json_is_true(json_object_get(c->scheduler, "rescale_betas_zero_snr"));
    static const char *const names[] = {[BL_SPACING_LEADING] = "leading",
                                        [BL_SPACING_LINSPACE] = "linspace",
                                        [BL_SPACING_TRAILING] = "trailing"};
    const char *spacing = json_string_value(json_object_get(c->scheduler, "timestep_spacing"));
    for (int i = BL_SPACING_LEADING; spacing && i <= BL_SPACING_TRAILING; i++) {
        if (strcmp(spacing, names[i]) == 0) {
            a->spacing = (bl_spacing)i;
        }
    }
    return 0;
}

static void from_single_file(bl_architecture *a, const bl_checkpoint *c) {
    const char *type = metadata(c, "modelspec.prediction_type"),
               *name = metadata(c, "modelspec.architecture");
    a->zero_snr = !c->folder && bl_safetensors_find(c->files[0], "ztsnr");
    if (!c->folder && bl_safetensors_find(c->files[0], "v_pred")) {
        a->prediction = BL_PREDICT_V;
        a->prediction_source = "marker tensor v_pred";
    } else if (type && (is_v(type) || strcmp(type, "epsilon") == 0)) {
        a->prediction = is_v(type) ? BL_PREDICT_V : BL_PREDICT_EPSILON;
        a->prediction_source = "metadata modelspec.prediction_type";
    } else if (a->family == BL_SD2 && name && strstr(name, "v2-512")) {
        a->prediction_source = "metadata modelspec.architecture";
    } else if (a->family == BL_SD2) {
        a->prediction = BL_PREDICT_V;
        a->prediction_source = "assumed for SD 2.x; --prediction epsilon for the 512 base models";
    } else {
        a->prediction_source = "usual for the family";
    }
}

/* ---- family */

/* What the parts must agree on. */
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
            c->parts[BL_TEXT_ENCODER].naming == BL_NAMES_OPEN_CLIP && a->text[0].layers != 23;
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
    int rc = bl_detect_text(&a->text[0], c, BL_TEXT_ENCODER, err);
    if (rc || a->unet.adm_dim == 0) {
        return rc;
    }
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER_2)) {
        return bl_fail(err, BL_E_FORMAT, "%.400s holds an SDXL unet but not the second text encoder",
                       c->path);
    }
    rc = bl_detect_text(&a->text[1], c, BL_TEXT_ENCODER_2, err);
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
    rc = rc ? rc : detect_texts(&a, ckpt, err);
    rc = rc ? rc : bl_detect_vae(&a.vae, ckpt, err);
    if (rc) {
        return rc;
    }
    a.family = a.unet.adm_dim ? BL_SDXL : a.unet.linear_proj ? BL_SD2 : BL_SD1;
    if (a.vae.scaling_factor == 0) {
        a.vae.scaling_factor = a.family == BL_SDXL ? 0.13025 : 0.18215;
    }
    set_text_rules(&a, ckpt);
    rc = check_agreement(&a, ckpt, err);
    if (rc) {
        return rc;
    }
    if (ckpt->scheduler) {
        rc = from_scheduler(&a, ckpt, err);
    } else {
        from_single_file(&a, ckpt);
    }
    if (!rc) {
        *out = a;
    }
    return rc;
}
