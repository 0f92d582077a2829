/* Scales of weights stored as eight-bit floats or integers in safetensors, in the namings in use:
 *
 * - X.weight in F8_E4M3 with X.scale_weight, in a file with the marker tensor `scaled_fp8` (older), or with
 * X.weight_scale; without either the codes are the values.
 * - X.weight in I8 with X.weight_scale, of which X.comfy_quant (a tensor of bytes that are JSON) or the
 * header's
 *   `_quantization_metadata` says {"format": "int8_tensorwise"}, rotated or not (ConvRot).
 *
 * Scales of activations (input_scale, scale_input) are nobody's here. Documents: ComfyUI, QUANTIZATION.md;
 * stable-diffusion.cpp, docs/int8_convrot.md. */
#include "checkpoint/tensor_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_ROOM 512
#define MAX_QUANT_BYTES 4096

static const char weight_end[] = ".weight";

typedef struct work {
    bl_safetensors *file;
    json_t *layers; /* of the header's metadata: {X: {"format": ...}}, or NULL */
    bool marker;
    int64_t used; /* of file->scales */
    bl_error *err;
} work;

static bool small_type(const bl_file_tensor *t) {
    return strcmp(t->dtype_name, "F8_E4M3") == 0 || strcmp(t->dtype_name, "F8_E5M2") == 0 ||
           t->dtype == BL_I8;
}

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

/* "X.weight" -> the tensor "X" + end; NULL where there is none. */
static bl_file_tensor *sibling(const work *w, const bl_file_tensor *t, const char *end) {
    char name[NAME_ROOM];
    const size_t stem = strlen(t->name) - (sizeof weight_end - 1);
    const int n = snprintf(name, sizeof name, "%.*s%s", (int)stem, t->name, end);
    return n < (int)sizeof name ? (bl_file_tensor *)bl_safetensors_find(w->file, name) : NULL;
}

static int fail(const work *w, const bl_file_tensor *t, const char *what) {
    return bl_fail_tensor(w->err, w->file->path, t->name, what);
}

/* ---- what a layer's format says */

typedef struct format {
    const char *name; /* "": nothing is said */
    int64_t rotation;
} format;

/* The object that describes the layer of the weight; *out NULL where nothing does. The caller owns it. */
static int read_description(const work *w, const bl_file_tensor *t, json_t **out) {
    const bl_file_tensor *q = sibling(w, t, ".comfy_quant");
    *out = NULL;
    if (!q) {
        char stem[NAME_ROOM];
        snprintf(stem, sizeof stem, "%.*s", (int)(strlen(t->name) - (sizeof weight_end - 1)), t->name);
        *out = json_incref(json_object_get(w->layers, stem));
        return 0;
    }
    char text[MAX_QUANT_BYTES];
    if (q->dtype != BL_U8 || q->bytes > sizeof text) {
        return fail(w, q, "must be the bytes of a short JSON object");
    }
    int rc = bl_safetensors_read(w->file, q->offset, q->bytes, text, w->err);
    *out = rc ? NULL : json_loadb(text, q->bytes, JSON_REJECT_DUPLICATES, NULL);
    if (!rc && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        rc = fail(w, q, "must be the bytes of a short JSON object");
    }
    return rc;
}

static int read_rotation(const work *w, const bl_file_tensor *t, const json_t *d, int *out) {
    const json_t *group = json_object_get(d, "convrot_groupsize");
    *out = 0;
    if (!json_is_true(json_object_get(d, "convrot"))) {
        return 0;
    }
    const json_int_t n = json_integer_value(group), columns = t->rank == 2 ? t->shape[1] : 0;
    bool four = json_is_integer(group) && n >= 4 && n <= columns && columns % n == 0;
    for (json_int_t i = four ? n : 1; i > 1; i /= 4) {
        four &= i % 4 == 0;
    }
    if (!four) {
        return fail(w, t, "its convrot_groupsize must be a power of four that divides its columns");
    }
    *out = (int)n;
    return 0;
}

static int check_format(const work *w, const bl_file_tensor *t, const char *name) {
    static const struct {
        const char *name, *dtype;
    } known[] = {{"float8_e4m3fn", "F8_E4M3"}, {"float8_e5m2", "F8_E5M2"}, {"int8_tensorwise", "I8"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (name && strcmp(name, known[i].name) == 0) {
            return strcmp(t->dtype_name, known[i].dtype) == 0
                       ? 0
                       : bl_fail(w->err, BL_E_FORMAT,
                                 "%.300s: tensor \"%.200s\" is said to be %s, but has type %.20s",
                                 w->file->path, t->name, name, t->dtype_name);
        }
    }
    return bl_fail(
        w->err, BL_E_UNSUPPORTED,
        "%.300s: the weights of \"%.200s\" are in the format \"%.40s\"; Ballast reads float8_e4m3fn, "
        "float8_e5m2 and int8_tensorwise",
        w->file->path, t->name, name ? name : "");
}

/* ---- scales */

static int take_scale(work *w, bl_file_tensor *t, const bl_file_tensor *scale) {
    int64_t values = 1, rows = t->rank ? t->shape[0] : 1;
    for (int i = 0; i < scale->rank; i++) {
        values *= scale->shape[i];
    }
    const bool one = values == 1, by_row = values == rows && (scale->rank == 1 || scale->shape[0] == rows);
    if (scale->dtype != BL_F32 && scale->dtype != BL_F16 && scale->dtype != BL_BF16) {
        return fail(w, scale, "a scale must be of type F32, F16 or BF16");
    }
    if (!one && !by_row) {
        return bl_fail(w->err, BL_E_FORMAT,
                       "%.300s: \"%.200s\" must hold one scale, or one for each of %" PRId64 " rows",
                       w->file->path, scale->name, rows);
    }
    float *to = w->file->scales + w->used;
    char *raw = malloc(scale->bytes + 1);
    int rc = raw ? bl_safetensors_read(w->file, scale->offset, scale->bytes, raw, w->err)
                 : bl_fail_memory(w->err, "scales", scale->bytes);
    if (!rc) {
        bl_convert(to, BL_F32, raw, scale->dtype, (size_t)values);
    }
    free(raw);
    for (int64_t i = 0; i < values && !rc; i++) {
        rc = isfinite(to[i]) ? 0 : fail(w, scale, "holds a scale that is not a finite number");
    }
    if (!rc) {
        t->scales = to;
        t->scale_count = values;
        w->used += values;
    }
    return rc;
}

/* A byte each value: nobody has checked it of types that have no elements here. */
static bool whole(const bl_file_tensor *t) {
    uint64_t values = 1; /* fits: the shape was checked when it was read */
    for (int i = 0; i < t->rank; i++) {
        values *= (uint64_t)t->shape[i];
    }
    return values == t->bytes;
}

static void store_codes(bl_file_tensor *t) {
    t->storage = t->dtype == BL_I8                       ? BL_STORED_I8
                 : strcmp(t->dtype_name, "F8_E4M3") == 0 ? BL_STORED_F8_E4M3
                                                         : BL_STORED_F8_E5M2;
    t->dtype = BL_DTYPE_COUNT;
}

static int resolve(work *w, bl_file_tensor *t) {
    const bl_file_tensor *older = sibling(w, t, ".scale_weight"), *newer = sibling(w, t, ".weight_scale");
    json_t *d;
    int rc = read_description(w, t, &d);
    if (!rc && d) {
        rc = check_format(w, t, json_string_value(json_object_get(d, "format")));
        rc = rc ? rc : read_rotation(w, t, d, &t->rotation);
    }
    const bool small = small_type(t), described = d != NULL;
    json_decref(d);
    if (rc || !small || (t->dtype == BL_I8 && !described)) {
        return rc; /* bytes that nobody calls a weight's codes are refused where a weight is asked for */
    }
    if (!whole(t)) {
        return fail(w, t, "has another number of bytes than its shape and type need");
    }
    if (older && newer) {
        return fail(w, t, "has both a scale_weight and a weight_scale");
    }
    if (!older && !newer && (described || w->marker)) {
        return fail(w, t, "lacks its scale");
    }
    store_codes(t);
    return older || newer ? take_scale(w, t, older ? older : newer) : 0;
}

/* ---- all of them */

/* Is the layer that a description names there? */
static int check_orphans(const work *w) {
    char name[NAME_ROOM];
    const char *layer;
    json_t *value;
    json_object_foreach(w->layers, layer, value) {
        snprintf(name, sizeof name, "%.400s.weight", layer);
        if (!bl_safetensors_find(w->file, name)) {
            return bl_fail(w->err, BL_E_FORMAT,
                           "%.300s: _quantization_metadata describes \"%.200s\", which has no weight",
                           w->file->path, layer);
        }
    }
    for (int i = 0; i < w->file->tensor_count; i++) {
        const bl_file_tensor *t = &w->file->tensors[i];
        if (ends_with(t->name, ".comfy_quant")) {
            snprintf(name, sizeof name, "%.*s.weight", (int)(strlen(t->name) - strlen(".comfy_quant")),
                     t->name);
            if (!bl_safetensors_find(w->file, name)) {
                return fail(w, t, "describes a layer that has no weight");
            }
        }
    }
    return 0;
}

static int read_layers(work *w, json_t **root) {
    const char *text = bl_safetensors_metadata(w->file, "_quantization_metadata");
    *root = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    w->layers = json_object_get(*root, "layers");
    return text && !json_is_object(w->layers)
               ? bl_fail(w->err, BL_E_FORMAT,
                         "%.400s: _quantization_metadata must be JSON with an object \"layers\"",
                         w->file->path)
               : 0;
}

int bl_scales_resolve(bl_safetensors *f, bl_error *err) {
    int64_t most = 0;
    bool any = bl_safetensors_metadata(f, "_quantization_metadata") != NULL;
    for (int i = 0; i < f->tensor_count; i++) {
        const bl_file_tensor *t = &f->tensors[i];
        const bool weight = ends_with(t->name, weight_end) && small_type(t);
        any |= small_type(t) || ends_with(t->name, ".comfy_quant");
        most += weight ? (t->rank && t->shape[0] > 1 ? t->shape[0] : 1) : 0;
    }
    if (!any) {
        return 0;
    }
    work w = {.file = f, .marker = bl_safetensors_find(f, "scaled_fp8") != NULL, .err = err};
    json_t *root = NULL;
    f->scales = malloc((size_t)most * sizeof *f->scales + 1);
    int rc =
        f->scales ? read_layers(&w, &root) : bl_fail_memory(err, "scales", (size_t)most * sizeof *f->scales);
    rc = rc ? rc : check_orphans(&w);
    for (int i = 0; i < f->tensor_count && !rc; i++) {
        bl_file_tensor *t = &f->tensors[i];
        if (ends_with(t->name, weight_end)) {
            rc = resolve(&w, t);
        } else if (small_type(t) && t->dtype != BL_I8 && whole(t)) {
            store_codes(t); /* a bias has no scale */
        }
    }
    json_decref(root);
    return rc;
}
