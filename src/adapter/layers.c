#include "adapter/layers.h"

#include "checkpoint/spelling.h"
#include "model/clip_text.h"
#include "model/unet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPELLINGS 12 /* of one layer, at most */

/* A name in some file, and the layer that it stands for. */
typedef struct spelling {
    char *text;
    int layer;
} spelling;

struct bl_layers {
    const char *family;
    int encoders;
    bl_unet_architecture unet;
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
    return layers->family;
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

static int add_name(bl_layers *l, int layer, const char *format, const char *name, bl_error *err) {
    char *text = NULL;
    if (asprintf(&text, format, name) < 0) {
        return bl_fail_memory(err, "the names of the model's layers", strlen(name));
    }
    l->names[l->name_count++] = (spelling){text, layer};
    return 0;
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
    if (!result && bl_ldm_spelling(ldm, sizeof ldm, &l->unet, other)) {
        ldm[strlen(ldm) - strlen(".weight")] = '\0';
        flatten(flat, ldm);
        result = add_name(l, layer, "unet.%s", ldm, err);
        result = result ? result : add_name(l, layer, "diffusion_model.%s", ldm, err);
        result = result ? result : add_name(l, layer, "lora_unet_%s", flat, err);
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
    int which = l->encoders < 2 ? 0 : l->items[layer].module == BL_TEXT_ENCODER_2 ? 2 : 1, result;
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
    return c ? c : x->layer - y->layer;
}

static int name_layers(bl_layers *l, bl_error *err) {
    size_t room = (size_t)l->count * SPELLINGS + 1;
    int result = 0;
    l->names = calloc(room, sizeof *l->names);
    if (!l->names) {
        return bl_fail_memory(err, "the names of the model's layers", room * sizeof *l->names);
    }
    for (int i = 0; i < l->count && !result; i++) {
        result = l->items[i].module == BL_UNET ? name_unet_layer(l, i, err) : name_text_layer(l, i, err);
    }
    qsort(l->names, (size_t)l->name_count, sizeof *l->names, by_text);
    return result;
}

int bl_layers_new(bl_layers **out, const bl_architecture *arch, bl_error *err) {
    *out = NULL;
    if (arch->family->net != BL_NET_UNET) {
        return bl_fail(err, BL_E_UNSUPPORTED, "adapters: none are added to %s", arch->family->name);
    }
    bl_layers *l = calloc(1, sizeof *l);
    if (!l) {
        return bl_fail_memory(err, "the model's layers", sizeof *l);
    }
    l->family = arch->family->name;
    l->encoders = arch->family->encoders;
    l->unet = arch->unet;
    bl_graph *g = NULL;
    bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 77, .form = BL_UNET_WHOLE};
    int result = bl_unet_graph(&g, &arch->unet, shape, BL_F32, NULL, err);
    result = result ? result : add_graph(l, g, err);
    for (int e = 0; e < l->encoders && !result; e++) {
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
    *out = l;
    return 0;
}

int bl_layers_find(const bl_layers *l, const char *prefix, size_t length) {
    int low = 0, high = l->name_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        const char *text = l->names[middle].text;
        int c = strncmp(prefix, text, length);
        if (!c && !text[length]) {
            return l->names[middle].layer;
        }
        if (c > 0) {
            low = middle + 1;
        } else { /* the text goes on behind the prefix: it comes later */
            high = middle - 1;
        }
    }
    return -1;
}
