/* Text encoders that lie in files of their own, as UNets without them are published. Which encoder a file
 * holds is read from its tensors: each in turn is held against what the unet reads. */
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

typedef struct layout {
    bl_naming naming;
    const char *probe; /* a tensor's name starts with prefix + probe */
} layout;

static const layout layouts[] = {{BL_NAMES_DIFFUSERS, "text_model."},
                                 {BL_NAMES_OPEN_CLIP, "transformer.resblocks."},
                                 {BL_NAMES_CLIP_BARE, "encoder.layers."}};

/* Before an encoder's names in whole models, and in files of encoders alone. */
static const char *const prefixes[] = {"",
                                       "cond_stage_model.transformer.",
                                       "cond_stage_model.model.",
                                       "conditioner.embedders.0.transformer.",
                                       "conditioner.embedders.0.model.",
                                       "conditioner.embedders.1.model.",
                                       "text_encoder.",
                                       "text_encoder_2.",
                                       "clip_l.",
                                       "clip_l.transformer.",
                                       "clip_h.",
                                       "clip_h.transformer.",
                                       "clip_g.",
                                       "clip_g.transformer.",
                                       "text_encoders.clip_l.transformer.",
                                       "text_encoders.clip_g.transformer."};

/* What the unet reads. */
typedef struct need {
    int context; /* width of the text's hidden states, of all encoders together */
    int pooled;  /* width of the projected text; 0: it reads none */
} need;

static bool find_need(need *out, const bl_checkpoint *c) {
    need n = {0, 0};
    bl_error ignored;
    bool found = false;
    for (int level = 0; level < BL_ARCH_LEVELS && !found; level++) {
        for (int j = 0; j < BL_ARCH_BLOCKS && !found; j++) {
            found = !bl_dimension(&n.context, c, BL_UNET, 1, &ignored,
                                  "down_blocks.%d.attentions.%d.transformer_blocks.0.attn2.to_k.weight",
                                  level, j);
        }
    }
    found = found || !bl_dimension(&n.context, c, BL_UNET, 1, &ignored,
                                   "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight");
    int adm;
    if (!bl_dimension(&adm, c, BL_UNET, 1, &ignored, "add_embedding.linear_1.weight")) {
        n.pooled = adm - BL_SIZE_VALUES * BL_SIZE_VALUE_DIM;
    }
    *out = n;
    return found;
}

/* The module that this encoder can be, or -1. `width`: of its hidden states, also where it fits nowhere. */
static int module_of(int *width, bl_checkpoint *c, const bl_module_files *encoder, need n) {
    bl_module_files own = c->modules[BL_TEXT_ENCODER];
    bl_error ignored;
    int projection = 0;
    c->modules[BL_TEXT_ENCODER] = *encoder;
    bool whole =
        !bl_dimension(width, c, BL_TEXT_ENCODER, 1, &ignored, "text_model.embeddings.token_embedding.weight");
    bool projects = !bl_dimension(&projection, c, BL_TEXT_ENCODER, 0, &ignored, "text_projection.weight");
    c->modules[BL_TEXT_ENCODER] = own;
    if (!whole) {
        *width = 0;
        return -1;
    }
    if (!n.pooled) {
        return *width == n.context ? BL_TEXT_ENCODER : -1;
    }
    /* Of two, the second is the one that is read pooled; both together make the context. */
    if (*width >= n.context) {
        return -1;
    }
    return projects && projection == n.pooled ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
}

/* What one call of bl_checkpoint_take_text_encoders has found. */
typedef struct finding {
    need n;
    const char *path;
    int taken; /* encoders that fit */
    int width; /* of the last that did not */
} finding;

/* Takes one encoder if it fits. Its configuration is taken, or given back, in any case. */
static int offer(bl_checkpoint *c, finding *f, bl_module_files *encoder, bl_error *err) {
    int width = 0, module = module_of(&width, c, encoder, f->n);
    if (module < 0) {
        f->width = width ? width : f->width;
        json_decref(encoder->config);
        return 0;
    }
    bl_module_files *own = &c->modules[module];
    if (own->given) {
        json_decref(encoder->config);
        return bl_fail(err, BL_E_ARGUMENT,
                       "text-encoder: %.400s and %.400s hold the same one of the model's encoders",
                       bl_safetensors_path(c->files[own->first_file]), f->path);
    }
    json_decref(own->config);
    encoder->given = true;
    *own = *encoder;
    f->taken++;
    return 0;
}

static bool has_start(const bl_safetensors *file, const char *wrapper, const char *prefix,
                      const char *probe) {
    char full[BL_WRAPPER_BYTES + 2 * BL_PREFIX_BYTES];
    snprintf(full, sizeof full, "%s%s%s", wrapper, prefix, probe);
    return bl_safetensors_find_prefix(file, full) != NULL;
}

/* All encoders of a file below this wrapper. *count: how many there were. */
static int offer_file(bl_checkpoint *c, finding *f, int file, const char *wrapper, int *count,
                      bl_error *err) {
    int rc = 0;
    *count = 0;
    for (int p = 0; p < COUNT(prefixes); p++) {
        for (int i = 0; i < COUNT(layouts); i++) {
            if (rc || !has_start(c->files[file], wrapper, prefixes[p], layouts[i].probe)) {
                continue;
            }
            bl_module_files e = {
                .present = true, .first_file = file, .file_count = 1, .naming = layouts[i].naming};
            snprintf(e.prefix, sizeof e.prefix, "%s%s", wrapper, prefixes[p]);
            rc = prefixes[p][0] ? 0 : bl_config_beside(&e.config, f->path, err);
            rc = rc ? rc : offer(c, f, &e, err);
            ++*count;
            break; /* of one encoder, one layout */
        }
    }
    return rc;
}

static int take_file(bl_checkpoint *c, finding *f, bl_error *err) {
    char wrapper[BL_WRAPPER_BYTES] = "";
    int file = c->file_count, count = 0;
    int rc = bl_add_file(c, f->path, err);
    if (rc) {
        return rc;
    }
    do {
        rc = offer_file(c, f, file, wrapper, &count, err);
    } while (!rc && !count && bl_next_wrapper(wrapper, c->files[file]));
    return rc;
}

static int take_folder(bl_checkpoint *c, finding *f, bl_error *err) {
    static const char *const inner[] = {"", "text_encoder", "text_encoder_2"};
    int rc = 0;
    for (int i = 0; i < COUNT(inner) && !rc; i++) {
        char folder[BL_PATH_ROOM];
        bl_module_files e = {.present = false};
        rc = bl_join_path(folder, f->path, inner[i], err);
        rc = rc ? rc : bl_open_text_encoder_folder(c, &e, folder, err);
        if (!rc && e.present) {
            rc = offer(c, f, &e, err);
        } else {
            json_decref(e.config);
        }
    }
    return rc;
}

/* ---- of families whose reader is a language model */

static const layout readers[] = {{BL_NAMES_DIFFUSERS, "model.layers.0.self_attn.q_norm."},
                                 {BL_NAMES_QWEN_BARE, "layers.0.self_attn.q_norm."},
                                 {BL_NAMES_LLAMA, "blk.0.attn_q_norm."}};

static const char *const reader_prefixes[] = {"", "text_encoder.", "text_encoders.qwen3_4b.transformer.",
                                              "text_encoders.qwen3_8b.transformer."};

/* What an encoder of one kind is called. */
typedef struct kind {
    const layout *layouts;
    int layout_count;
    const char *const *prefixes;
    int prefix_count;
} kind;

/* The encoder in files [first, first + count) below prefix number *from or a later one, behind which *from
 * is moved; absent where there is none. */
static bl_module_files find_kind(const bl_checkpoint *c, int first, int count, const kind *k, int *from) {
    bl_module_files e = {.first_file = first, .file_count = count};
    for (; *from < k->prefix_count && !e.present; ++*from) {
        const int p = *from;
        for (int i = 0; i < k->layout_count && !e.present; i++) {
            for (int f = first; f < first + count && !e.present; f++) {
                e.present = has_start(c->files[f], "", k->prefixes[p], k->layouts[i].probe);
                e.naming = k->layouts[i].naming;
            }
        }
        snprintf(e.prefix, sizeof e.prefix, "%s", k->prefixes[p]);
    }
    return e;
}

static bl_module_files find_reader(const bl_checkpoint *c, int first, int count) {
    static const kind qwen = {readers, COUNT(readers), reader_prefixes, COUNT(reader_prefixes)};
    int from = 0;
    return find_kind(c, first, count, &qwen, &from);
}

/* Whether it is one that the denoiser can read, detection says. */
static int take_reader(bl_checkpoint *c, const char *path, bl_error *err) {
    bl_module_files *own = &c->modules[BL_TEXT_ENCODER], opened = {.present = false};
    const int first = c->file_count;
    if (own->given) {
        return bl_fail(err, BL_E_ARGUMENT, "text-encoder: %.400s is a second one, of which the model has one",
                       path);
    }
    int rc;
    if (bl_is_folder(path)) {
        char inner[BL_PATH_ROOM];
        rc = bl_open_text_encoder_folder(c, &opened, path, err);
        if (!rc && !opened.present) {
            rc = bl_join_path(inner, path, "text_encoder", err);
            rc = rc ? rc : bl_open_text_encoder_folder(c, &opened, inner, err);
        }
    } else {
        rc = bl_add_file(c, path, err);
        rc = rc ? rc : bl_config_beside(&opened.config, path, err);
    }
    bl_module_files e = find_reader(c, first, c->file_count - first);
    if (!rc && !e.present) {
        rc = bl_fail(err, BL_E_FORMAT, "text-encoder: %.400s holds no Qwen3 language model", path);
    }
    if (rc) {
        json_decref(opened.config);
        return rc;
    }
    json_decref(own->config);
    e.given = true;
    e.config = opened.config;
    *own = e;
    return 0;
}

/* ---- of families that T5 reads for, beside one or two of CLIP */

static const layout t5_layouts[] = {{BL_NAMES_DIFFUSERS, "encoder.block.0.layer.0.SelfAttention.q."},
                                    {BL_NAMES_LLAMA_T5, "enc.blk.0.attn_q."}};

static const char *const t5_prefixes[] = {"", "text_encoders.t5xxl.transformer.", "t5xxl.transformer.",
                                          "text_encoder_2."};

/* Puts an encoder in its place, which must not have been given before. Takes the configuration. */
static int put_given(bl_checkpoint *c, bl_module module, bl_module_files *e, const char *path,
                     bl_error *err) {
    bl_module_files *own = &c->modules[module];
    if (own->given) {
        json_decref(e->config);
        return bl_fail(err, BL_E_ARGUMENT,
                       "text-encoder: %.400s and %.400s hold the same one of the model's encoders",
                       bl_safetensors_path(c->files[own->first_file]), path);
    }
    json_decref(own->config);
    e->given = true;
    *own = *e;
    return 0;
}

/* Which of two of CLIP's kind it is: L makes the smaller part of the vector that the transformer reads. */
static bl_module clip_module(bl_checkpoint *c, const bl_family *family, const bl_module_files *encoder) {
    const bl_module_files own = c->modules[BL_TEXT_ENCODER];
    bl_error ignored; /* detection says what is missing */
    int width = 0, vector = 0;
    if (family->encoders < 2) {
        return BL_TEXT_ENCODER;
    }
    c->modules[BL_TEXT_ENCODER] = *encoder;
    bl_dimension(&width, c, BL_TEXT_ENCODER, 1, &ignored, "text_model.embeddings.token_embedding.weight");
    c->modules[BL_TEXT_ENCODER] = own;
    bl_dimension(&vector, c, BL_TRANSFORMER, 1, &ignored, "time_text_embed.text_embedder.linear_1.weight");
    return width < vector - width ? BL_TEXT_ENCODER : BL_TEXT_ENCODER_2;
}

/* CLIP, T5 or both out of files that were opened, each of CLIP's that the family has. *taken counts them. */
static int put_all(bl_checkpoint *c, const bl_module_files *opened, const bl_family *family, int *taken,
                   const char *path, bl_error *err) {
    static const kind kinds[] = {{layouts, COUNT(layouts), prefixes, COUNT(prefixes)},
                                 {t5_layouts, COUNT(t5_layouts), t5_prefixes, COUNT(t5_prefixes)}};
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        int from = 0;
        for (int n = i ? 1 : family->encoders; n > 0 && !rc; n--) {
            bl_module_files e = find_kind(c, opened->first_file, opened->file_count, &kinds[i], &from);
            if (!e.present) {
                break;
            }
            e.config = e.prefix[0] ? NULL : json_incref(opened->config);
            rc = put_given(c, i ? bl_family_words_module(family) : clip_module(c, family, &e), &e, path, err);
            ++*taken;
        }
    }
    return rc;
}

/* A folder may hold the vocabulary alone; or it is a whole model's, whose vocabulary is taken if no other
 * is. */
static int take_vocabulary(bl_checkpoint *c, const char *folder, const bl_family *family, bool *found,
                           bl_error *err) {
    const char *const below = family->encoders < 2 ? "tokenizer_2" : "tokenizer_3";
    char *path, inner[BL_PATH_ROOM];
    int rc = bl_find_vocabulary(&path, folder, err);
    *found = path != NULL;
    if (!rc && !path && !c->vocabulary) {
        rc = bl_join_path(inner, folder, below, err);
        rc = rc ? rc : bl_find_vocabulary(&path, inner, err);
    }
    if (path) {
        free(c->vocabulary);
        c->vocabulary = path;
    }
    return rc;
}

static int take_several(bl_checkpoint *c, const char *path, const bl_family *family, bl_error *err) {
    static const char *const inner[] = {"", "text_encoder", "text_encoder_2", "text_encoder_3"};
    const bool folder = bl_is_folder(path);
    bool vocabulary = false;
    int rc = 0, taken = 0;
    for (int i = 0; i < (folder ? family->encoders + 2 : 1) && !rc; i++) {
        char name[BL_PATH_ROOM];
        bl_module_files e = {.first_file = c->file_count};
        if (folder) {
            rc = bl_join_path(name, path, inner[i], err);
            rc = rc ? rc : bl_open_text_encoder_folder(c, &e, name, err);
        } else {
            rc = bl_add_file(c, path, err);
            rc = rc ? rc : bl_config_beside(&e.config, path, err);
            e.file_count = c->file_count - e.first_file;
        }
        rc = rc || !e.file_count ? rc : put_all(c, &e, family, &taken, path, err);
        json_decref(e.config);
    }
    rc = rc || !folder ? rc : take_vocabulary(c, path, family, &vocabulary, err);
    return rc || taken || vocabulary
               ? rc
               : bl_fail(err, BL_E_FORMAT, "text-encoder: %.400s holds neither T5's encoder nor CLIP", path);
}

int bl_checkpoint_take_text_encoders(bl_checkpoint *c, const char *path, bl_error *err) {
    finding f = {.path = path};
    if (bl_checkpoint_has_module(c, BL_TRANSFORMER)) {
        const bl_family *family = bl_transformer_family(c);
        return family && family->reader == BL_READER_T5 ? take_several(c, path, family, err)
                                                        : take_reader(c, path, err);
    }
    if (!bl_checkpoint_has_module(c, BL_UNET) || !find_need(&f.n, c)) {
        return 0; /* no model at all: detection says why */
    }
    int rc = bl_is_folder(path) ? take_folder(c, &f, err) : take_file(c, &f, err);
    if (rc || f.taken) {
        return rc;
    }
    if (f.width) {
        return bl_fail(
            err, BL_E_FORMAT,
            "text-encoder: %.300s has hidden states of width %d; the unet of %.300s reads %s of %d", path,
            f.width, c->path, f.n.pooled ? "two encoders' together" : "those", f.n.context);
    }
    return bl_fail(err, BL_E_FORMAT, "text-encoder: %.400s holds no text encoder of CLIP's kind", path);
}
