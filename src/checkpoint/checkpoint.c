#include "checkpoint/checkpoint.h"

#include "checkpoint/file_kind.h"
#include "checkpoint/internal.h"
#include "core/text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_YAML_BYTES (1 << 20)

/* ---- opening */

int bl_add_file(bl_checkpoint *c, const char *path, bl_error *err) {
    if (c->file_count == BL_MAX_FILES) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: a checkpoint of more than %d files is not read", c->path,
                       BL_MAX_FILES);
    }
    int rc = bl_safetensors_open(&c->files[c->file_count], path, err);
    if (!rc) {
        c->file_count++;
    }
    return rc;
}

bool bl_is_folder(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

bool bl_is_file(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* The autoencoder that replaces the checkpoint's own. */
static int open_vae(bl_checkpoint *c, const char *vae_path, bl_error *err) {
    if (bl_is_folder(vae_path)) {
        return bl_open_vae_folder(c, vae_path, err);
    }
    int rc = bl_add_file(c, vae_path, err);
    return rc ? rc : bl_take_vae(c, c->file_count - 1, err);
}

/* "X.safetensors" or "X.gguf" -> "X" + end. Owner: the caller. NULL if the path is another one, or memory is
 * short (*failed). */
static char *name_beside(const char *path, const char *end, bool *failed) {
    const size_t n = strlen(path), m = bl_weights_suffix(path);
    *failed = false;
    if (!m || n <= m) {
        return NULL;
    }
    char *name = malloc(n - m + strlen(end) + 1);
    if (name) {
        memcpy(name, path, n - m);
        memcpy(name + n - m, end, strlen(end) + 1);
    }
    *failed = !name;
    return name;
}

/* What people put beside a single file: its configuration, and an autoencoder unless another one is given. */
static int open_beside(bl_checkpoint *c, bool vae_too, bl_error *err) {
    bool failed, failed_vae = false;
    char *yaml = name_beside(c->path, ".yaml", &failed),
         *vae = vae_too ? name_beside(c->path, ".vae.safetensors", &failed_vae) : NULL;
    int rc = failed || failed_vae ? bl_fail_memory(err, "a path", strlen(c->path)) : 0;
    if (!rc && yaml) {
        rc = bl_text_file_read(&c->yaml, &c->yaml_bytes, yaml, MAX_YAML_BYTES, err);
    }
    if (!rc && vae && !access(vae, F_OK)) {
        rc = open_vae(c, vae, err);
    }
    free(yaml);
    free(vae);
    return rc;
}

static int open_single_file(bl_checkpoint *c, const char *vae_path, bl_error *err) {
    int rc = bl_add_file(c, c->path, err);
    if (rc) {
        return rc;
    }
    bl_find_single_file_modules(c, 0);
    bl_module_files *denoiser = &c->modules[c->modules[BL_TRANSFORMER].present ? BL_TRANSFORMER : BL_UNET];
    if (denoiser->present && denoiser->naming == BL_NAMES_DIFFUSERS && !denoiser->prefix[0]) {
        rc = bl_config_beside(&denoiser->config, c->path, err); /* out of a folder */
    }
    if (rc) {
        return rc;
    }
    return open_beside(c, !vae_path, err);
}

/* Cuts "/model_index.json" off a path. */
static void cut_index_name(char *path) {
    static const char end[] = "model_index.json";
    size_t n = strlen(path), m = sizeof end - 1;
    if (n >= m && strcmp(path + n - m, end) == 0 && (n == m || path[n - m - 1] == '/')) {
        if (n == m) {
            memcpy(path, ".", 2);
        } else {
            path[n - m - 1] = '\0';
        }
    }
}

int bl_checkpoint_open(bl_checkpoint **out, const char *path, const char *vae_path, bl_error *err) {
    *out = NULL;
    bl_checkpoint *c = calloc(1, sizeof *c);
    int rc;
    if (!c || !(c->path = strdup(path))) {
        rc = bl_fail_memory(err, "a checkpoint", sizeof *c);
        goto fail;
    }
    cut_index_name(c->path);
    c->folder = bl_is_folder(c->path);
    rc = c->folder ? bl_open_folder(c, c->path, err) : open_single_file(c, vae_path, err);
    if (!rc && vae_path) {
        rc = open_vae(c, vae_path, err);
    }
    if (rc) {
        goto fail;
    }
    *out = c;
    return 0;
fail:
    bl_checkpoint_close(&c);
    return rc;
}

void bl_checkpoint_close(bl_checkpoint **ckpt) {
    bl_checkpoint *c = *ckpt;
    if (!c) {
        return;
    }
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        json_decref(c->modules[i].config);
    }
    json_decref(c->scheduler);
    json_decref(c->index);
    for (int i = 0; i < 2; i++) {
        json_decref(c->tokenizers[i].config);
        json_decref(c->tokenizers[i].words);
    }
    free(c->vocabulary);
    free(c->yaml);
    for (int i = 0; i < c->file_count; i++) {
        bl_safetensors_close(&c->files[i]);
    }
    free(c->path);
    free(c);
    *ckpt = NULL;
}

/* ---- asking */

const char *bl_checkpoint_path(const bl_checkpoint *ckpt) {
    return ckpt->path;
}

bool bl_checkpoint_is_folder(const bl_checkpoint *ckpt) {
    return ckpt->folder;
}

const bl_safetensors *bl_checkpoint_file(const bl_checkpoint *ckpt, int index) {
    return ckpt->files[index];
}

bool bl_checkpoint_has_module(const bl_checkpoint *ckpt, bl_module module) {
    return ckpt->modules[module].present;
}

const bl_safetensors *bl_checkpoint_module_file(const bl_checkpoint *ckpt, bl_module module) {
    const bl_module_files *p = &ckpt->modules[module];
    return p->present ? ckpt->files[p->first_file] : NULL;
}

const bl_file_tensor *bl_find_in_files(const bl_checkpoint *c, int first, int count, const char *prefix,
                                       const char *name, int *file) {
    char full[BL_PREFIX_BYTES + BL_STORED_BYTES];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int i = first; i < first + count; i++) {
        const bl_file_tensor *t = bl_safetensors_find(c->files[i], full);
        if (t) {
            *file = i;
            return t;
        }
    }
    return NULL;
}

static const bl_file_tensor *find_stored(const bl_checkpoint *c, const bl_module_files *p, const bl_stored *s,
                                         int *file) {
    const bl_file_tensor *t = bl_find_in_files(c, p->first_file, p->file_count, p->prefix, s->name, file);
    if (!t && s->other[0]) {
        t = bl_find_in_files(c, p->first_file, p->file_count, p->prefix, s->other, file);
    }
    return t;
}

/* Takes the share of the first axis, or exchanges the axes, or its halves. False if the stored shape does not
 * allow it. */
static bool make_view(bl_view *v, const bl_safetensors *file, const bl_file_tensor *t, const bl_stored *s) {
    *v = (bl_view){.file = file, .stored = t, .dtype = bl_tensor_dtype(t), .rank = t->rank};
    memcpy(v->shape, t->shape, sizeof v->shape);
    if (s->shares > 1) {
        if (t->rank < 1 || t->shape[0] % s->shares) {
            return false;
        }
        v->shape[0] /= s->shares;
        v->first = bl_view_rows(v) * s->share * bl_view_row_elements(v);
        v->shape[0] *= s->spans;
    }
    if (s->transposed) {
        if (t->rank != 2) {
            return false;
        }
        v->shape[0] = t->shape[1];
        v->shape[1] = t->shape[0];
        v->transposed = true;
    }
    v->swapped = s->swapped;
    return !s->swapped || (t->rank >= 1 && t->shape[0] % 2 == 0);
}

bool bl_checkpoint_find(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const char *name) {
    const bl_module_files *p = &ckpt->modules[module];
    bl_stored s;
    int file;
    if (!p->present || !bl_stored_name(&s, p->naming, &p->numbers, p->depth, name)) {
        return false;
    }
    const bl_file_tensor *t = find_stored(ckpt, p, &s, &file);
    return t && make_view(out, ckpt->files[file], t, &s);
}

void bl_checkpoint_stored_name(char *text, size_t room, const bl_checkpoint *ckpt, bl_module module,
                               const char *name) {
    const bl_module_files *p = &ckpt->modules[module];
    bl_stored s;
    if (p->present && bl_stored_name(&s, p->naming, &p->numbers, p->depth, name)) {
        snprintf(text, room, "%s%s", p->prefix, s.name);
    } else {
        snprintf(text, room, "%s", name);
    }
}

/* "[320, 4, 3, 3]" */
static void format_shape(char *text, size_t room, const int64_t *shape, int rank) {
    size_t n = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < rank && n < room; i++) {
        n += (size_t)snprintf(text + n, room - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    if (n < room) {
        snprintf(text + n, room - n, "]");
    }
}

/* Equal but for ones at the end, or one before the rest? */
static bool same_shape(const int64_t *a, int a_rank, const int64_t *b, int b_rank) {
    const int a_first = a_rank > 1 && a[0] == 1, b_first = b_rank > 1 && b[0] == 1;
    if (a_first != b_first) {
        a += a_first;
        a_rank -= a_first;
        b += b_first;
        b_rank -= b_first;
    }
    for (int i = 0; i < a_rank || i < b_rank; i++) {
        if ((i < a_rank ? a[i] : 1) != (i < b_rank ? b[i] : 1)) {
            return false;
        }
    }
    return true;
}

int bl_checkpoint_require(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const char *name,
                          const int64_t *shape, int rank, bl_error *err) {
    const bl_safetensors *holder = bl_checkpoint_module_file(ckpt, module);
    char stored[BL_PREFIX_BYTES + BL_STORED_BYTES], expected[192], found[192];
    if (!holder) {
        return bl_fail(err, BL_E_FORMAT, "%.400s holds no %s", ckpt->path, bl_module_name(module));
    }
    bl_checkpoint_stored_name(stored, sizeof stored, ckpt, module, name);
    format_shape(expected, sizeof expected, shape, rank);
    bl_view v;
    if (!bl_checkpoint_find(&v, ckpt, module, name)) {
        const bl_module_files *p = &ckpt->modules[module];
        int file;
        const bl_file_tensor *t = bl_find_in_files(ckpt, p->first_file, p->file_count, "", stored, &file);
        if (!t) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.300s: tensor \"%.200s\" of the %s is missing; expected shape %s",
                           bl_safetensors_path(holder), stored, bl_module_name(module), expected);
        }
        format_shape(found, sizeof found, t->shape, t->rank); /* no share of it can be taken */
        return bl_fail(
            err, BL_E_FORMAT, "%.300s: tensor \"%.200s\" of the %s has shape %s; expected one that holds %s",
            bl_safetensors_path(ckpt->files[file]), stored, bl_module_name(module), found, expected);
    }
    if (!same_shape(v.shape, v.rank, shape, rank)) {
        format_shape(found, sizeof found, v.shape, v.rank);
        return bl_fail(err, BL_E_FORMAT, "%.300s: tensor \"%.200s\" of the %s has shape %s; expected %s",
                       bl_safetensors_path(v.file), v.stored->name, bl_module_name(module), found, expected);
    }
    if (v.dtype != BL_F32 && v.dtype != BL_F16 && v.dtype != BL_BF16 && v.dtype != BL_F64) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.300s: tensor \"%.200s\" of the %s has type %.20s; Ballast computes from F32, F16, "
                       "BF16, F64, eight-bit floats, int8 with scales, and GGUF's Q4_0 to Q8_0, Q4_K to Q6_K",
                       bl_safetensors_path(v.file), v.stored->name, bl_module_name(module),
                       v.stored->dtype_name);
    }
    v.rank = rank;
    for (int i = 0; i < rank; i++) {
        v.shape[i] = shape[i];
    }
    *out = v;
    return 0;
}
