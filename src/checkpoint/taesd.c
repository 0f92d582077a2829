/* TAESD: a small decoder that stands for a VAE's, in a file of its own; TAEF1 and TAEF2 are those of FLUX's.
 * Its names are told from all others: of a file that holds one, whatever else is there must belong to it, or
 * it is another network. */
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

#define LAYERS 19 /* of the decoder, as diffusers numbers them: the authors count a clamp before them */
#define TENSORS 67
#define POOLED_FIRST 2 /* of the three blocks that TAEF2 has a branch more in */
#define POOLED 3

/* By diffusers' numbers: 0 and 18 convolve, 1 is an activation, 5, 10 and 15 enlarge, and what follows these
 * is a convolution without bias; all others are blocks of three convolutions. */
static bool is_known(int layer, const char *rest) {
    static const char *const block[] = {"conv.0.weight", "conv.0.bias",   "conv.2.weight",
                                        "conv.2.bias",   "conv.4.weight", "conv.4.bias"};
    static const char *const pool[] = {"pool.0.weight", "pool.1.weight", "pool.1.bias", "pool.3.weight"};
    if (layer == 0 || layer == LAYERS - 1) {
        return !strcmp(rest, "weight") || !strcmp(rest, "bias");
    }
    if (layer == 6 || layer == 11 || layer == 16) {
        return !strcmp(rest, "weight");
    }
    bool known = false;
    for (int i = 0; i < 6 && layer > 1 && layer < LAYERS - 1 && layer % 5; i++) {
        known = known || !strcmp(rest, block[i]);
    }
    for (int i = 0; i < 4 && layer >= POOLED_FIRST && layer < POOLED_FIRST + POOLED; i++) {
        known = known || !strcmp(rest, pool[i]);
    }
    return known;
}

/* The layer's number in diffusers' way, and what stands behind it; -1: the name is none of the layout's. */
static int layer_of(const char **rest, const char *name, bl_naming naming) {
    const char *p = naming == BL_NAMES_TAESD ? name : bl_after(name, "decoder.layers.");
    int n = p ? bl_take_number(&p) : -1;
    *rest = p ? p : name;
    return n < 0 ? -1 : naming == BL_NAMES_TAESD ? n - 1 : n;
}

bool bl_taesd_name(bl_stored *out, const char *name) {
    const char *rest;
    int layer = layer_of(&rest, name, BL_NAMES_DIFFUSERS);
    int n = layer < 0 ? -1 : snprintf(out->name, sizeof out->name, "%d.%s", layer + 1, rest);
    return n > 0 && n < (int)sizeof out->name;
}

/* How many of its tensors are the decoder's in this layout; *other: the first that is neither its own nor of
 * an encoder beside it. */
static int count_own(const char **other, const bl_safetensors *f, bl_naming naming) {
    int count, own = 0;
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
    *other = NULL;
    for (int i = 0; i < count; i++) {
        const char *rest;
        int layer = layer_of(&rest, t[i].name, naming);
        if (layer >= 0 && is_known(layer, rest)) {
            own++;
        } else if (!*other && !bl_after(t[i].name, "encoder.")) {
            *other = t[i].name;
        }
    }
    return own;
}

/* "12.weight [64, 16, 3, 3]" of a file that is none. */
static int refuse(const bl_safetensors *f, bl_error *err) {
    int count;
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
    const bl_file_tensor *first = bl_safetensors_find(f, "0.weight");
    if (first && bl_safetensors_find(f, "1.conv.0.weight")) {
        return bl_fail(err, BL_E_FORMAT,
                       "taesd: %.300s is TAESD's encoder; the decoder is a file of its own, "
                       "taesd_decoder.safetensors or taesdxl_decoder.safetensors",
                       bl_safetensors_path(f));
    }
    return bl_fail(
        err, BL_E_FORMAT,
        "taesd: %.300s is no TAESD decoder: saw %d tensors, the first \"%.100s\"; wanted are those of "
        "taesd_decoder.safetensors (\"1.weight\", \"3.conv.0.weight\", ...) or of diffusers' "
        "AutoencoderTiny (\"decoder.layers.0.weight\", ...)",
        bl_safetensors_path(f), count, count ? t[0].name : "");
}

int bl_checkpoint_take_taesd(bl_checkpoint *c, const char *path, bl_error *err) {
    static const bl_naming layouts[] = {BL_NAMES_TAESD, BL_NAMES_DIFFUSERS};
    if (bl_is_folder(path)) {
        return bl_fail(err, BL_E_FORMAT,
                       "taesd: %.400s is a folder; give the file in it, diffusion_pytorch_model.safetensors",
                       path);
    }
    int rc = bl_add_file(c, path, err);
    if (rc) {
        return rc;
    }
    const int file = c->file_count - 1;
    for (int i = 0; i < 2; i++) {
        const char *other;
        int own = count_own(&other, c->files[file], layouts[i]);
        if (own < TENSORS / 2) {
            continue;
        }
        if (other) {
            return bl_fail(err, BL_E_FORMAT,
                           "taesd: %.300s: tensor \"%.100s\" is none of TAESD's decoder: it is a relative of "
                           "another make (TAEHV), or damaged",
                           path, other);
        }
        c->modules[BL_TAESD] =
            (bl_module_files){.present = true, .first_file = file, .file_count = 1, .naming = layouts[i]};
        return 0;
    }
    return refuse(c->files[file], err);
}

/* Has a block the branch? One that only some have is missing in the others. */
static bool has_pool(const bl_checkpoint *c) {
    bool has = false;
    for (int i = POOLED_FIRST; i < POOLED_FIRST + POOLED; i++) {
        has = has || bl_has_tensor(c, BL_TAESD, "decoder.layers.%d.pool.0.weight", i);
    }
    return has;
}

int bl_detect_taesd(bl_taesd_architecture *out, const bl_checkpoint *c, const bl_family *family,
                    bl_error *err) {
    bl_taesd_architecture t = {.channels = 0};
    *out = t;
    if (!bl_checkpoint_has_module(c, BL_TAESD)) {
        return 0;
    }
    int rc = bl_dimension(&t.channels, c, BL_TAESD, 0, err, "decoder.layers.0.weight");
    rc = rc ? rc : bl_dimension(&t.latent_channels, c, BL_TAESD, 1, err, "decoder.layers.0.weight");
    t.pooled = has_pool(c);
    if (!rc && t.latent_channels != bl_family_vae_channels(family)) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "taesd: %.300s decodes latents of %d channels%s; those of %s have %d",
                     bl_safetensors_path(bl_checkpoint_module_file(c, BL_TAESD)), t.latent_channels,
                     t.latent_channels == 16   ? ", as SD 3 and FLUX.1 have them"
                     : t.latent_channels == 32 ? ", as FLUX.2 has them"
                                               : "",
                     family->name, bl_family_vae_channels(family));
    }
    if (!rc) {
        *out = t;
    }
    return rc;
}
