#include "adapter/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WIDTH 65536 /* numbers of a vector */

void bl_embedding_clear(bl_embedding *e) {
    free(e->name);
    for (int i = 0; i < BL_FAMILY_ENCODERS; i++) {
        free(e->values[i]);
    }
    *e = (bl_embedding){0};
}

static bool ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static int refuse_pickle(const char *path, bl_error *err) {
    return bl_fail(
        err, BL_E_UNSUPPORTED,
        "%.300s is a PyTorch pickle, which can run any code when it is loaded; convert it: python3 -c "
        "\"import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], map_location='cpu', "
        "weights_only=True); d = d.get('string_to_param', d); s.save_file({'emb_params': [v for v in "
        "d.values() if torch.is_tensor(v)][0].detach().clone().contiguous()}, sys.argv[2])\" IN.pt "
        "OUT.safetensors",
        path);
}

/* Whose text encoder reads vectors of this width. */
static const char *family_of(int64_t width) {
    return width == 768 ? "SD 1.x" : width == 1024 ? "SD 2.x" : width == 1280 ? "SDXL" : "another family";
}

/* Number of vectors; 0: the tensor is none of them. */
static int64_t rows_of(const bl_file_tensor *t) {
    return t->rank == 1 ? 1 : t->rank == 2 ? t->shape[0] : 0;
}

static int read_one(bl_embedding *out, int encoder, const bl_safetensors *f, const bl_file_tensor *t,
                    const bl_architecture *arch, bl_error *err) {
    const char *path = bl_safetensors_path(f);
    int64_t rows = rows_of(t), width = t->rank ? t->shape[t->rank - 1] : 0,
            wanted = arch->text[encoder].width;
    if (width != wanted) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.300s: \"%.100s\" has vectors of %lld numbers, and this %s model's %s reads %lld: it is for "
            "%s",
            path, t->name, (long long)width, arch->family->name,
            bl_module_name(encoder ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER), (long long)wanted,
            family_of(width));
    }
    if (rows < 1 || rows > BL_EMBEDDING_VECTORS || (encoder && rows != out->vectors)) {
        return bl_fail(err, BL_E_FORMAT, "%.300s: \"%.100s\" holds %lld vectors; %s", path, t->name,
                       (long long)rows,
                       encoder && rows >= 1 ? "its clip_l holds another number" : "an embedding has 1 to 75");
    }
    size_t n = (size_t)(rows * width), size = t->dtype == BL_DTYPE_COUNT ? 0 : bl_dtype_size(t->dtype);
    void *stored = malloc(n * 8 + 1);
    float *values = malloc(n * sizeof *values + 1);
    int rc = stored && values ? 0 : bl_fail_memory(err, "an embedding", n * sizeof *values);
    if (!rc && size * n == t->bytes) {
        rc = bl_safetensors_read(f, t->offset, t->bytes, stored, err);
    }
    if (!rc && (size * n != t->bytes || bl_convert(values, BL_F32, stored, t->dtype, n))) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "%.300s: \"%.100s\" has type %.20s; F32, F16, BF16 and F64 are read", path, t->name,
                     t->dtype_name);
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = isfinite(values[i])
                 ? 0
                 : bl_fail(err, BL_E_FORMAT, "%.300s: \"%.100s\" holds a NaN or an infinity", path, t->name);
    }
    free(stored);
    if (rc) {
        free(values);
        return rc;
    }
    out->vectors = (int)rows;
    out->values[encoder] = values;
    return 0;
}

static int read_all(bl_embedding *out, const bl_safetensors *f, const bl_architecture *arch, bl_error *err) {
    int count, rc;
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count), *l = bl_safetensors_find(f, "clip_l"),
                         *g = bl_safetensors_find(f, "clip_g");
    bool two = arch->family->encoders == 2, holds_two = l && g;
    if (two != holds_two) {
        return bl_fail(
            err, BL_E_UNSUPPORTED, "%.300s is no embedding for this %s model: %s", bl_safetensors_path(f),
            arch->family->name,
            holds_two ? "it holds clip_l and clip_g, which is for SDXL"
                      : "it does not hold clip_l and clip_g, which SDXL needs; it is for SD 1.x or SD 2.x");
    }
    if (two) {
        rc = read_one(out, 0, f, l, arch, err);
        return rc ? rc : read_one(out, 1, f, g, arch, err);
    }
    for (int i = 0; i < count; i++) {
        if (rows_of(&t[i])) {
            return read_one(out, 0, f, &t[i], arch, err);
        }
    }
    return bl_fail(err, BL_E_FORMAT, "%.300s: none of its %d tensors is a list of vectors",
                   bl_safetensors_path(f), count);
}

bool bl_embedding_look(int *vectors, int *width, const char **family, const char *path) {
    bl_safetensors *f = NULL;
    bl_error ignored = {0};
    if (bl_safetensors_open(&f, path, &ignored)) {
        return false;
    }
    int count;
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count), *first = bl_safetensors_find(f, "clip_l"),
                         *second = bl_safetensors_find(f, "clip_g");
    for (int i = 0; i < count && !(first && second); i++) {
        if (rows_of(&all[i])) {
            first = &all[i];
            break;
        }
    }
    bool two = first && second && rows_of(first) == rows_of(second),
         good = first && (two || count == 1) && rows_of(first) >= 1 && rows_of(first) <= BL_EMBEDDING_VECTORS;
    int64_t wide = good ? first->shape[first->rank - 1] + (two ? second->shape[second->rank - 1] : 0) : 0;
    good = good && wide >= 1 && wide <= MOST_WIDTH;
    if (good) {
        *vectors = (int)rows_of(first);
        *width = (int)wide;
        *family = two ? "SDXL" : family_of(wide);
    }
    bl_safetensors_close(&f);
    return good;
}

int bl_embedding_open(bl_embedding *out, const char *path, const char *name, const bl_architecture *arch,
                      bl_error *err) {
    bl_embedding e = {.name = strdup(name)};
    bl_safetensors *f = NULL;
    *out = (bl_embedding){0};
    int rc = !e.name                       ? bl_fail_memory(err, "an embedding", strlen(name))
             : !ends(path, ".safetensors") ? refuse_pickle(path, err)
                                           : bl_safetensors_open(&f, path, err);
    rc = rc ? rc : read_all(&e, f, arch, err);
    bl_safetensors_close(&f);
    if (rc) {
        bl_embedding_clear(&e);
        return rc;
    }
    *out = e;
    return 0;
}
