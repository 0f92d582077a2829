#include "model/clip_text.h"

#include "model/layers.h"

/* The layers whose hidden states outputs are made of. */
typedef struct layer_choice {
    int last, penultimate, context, own;
    int depth;      /* layers that must run */
    bool last_read; /* does any output need the last one? */
    bool norm;      /* does any output need the final layer norm? */
} layer_choice;

/* The hidden states themselves, [n,T,1,C]; one that no output needs may be any. */
typedef struct hidden_states {
    bl_tensor_id last, penultimate, context, own;
} hidden_states;

static int check(const bl_text_architecture *a, bl_module module, int tokens, bl_clip_text_outputs want,
                 int last, bl_error *err) {
    const char *name = bl_module_name(module);
    bool any = want.context || want.own_context || want.last_hidden_state || want.penultimate ||
               want.penultimate_ln || want.pooled || want.text_embeds;
    if (!any) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: no output was asked for", name);
    }
    if (want.clip_skip < 0 || want.clip_skip > last) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "%s: clip skip %d is not between 1 and %d, the layers of this encoder", name,
                       want.clip_skip, last);
    }
    if (tokens > a->positions) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: %d tokens are more than its %d positions", name, tokens,
                       a->positions);
    }
    if (want.text_embeds && !a->projection) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%s has no text projection", name);
    }
    return 0;
}

int bl_clip_text_layers(const bl_text_architecture *a) {
    return a->context_norm ? a->layers - a->context_skip : a->layers;
}

static int max(int a, int b) {
    return a > b ? a : b;
}

static int choose(layer_choice *out, const bl_text_architecture *a, bl_module module, int tokens,
                  bl_clip_text_outputs want, bl_error *err) {
    layer_choice l = {.last = bl_clip_text_layers(a)};
    int rc = check(a, module, tokens, want, l.last, err);
    if (rc) {
        return rc;
    }
    l.penultimate = l.last - 1;
    l.own = a->context_norm ? l.last : l.last - a->context_skip;
    l.context = want.clip_skip ? l.last + 1 - want.clip_skip : l.own;
    l.last_read = want.last_hidden_state || want.pooled || want.text_embeds;
    l.depth = max(l.last_read ? l.last : 0, want.context ? l.context : 0);
    l.depth = max(l.depth, want.own_context ? l.own : 0);
    l.depth = max(l.depth, want.penultimate || want.penultimate_ln ? l.penultimate : 0);
    l.norm = l.last_read || want.penultimate_ln || ((want.context || want.own_context) && a->context_norm);
    *out = l;
    return 0;
}

static bl_weight_id table(bl_graph *g, const char *name, int rows, int width) {
    int64_t shape[2] = {rows, width};
    return bl_weight_new(g, BL_W_EMBEDDING, shape, 2, &name, 1);
}

static bl_tensor_id embeddings(bl_graph *g, const bl_text_architecture *a, bl_tensor_id ids) {
    bl_graph_block(g, "text_model.embeddings");
    bl_weight_id tokens = table(g, "text_model.embeddings.token_embedding.weight", a->vocab, a->width);
    bl_weight_id positions =
        table(g, "text_model.embeddings.position_embedding.weight", a->positions, a->width);
    bl_tensor_id x = bl_embed(g, ids, tokens, positions);
    bl_tap(g, x, "hidden_states.0");
    return x;
}

static hidden_states layers(bl_graph *g, const bl_text_architecture *a, const layer_choice *l,
                            bl_tensor_id x) {
    hidden_states kept = {x, x, x, x};
    for (int i = 1; i <= l->depth; i++) {
        bl_path name = bl_path_make("text_model.encoder.layers.%d", i - 1);
        bl_graph_block(g, "%s", name.s);
        x = bl_net_clip_layer(g, x, name.s, a->heads, a->ff_dim,
                              a->quick_gelu ? BL_ACT_QUICK_GELU : BL_ACT_GELU);
        bl_tap(g, x, "hidden_states.%d", i);
        kept.last = i == l->last ? x : kept.last;
        kept.penultimate = i == l->penultimate ? x : kept.penultimate;
        kept.context = i == l->context ? x : kept.context;
        kept.own = i == l->own ? x : kept.own;
    }
    return kept;
}

/* The norm and the outputs, in a block after the last layer. */
static void outputs(bl_graph *g, const bl_text_architecture *a, const layer_choice *l,
                    bl_clip_text_outputs want, hidden_states kept, bl_tensor_id eos) {
    bl_graph_block(g, "text_model.final_layer_norm");
    bl_weight_id scale = BL_NONE, shift = BL_NONE;
    if (l->norm) {
        bl_net_norm_weights(g, "text_model.final_layer_norm", a->width, &scale, &shift);
    }
    for (int own = 0; own < 2; own++) {
        if (own ? want.own_context : want.context) {
            bl_tensor_id y = own ? kept.own : kept.context;
            y = a->context_norm ? bl_layer_norm(g, y, scale, shift, BL_NET_LAYER_NORM_EPS) : y;
            bl_export(g, y, own ? "own_context" : "context", BL_CHANNELS_LAST);
        }
    }
    if (want.last_hidden_state) {
        bl_tensor_id y = bl_layer_norm(g, kept.last, scale, shift, BL_NET_LAYER_NORM_EPS);
        bl_export(g, y, "last_hidden_state", BL_CHANNELS_LAST);
    }
    if (want.penultimate) {
        bl_export(g, kept.penultimate, "penultimate", BL_CHANNELS_LAST);
    }
    if (want.penultimate_ln) {
        bl_tensor_id y = bl_layer_norm(g, kept.penultimate, scale, shift, BL_NET_LAYER_NORM_EPS);
        bl_export(g, y, "penultimate_ln", BL_CHANNELS_LAST);
    }
    if (want.pooled || want.text_embeds) {
        /* The norm works on each row alone: take the row first, norm only that. */
        bl_tensor_id y =
            bl_layer_norm(g, bl_take_row(g, kept.last, eos), scale, shift, BL_NET_LAYER_NORM_EPS);
        if (want.pooled) {
            bl_export(g, y, "pooled", BL_CHANNELS_LAST);
        }
        if (want.text_embeds) {
            bl_path projection = bl_path_make("text_projection");
            y = bl_net_projections(g, y, &projection, 1, a->projection, false);
            bl_export(g, y, "text_embeds", BL_CHANNELS_LAST);
        }
    }
}

int bl_clip_text_graph(bl_graph **out, bl_module module, const bl_text_architecture *arch, int batch,
                       int tokens, bl_clip_text_outputs want, bl_dtype dtype, const char *const *taps,
                       bl_error *err) {
    *out = NULL;
    layer_choice l;
    int rc = bl_net_check_shape(module, batch, 1, 1, tokens, err);
    rc = rc ? rc : choose(&l, arch, module, tokens, want, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(module, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    bl_tensor_id ids = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, batch, tokens, 1, 1), eos = BL_NONE;
    if (want.pooled || want.text_embeds) {
        eos = bl_input(g, "eos", BL_I32, BL_CHANNELS_LAST, batch, 1, 1, 1);
    }
    hidden_states kept = layers(g, arch, &l, embeddings(g, arch, ids));
    outputs(g, arch, &l, want, kept, eos);
    return bl_net_finish(out, g, err);
}
