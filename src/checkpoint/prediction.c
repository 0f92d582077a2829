/* What the network predicts, and on which noise schedule it was trained. */
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"
#include "checkpoint/yaml.h"
#include "core/dtype.h"
#include "core/json_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BETA_START 0.00085
#define BETA_END 0.012

static const char *metadata(const bl_checkpoint *c, const char *key) {
    return c->folder ? NULL : bl_safetensors_metadata(c->files[0], key);
}

static bool is_v(const char *text) {
    return strcmp(text, "v") == 0 || strcmp(text, "v_prediction") == 0;
}

/* Which noise schedule and what is predicted have been checked by their rules, but for the schedules that are
 * classes of their own. */
static int check_scheduler(const bl_checkpoint *c, bl_error *err) {
    const char *name = json_string_value(json_object_get(c->scheduler, "_class_name"));
    if (name && (strncmp(name, "EDM", 3) == 0 || strncmp(name, "FlowMatch", 9) == 0)) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%.400s uses %.80s, a noise schedule that Ballast does not run",
                       c->path, name);
    }
    return 0;
}

static int from_scheduler(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int rc = check_scheduler(c, err);
    if (rc) {
        return rc;
    }
    a->prediction_source = "scheduler_config.json";
    const char *type = json_string_value(json_object_get(c->scheduler, "prediction_type"));
    a->prediction = type && is_v(type) ? BL_PREDICT_V : BL_PREDICT_EPSILON;
    a->zero_snr = json_is_true(json_object_get(c->scheduler, "rescale_betas_zero_snr"));
    a->alpha_to_one = json_is_true(json_object_get(c->scheduler, "set_alpha_to_one"));
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

/* Standard deviation of the biases of the norm that SD 2.x's last transformer begins with: more in the models
 * that were trained on to predict v (768), less in those that predict noise (512). ComfyUI's bound. */
#define SPREAD_OF_V 0.09
#define LAST_NORM "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
#define MOST_BIASES 65536

/* Standard deviation of a tensor that is a vector of floats. *found is false where there is none. */
static int spread_of(double *out, bool *found, const bl_checkpoint *c, const char *name, bl_error *err) {
    bl_view v;
    *found = false;
    if (!bl_checkpoint_find(&v, c, BL_UNET, name) || v.rank != 1 || v.shape[0] < 2 ||
        v.shape[0] > MOST_BIASES) {
        return 0;
    }
    size_t n = (size_t)v.shape[0], size = bl_dtype_size(v.dtype);
    unsigned char *stored = malloc(n * size);
    float *values = malloc(n * sizeof *values);
    int rc = stored && values ? bl_view_read(&v, 0, (int64_t)n, stored, err)
                              : bl_fail_memory(err, "the biases of a norm", n * (size + sizeof *values));
    if (!rc && bl_convert(values, BL_F32, stored, v.dtype, n) == 0) {
        double mean = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            mean += (double)values[i] / (double)n;
        }
        for (size_t i = 0; i < n; i++) {
            squares += ((double)values[i] - mean) * ((double)values[i] - mean);
        }
        *out = sqrt(squares / (double)n);
        *found = true;
    }
    free(values);
    free(stored);
    return rc;
}

/* SD 2.x whose files say nothing. Where the last transformer is another one, the model is a distilled one:
 * those come from the 512 base models. */
static int guess_sd2(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    double spread = 0;
    bool found;
    int rc = spread_of(&spread, &found, c, LAST_NORM, err);
    a->prediction_guessed = true;
    a->prediction = found && spread > SPREAD_OF_V ? BL_PREDICT_V : BL_PREDICT_EPSILON;
    a->prediction_source = !found ? "a guess: usual for SD 2.x of this shape"
                           : spread > SPREAD_OF_V
                               ? "a guess from the weights: the last norm1.bias spreads as in v models"
                               : "a guess from the weights: the last norm1.bias spreads as in base models";
    return rc;
}

/* ---- single files */

/* CompVis' configuration, and Stability's (SGM), say it in their own ways. */
#define YAML "model.params."
#define SGM YAML "denoiser_config.params."

static int refuse_yaml(const bl_checkpoint *c, const char *key, const char *value, const char *runs,
                       bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%.400s: the .yaml beside it says %.60s: %.100s; Ballast runs %s",
                   c->path, key, value, runs);
}

static bool find_yaml(char *value, size_t room, const bl_checkpoint *c, const char *path) {
    return c->yaml && bl_yaml_find(value, room, c->yaml, c->yaml_bytes, path);
}

/* "VScaling" of "sgm.modules.diffusionmodules.denoiser_scaling.VScaling". */
static bool find_class(char *value, size_t room, const bl_checkpoint *c, const char *path) {
    if (!find_yaml(value, room, c, path)) {
        return false;
    }
    const char *last = strrchr(value, '.');
    if (last) {
        memmove(value, last + 1, strlen(last + 1) + 1);
    }
    return true;
}

/* *out stays as it is where there is no such number. */
static int yaml_number(double *out, const bl_checkpoint *c, const char *path, bl_error *err) {
    char text[64], list[sizeof text + 2];
    json_error_t why = {0};
    if (!find_yaml(text, sizeof text, c, path)) {
        return 0;
    }
    int length = snprintf(list, sizeof list, "[%s]", text);
    json_t *root = json_loadb(list, (size_t)length, 0, &why); /* strtod would ask the locale for the point */
    if (!root && bl_json_lacked_memory(&why, list, (size_t)length)) {
        return bl_fail_memory(err, "a number of the .yaml", sizeof text);
    }
    const json_t *number = json_array_get(root, 0);
    *out = json_is_number(number) ? json_number_value(number) : *out;
    json_decref(root);
    return 0;
}

static int check_yaml_schedule(const bl_checkpoint *c, bl_error *err) {
    double start = BETA_START, end = BETA_END, steps = 1000;
    int rc = yaml_number(&start, c, YAML "linear_start", err);
    rc = rc ? rc : yaml_number(&end, c, YAML "linear_end", err);
    rc = rc ? rc : yaml_number(&steps, c, YAML "timesteps", err);
    if (!rc && (fabs(start - BETA_START) > 1e-6 || fabs(end - BETA_END) > 1e-6 || steps != 1000)) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "%.400s: the betas in the .yaml beside it are not those of SD and SDXL (1000 from "
                     "linear_start 0.00085 to linear_end 0.012)",
                     c->path);
    }
    return rc;
}

/* *said: it says what is predicted. */
static int from_yaml(bl_architecture *a, bool *said, const bl_checkpoint *c, bl_error *err) {
    char value[128];
    *said = true;
    int rc = check_yaml_schedule(c, err);
    double scale = 0;
    rc = rc ? rc : yaml_number(&scale, c, YAML "scale_factor", err);
    if (rc) {
        return rc;
    }
    a->vae.scale = scale > 0 ? scale : a->vae.scale;
    if (find_class(value, sizeof value, c, SGM "discretization_config.target")) {
        a->zero_snr = a->zero_snr || strstr(value, "ZeroSNR");
        if (!strstr(value, "ZeroSNR") && strcmp(value, "LegacyDDPMDiscretization") != 0) {
            return refuse_yaml(c, "discretization_config", value, "LegacyDDPMDiscretization", err);
        }
    }
    if (find_yaml(value, sizeof value, c, YAML "parameterization")) {
        if (!is_v(value) && strcmp(value, "eps") != 0) {
            return refuse_yaml(c, "parameterization", value, "eps and v", err);
        }
        a->prediction = is_v(value) ? BL_PREDICT_V : BL_PREDICT_EPSILON;
    } else if (find_class(value, sizeof value, c, SGM "scaling_config.target")) {
        if (strcmp(value, "VScaling") != 0 && strcmp(value, "EpsScaling") != 0) {
            return refuse_yaml(c, "scaling_config", value, "EpsScaling and VScaling", err);
        }
        a->prediction = value[0] == 'V' ? BL_PREDICT_V : BL_PREDICT_EPSILON;
    } else {
        *said = false;
        return 0;
    }
    a->prediction_source = "the .yaml beside the file";
    return 0;
}

static int from_single_file(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    const char *type = metadata(c, "modelspec.prediction_type"),
               *name = metadata(c, "modelspec.architecture");
    bool said;
    a->zero_snr = bl_find_marker(c, "ztsnr") != NULL;
    int rc = from_yaml(a, &said, c, err);
    if (rc) {
        return rc;
    }
    if (bl_find_marker(c, "v_pred")) {
        a->prediction = BL_PREDICT_V;
        a->prediction_source = "marker tensor v_pred";
    } else if (said) {
        return 0;
    } else if (type && (is_v(type) || strcmp(type, "epsilon") == 0)) {
        a->prediction = is_v(type) ? BL_PREDICT_V : BL_PREDICT_EPSILON;
        a->prediction_source = "metadata modelspec.prediction_type";
    } else if (a->family == &bl_sd2 && name && (strstr(name, "v2-512") || strstr(name, "v2-768-v"))) {
        a->prediction = strstr(name, "v2-512") ? BL_PREDICT_EPSILON : BL_PREDICT_V;
        a->prediction_source = "metadata modelspec.architecture";
    } else if (a->family == &bl_sd2) {
        return guess_sd2(a, c, err);
    } else {
        a->prediction = a->family->prediction;
        a->prediction_source = "usual for the family";
    }
    return 0;
}

int bl_detect_prediction(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    return c->scheduler ? from_scheduler(a, c, err) : from_single_file(a, c, err);
}
