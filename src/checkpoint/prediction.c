/* What the network predicts, and on which noise schedule it was trained. */
#include "checkpoint/detect.h"
#include "checkpoint/opened.h"
#include "core/dtype.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static int from_single_file(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    const char *type = metadata(c, "modelspec.prediction_type"),
               *name = metadata(c, "modelspec.architecture");
    a->zero_snr = bl_find_marker(c, "ztsnr") != NULL;
    if (bl_find_marker(c, "v_pred")) {
        a->prediction = BL_PREDICT_V;
        a->prediction_source = "marker tensor v_pred";
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
