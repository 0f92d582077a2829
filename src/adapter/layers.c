#include "adapter/layers.h"

#include "checkpoint/spelling.h"
#include "model/clip_text.h"
#include "model/flux1.h"
#include "model/flux2.h"
#include "model/qwen3.h"
#include "model/sd3.h"
#include "model/unet.h"
#include "model/zimage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPELLINGS 14 /* of one layer, at most */

/* A name in some file, and the layer that it stands for. */
typedef struct spelling {
    char *text;
    bl_layer_place place;
} spelling;

struct bl_layers {
    const bl_architecture *arch; /* borrowed while it is made; then NULL */
    const bl_family *family;
    bl_layer *items; /* [count] */
    int count;
    spelling *names; /* [name_count] sorted by text */
    int name_count;
};

int bl_layers_count(const bl_layers *layers) {
    return layers->count;
}

const bl_layer *bl_layers_at(const bl_layers *layers, int index) {
    return &layers->items[index];
}

const char *bl_layers_family(const bl_layers *layers) {
    return layers->family->name;
}

void bl_layers_free(bl_layers **lp) {
    bl_layers *l = *lp;
    if (l) {
        for (int i = 0; i < l->name_count; i++) {
            free(l->names[i].text);
        }
        free(l->names);
        free(l->items);
        free(l);
        *lp = NULL;
    }
}

/* ---- the layers, read off the graphs that have all weights of their modules */

/* Length of the name without ".weight" or ".bias"; 0 if it ends otherwise. */
static size_t without_leaf(const char *name, bool *bias) {
    static const char weight[] = ".weight", bias_leaf[] = ".bias";
    size_t n = strlen(name), w = sizeof weight - 1, b = sizeof bias_leaf - 1;
    *bias = n > b && !strcmp(name + n - b, bias_leaf);
    return *bias ? n - b : n > w && !strcmp(name + n - w, weight) ? n - w : 0;
}

static int add_part(bl_layers *l, bl_module module, const bl_weight *w, int part, bl_error *err) {
    bool bias;
    size_t length = without_leaf(w->name[part], &bias);
    bl_layer *more = realloc(l->items, (size_t)(l->count + 1) * sizeof *more);
    if (!more) {
        return bl_fail_memory(err, "the model's layers", (size_t)(l->count + 1) * sizeof *more);
    }
    l->items = more;
    if (!length) {
        return 0;
    }
    bl_layer x = {.module = module,
                  .rows = w->shape[0] / w->parts,
                  .inner = bias || w->rank < 2 ? 1 : w->shape[1],
                  .positions = w->rank == 4 ? w->shape[2] * w->shape[3] : 1,
                  .weight = !bias,
                  .bias = bias};
    memcpy(x.name, w->name[part], length);
    l->items[l->count++] = x;
    return 0;
}

/* Takes the graph. */
static int add_graph(bl_layers *l, bl_graph *g, bl_error *err) {
    int result = 0;
    for (int i = 0; i < g->weight_count && !result; i++) {
        for (int part = 0; part < g->weights[i].parts && !result; part++) {
            result = add_part(l, g->module, &g->weights[i], part, err);
        }
    }
    bl_graph_free(&g);
    return result;
}

/* Of the text in SD3's last block, which files have, and nobody reads. */
static int add_unread_queries(bl_layers *l, const bl_sd3 *a, bl_error *err) {
    static const char *const leaves[] = {"weight", "bias"};
    const int64_t width = (int64_t)a->heads * a->head_dim;
    int result = 0;
    for (int i = 0; i < 2 && !result; i++) {
        bl_weight w = {.parts = 1, .rank = i ? 1 : 2, .shape = {width, width}};
        snprintf(w.name[0], sizeof w.name[0], "transformer_blocks.%d.attn.add_q_proj.%s", a->layers - 1,
                 leaves[i]);
        result = add_part(l, BL_TRANSFORMER, &w, 0, err);
    }
    return result;
}

static int add_denoiser(bl_layers *l, const bl_architecture *arch, bl_error *err) {
    const bl_unet_shape unet = {.batch = 1, .height = 8, .width = 8, .tokens = 77, .form = BL_UNET_WHOLE};
    const bl_zimage_shape zimage = {.batch = 1, .height = 8, .width = 8, .caption = 32};
    const bl_flux1_shape flux1 = {.batch = 1, .height = 8, .width = 8, .tokens = 32};
    const bl_flux2_shape flux2 = {.batch = 1, .height = 8, .width = 8, .tokens = 32};
    const bl_sd3_shape sd3 = {.batch = 1, .height = 8, .width = 8, .tokens = 32};
    bl_graph *g = NULL;
    int result = 0;
    switch (arch->family->net) {
    case BL_NET_UNET:
        result = bl_unet_graph(&g, &arch->unet, unet, BL_F32, NULL, err);
        break;
    case BL_NET_ZIMAGE:
        result = bl_zimage_graph(&g, &arch->zimage, &zimage, BL_F32, NULL, err);
        break;
    case BL_NET_FLUX1:
        result = bl_flux1_graph(&g, &arch->flux1, &flux1, BL_F32, NULL, err);
        break;
    case BL_NET_FLUX2:
        result = bl_flux2_graph(&g, &arch->flux2, &flux2, BL_F32, NULL, err);
        break;
    case BL_NET_SD3:
        result = bl_sd3_graph(&g, &arch->sd3, &sd3, BL_F32, NULL, err);
        result = result ? result : add_unread_queries(l, &arch->sd3, err);
        break;
    }
    if (result) {
        bl_graph_free(&g);
        return result;
    }
    return add_graph(l, g, err);
}

/* T5 has no names in adapters' files. */
static bool reads_language(const bl_family *f) {
    return f->reader == BL_READER_QWEN3 || f->reader == BL_READER_MISTRAL;
}

/* With the layers that nobody reads, which adapters change all the same. */
static int add_language_model(bl_layers *l, const bl_architecture *arch, bl_error *err) {
    const bl_qwen3_outputs all = {.taken = {arch->qwen3.layers}, .count = 1, .last_norm = true};
    bl_graph *g = NULL;
    int result = bl_qwen3_graph(&g, &arch->qwen3, 1, 8, 0, all, BL_F32, NULL, err);
    return result ? result : add_graph(l, g, err);
}

static int add_text_encoder(bl_layers *l, const bl_architecture *arch, int encoder, bl_error *err) {
    bl_graph *g = NULL;
    const bl_text_architecture *t = &arch->text[encoder];
    bl_clip_text_outputs want = {.last_hidden_state = true, .text_embeds = t->projection != 0};
    int result = bl_clip_text_graph(&g, encoder ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, t, 1, 8, want, BL_F32,
                                    NULL, err);
    return result ? result : add_graph(l, g, err);
}

static int by_name(const void *a, const void *b) {
    const bl_layer *x = a, *y = b;
    return x->module != y->module ? (int)x->module - (int)y->module : strcmp(x->name, y->name);
}

/* Makes one of a layer's weight and its bias. */
static void join_leaves(bl_layers *l) {
    int kept = 0;
    qsort(l->items, (size_t)l->count, sizeof *l->items, by_name);
    for (int i = 0; i < l->count; i++) {
        const bl_layer x = l->items[i];
        bl_layer *last = kept ? &l->items[kept - 1] : NULL;
        if (last && !by_name(last, &x)) {
            bl_layer joined = last->weight ? *last : x;
            joined.weight = last->weight || x.weight;
            joined.bias = last->bias || x.bias;
            *last = joined;
        } else {
            l->items[kept++] = x;
        }
    }
    l->count = kept;
}

/* ---- their names in files */

static int add_share(bl_layers *l, bl_layer_place place, const char *format, const char *name,
                     bl_error *err) {
    char *text = NULL;
    if (asprintf(&text, format, name) < 0) {
        return bl_fail_memory(err, "the names of the model's layers", strlen(name));
    }
    l->names[l->name_count++] = (spelling){text, place};
    return 0;
}

static int add_name(bl_layers *l, int layer, const char *format, const char *name, bl_error *err) {
    return add_share(l, (bl_layer_place){layer, 0, l->items[layer].rows}, format, name, err);
}

/* With '_' for '.'. */
static void flatten(char *out, const char *name) {
    size_t i = 0;
    for (; name[i] && i + 1 < BL_NAME_BYTES; i++) {
        out[i] = name[i] == '.' ? '_' : name[i];
    }
    out[i] = '\0';
}

/* Replaces the first `from` in a name by `to`, which is no longer than BL_NAME_BYTES together. False: it is
 * not in there. */
static bool exchanged(char *out, const char *name, const char *from, const char *to) {
    const char *at = strstr(name, from);
    if (!at) {
        return false;
    }
    int n = snprintf(out, BL_NAME_BYTES, "%.*s%s%s", (int)(at - name), name, to, at + strlen(from));
    return n >= 0 && n < BL_NAME_BYTES;
}

/* What diffusers called the layers of an attention before PEFT: "attn1.processor.to_out" for
 * "attn1.to_out.0". False: this is none. */
static bool old_attention(char *out, const char *name) {
    char inner[BL_NAME_BYTES];
    size_t n = strlen(name);
    if (!exchanged(inner, name, ".attn1.to_", ".attn1.processor.to_") &&
        !exchanged(inner, name, ".attn2.to_", ".attn2.processor.to_")) {
        return false;
    }
    bool numbered = n > 2 && !strcmp(name + n - 2, ".0");
    snprintf(out, BL_NAME_BYTES, "%.*s", (int)(strlen(inner) - (numbered ? 2 : 0)), inner);
    return true;
}

static int name_unet_layer(bl_layers *l, int layer, bl_error *err) {
    static const char *const plain[] = {"unet.%s", "%s", "base_model.model.%s"};
    static const char *const flat_forms[] = {"lora_unet_%s", "lycoris_%s"};
    char flat[BL_NAME_BYTES], other[BL_NAME_BYTES], ldm[BL_NAME_BYTES];
    const char *name = l->items[layer].name;
    int result = 0;
    flatten(flat, name);
    for (int i = 0; i < 3 && !result; i++) {
        result = add_name(l, layer, plain[i], name, err);
    }
    for (int i = 0; i < 2 && !result; i++) {
        result = add_name(l, layer, flat_forms[i], flat, err);
    }
    for (int i = 0; i < 2 && !result && old_attention(other, name); i++) {
        result = add_name(l, layer, plain[i], other, err);
    }
    snprintf(other, sizeof other, "%.120s.weight", name);
    if (!result && bl_ldm_spelling(ldm, sizeof ldm, &l->arch->unet, other)) {
        ldm[strlen(ldm) - strlen(".weight")] = '\0';
        flatten(flat, ldm);
        result = add_name(l, layer, "unet.%s", ldm, err);
        result = result ? result : add_name(l, layer, "diffusion_model.%s", ldm, err);
        result = result ? result : add_name(l, layer, "lora_unet_%s", flat, err);
    }
    return result;
}

/* By its authors' name a layer may be one with others. */
static int name_transformer_layer(bl_layers *l, int layer, bl_error *err) {
    static const char *const dotted[] = {"transformer.%s", "diffusion_model.%s", "%s", "base_model.model.%s"};
    static const char *const flat_forms[] = {"lora_unet_%s", "lora_transformer_%s", "lycoris_%s"};
    char names[2][BL_NAME_BYTES], flat[BL_NAME_BYTES];
    int result = 0;
    bl_spelled_share share = {.shares = 1, .spans = 1};
    const int64_t rows = l->items[layer].rows;
    snprintf(names[0], sizeof names[0], "%s", l->items[layer].name);
    const bool other = bl_authors_spelling(names[1], sizeof names[1], &share, l->arch, names[0]);
    for (int n = 0; n < (other ? 2 : 1); n++) {
        const int64_t one = rows / share.spans, first = share.swapped ? rows / 2 : share.share * one;
        const bl_layer_place place = {layer, n ? first : 0, n ? share.shares * one : rows};
        flatten(flat, names[n]);
        for (int i = 0; i < 4 && !result; i++) {
            result = add_share(l, place, dotted[i], names[n], err);
        }
        for (int i = 0; i < 3 && !result; i++) {
            result = add_share(l, place, flat_forms[i], flat, err);
        }
    }
    return result;
}

/* "model.layers.0.self_attn.q_proj", with and without "model.". */
static int name_language_layer(bl_layers *l, int layer, bl_error *err) {
    static const char *const dotted[] = {"text_encoder.%s", "text_encoders.qwen3_4b.transformer.%s",
                                         "text_encoders.qwen3_8b.transformer.%s"};
    static const char *const flat_forms[] = {"lora_te_%s", "lora_te1_%s"};
    static const char model[] = "model.";
    const char *name = l->items[layer].name;
    const char *names[2] = {name, strncmp(name, model, strlen(model)) ? NULL : name + strlen(model)};
    char flat[BL_NAME_BYTES];
    int result = 0;
    for (int n = 0; n < 2 && names[n]; n++) {
        flatten(flat, names[n]);
        for (int i = 0; i < 3 && !result; i++) {
            result = add_name(l, layer, dotted[i], names[n], err);
        }
        for (int i = 0; i < 2 && !result; i++) {
            result = add_name(l, layer, flat_forms[i], flat, err);
        }
    }
    return result;
}

/* "self_attn.to_q" for "self_attn.q_proj". */
static bool old_self_attention(char *out, const char *name) {
    static const char *const from[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                       "self_attn.out_proj"};
    static const char *const to[] = {"self_attn.to_q", "self_attn.to_k", "self_attn.to_v",
                                     "self_attn.to_out"};
    for (int i = 0; i < 4; i++) {
        if (exchanged(out, name, from[i], to[i])) {
            return true;
        }
    }
    return false;
}

static int name_text_layer(bl_layers *l, int layer, bl_error *err) {
    /* [first of one, first of two, second of two] */
    static const char *const kohya[] = {"lora_te_%s", "lora_te1_%s", "lora_te2_%s"};
    static const char *const dotted[][3] = {{"text_encoder.%s", "text_encoder.%s", "text_encoder_2.%s"},
                                            {"clip_l.%s", "clip_l.%s", "clip_g.%s"},
                                            {"text_encoders.clip_l.transformer.%s",
                                             "text_encoders.clip_l.transformer.%s",
                                             "text_encoders.clip_g.transformer.%s"}};
    char flat[BL_NAME_BYTES], old[BL_NAME_BYTES];
    const char *name = l->items[layer].name;
    const bool alone = l->family->encoders < 2 && l->family->reader == BL_READER_CLIP; /* beside no other */
    int which = alone ? 0 : l->items[layer].module == BL_TEXT_ENCODER_2 ? 2 : 1, result;
    flatten(flat, name);
    result = add_name(l, layer, kohya[which], flat, err);
    for (int i = 0; i < 3 && !result; i++) {
        result = add_name(l, layer, dotted[i][which], name, err);
    }
    if (!result && which == 0) { /* OpenCLIP's H, the encoder of SD 2.x */
        result = add_name(l, layer, "clip_h.%s", name, err);
        result = result ? result : add_name(l, layer, "text_encoders.clip_h.transformer.%s", name, err);
    }
    if (!result && old_self_attention(old, name)) {
        result = add_name(l, layer, dotted[0][which], old, err);
    }
    return result;
}

static int by_text(const void *a, const void *b) {
    const spelling *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c ? c : x->place.layer - y->place.layer;
}

static int name_layer(bl_layers *l, int layer, bl_error *err) {
    switch (l->items[layer].module) {
    case BL_UNET:
        return name_unet_layer(l, layer, err);
    case BL_TRANSFORMER:
        return name_transformer_layer(l, layer, err);
    default:
        return reads_language(l->family) ? name_language_layer(l, layer, err)
                                         : name_text_layer(l, layer, err);
    }
}

static int name_layers(bl_layers *l, bl_error *err) {
    size_t room = (size_t)l->count * SPELLINGS + 1;
    int result = 0;
    l->names = calloc(room, sizeof *l->names);
    if (!l->names) {
        return bl_fail_memory(err, "the names of the model's layers", room * sizeof *l->names);
    }
    for (int i = 0; i < l->count && !result; i++) {
        result = name_layer(l, i, err);
    }
    qsort(l->names, (size_t)l->name_count, sizeof *l->names, by_text);
    return result;
}

int bl_layers_new(bl_layers **out, const bl_architecture *arch, bl_error *err) {
    *out = NULL;
    bl_layers *l = calloc(1, sizeof *l);
    if (!l) {
        return bl_fail_memory(err, "the model's layers", sizeof *l);
    }
    l->family = arch->family;
    l->arch = arch;
    int result = add_denoiser(l, arch, err);
    if (!result && reads_language(arch->family)) {
        result = add_language_model(l, arch, err);
    }
    for (int e = 0; e < arch->family->encoders && !result; e++) {
        result = arch->text[e].present ? add_text_encoder(l, arch, e, err) : 0;
    }
    if (!result) {
        join_leaves(l);
        result = name_layers(l, err);
    }
    if (result) {
        bl_layers_free(&l);
        return result;
    }
    l->arch = NULL;
    *out = l;
    return 0;
}

/* Order of a prefix and a name: 0 where they are the same. */
static int order(const char *prefix, size_t length, const char *text) {
    const int c = strncmp(prefix, text, length);
    return c ? c : text[length] ? -1 : 0; /* the text goes on behind the prefix: it comes later */
}

int bl_layers_find(bl_layer_place out[BL_LAYER_SHARES], const bl_layers *l, const char *prefix,
                   size_t length) {
    int low = 0, high = l->name_count, count = 0;
    while (low < high) { /* to the first that is not before it */
        const int middle = low + (high - low) / 2;
        if (order(prefix, length, l->names[middle].text) > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < l->name_count && count < BL_LAYER_SHARES; low++) {
        if (order(prefix, length, l->names[low].text)) {
            break;
        }
        const bl_layer_place place = l->names[low].place;
        if (!count || place.layer != out[count - 1].layer) { /* one may have the same name twice */
            out[count++] = place;
        }
    }
    return count;
}
