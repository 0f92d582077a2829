/* The ops that graphs are built of: each checks the shapes it is given and finds the shape it makes. */
#include "graph/building.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const bl_op empty_op = {.in = {BL_NONE, BL_NONE, BL_NONE, BL_NONE},
                               .out = BL_NONE,
                               .weight = BL_NONE,
                               .weight2 = BL_NONE,
                               .weight3 = BL_NONE,
                               .weight4 = BL_NONE};

/* A copy of a tensor's description, or an empty one where there is none. */
static bl_tensor tensor_of(const bl_graph *g, bl_tensor_id id) {
    return id >= 0 && id < g->tensor_count ? g->tensors[id] : (bl_tensor){.port = -1};
}

static bl_tensor activation_like(bl_tensor t, bl_dtype dtype) {
    t.name[0] = 0;
    t.place = BL_ARENA;
    t.layout = BL_CHANNELS_LAST;
    t.dtype = dtype;
    t.port = -1;
    return t;
}

static bool same_shape(bl_tensor a, bl_tensor b) {
    return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

/* Checks a condition on shapes; the message names op, block and the shapes of its first two inputs. */
static bool check(bl_graph *g, bool ok, const bl_op *op, const char *what) {
    if (g->error.code) {
        return false;
    }
    if (!ok) {
        bl_tensor a = tensor_of(g, op->in[0]), b = tensor_of(g, op->in[1]);
        bl_fail(&g->error, BL_E_INTERNAL, "%s, block %s: %s: %s ([%d %d %d %d], [%d %d %d %d])",
                bl_module_name(g->module), g->block_count ? g->blocks[g->block_count - 1].name : "none",
                bl_op_name(op->kind), what, a.n, a.h, a.w, a.c, b.n, b.h, b.w, b.c);
    }
    return ok;
}

static bool is_activation(const bl_graph *g, bl_tensor_id id) {
    return id >= 0 && id < g->tensor_count && g->tensors[id].place == BL_ARENA;
}

static bool is_input(const bl_graph *g, bl_tensor_id id, bl_dtype dtype) {
    return id >= 0 && id < g->tensor_count && g->tensors[id].place == BL_INPUT &&
           g->tensors[id].dtype == dtype;
}

/* Is `id` a weight of this kind whose first axis is `rows` (0: any)? */
static bool is_weight(const bl_graph *g, bl_weight_id id, bl_weight_kind kind, int64_t rows) {
    return id >= 0 && id < g->weight_count && g->weights[id].kind == kind &&
           (!rows || g->weights[id].shape[0] == rows);
}

bl_tensor_id bl_import(bl_graph *g, bl_tensor_id input) {
    bl_op op = empty_op;
    op.kind = BL_OP_IMPORT;
    op.in[0] = input;
    if (!check(g, is_input(g, input, BL_F32), &op, "wants an F32 input")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(tensor_of(g, input), g->dtype));
}

bl_tensor_id bl_export(bl_graph *g, bl_tensor_id x, const char *name, bl_layout layout) {
    bl_op op = empty_op;
    op.kind = BL_OP_EXPORT;
    op.in[0] = x;
    if (!check(g, is_activation(g, x), &op, "wants an activation")) {
        return BL_NONE;
    }
    bl_tensor t = tensor_of(g, x);
    t.place = BL_OUTPUT;
    t.layout = layout;
    t.dtype = BL_F32;
    t.port = g->output_count;
    snprintf(t.name, sizeof t.name, "%s", name);
    bl_tensor_id id = bl_graph_add_op(g, op, t);
    g->output_count += id != BL_NONE;
    return id;
}

static void tap(bl_graph *g, bl_tensor_id x, bl_layout layout, const char *format, va_list args) {
    if (g->error.code || !g->taps) {
        return;
    }
    char name[BL_NAME_BYTES];
    vsnprintf(name, sizeof name, format, args);
    for (int i = 0; g->taps[i]; i++) {
        if (!strcmp(g->taps[i], name)) {
            bl_export(g, x, name, layout);
            return;
        }
    }
}

void bl_tap(bl_graph *g, bl_tensor_id x, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tap(g, x, tensor_of(g, x).w > 1 ? BL_NCHW : BL_CHANNELS_LAST, format, args);
    va_end(args);
}

void bl_tap_tokens(bl_graph *g, bl_tensor_id x, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tap(g, x, BL_CHANNELS_LAST, format, args);
    va_end(args);
}

bl_tensor_id bl_sinusoid(bl_graph *g, bl_tensor_id input, int dim) {
    bl_op op = empty_op;
    op.kind = BL_OP_SINUSOID;
    op.in[0] = input;
    op.u.sinusoid.dim = dim;
    bl_tensor t = tensor_of(g, input);
    if (!check(g, is_input(g, input, BL_F32) && t.h == 1 && t.w == 1 && dim > 0 && dim % 2 == 0, &op,
               "wants an F32 input [n,1,1,k] and an even dim")) {
        return BL_NONE;
    }
    t.c *= dim;
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_embed(bl_graph *g, bl_tensor_id ids, bl_weight_id tokens, bl_weight_id positions) {
    bl_op op = empty_op;
    op.kind = BL_OP_EMBED;
    op.in[0] = ids;
    op.weight = tokens;
    op.weight2 = positions;
    bl_tensor t = tensor_of(g, ids);
    bool ok = is_input(g, ids, BL_I32) && t.c == 1 && t.w == 1 && is_weight(g, tokens, BL_W_EMBEDDING, 0) &&
              is_weight(g, positions, BL_W_EMBEDDING, 0) && t.h <= g->weights[positions].shape[0] &&
              g->weights[positions].shape[1] == g->weights[tokens].shape[1];
    if (!check(g, ok, &op, "wants I32 ids [n,T,1,1] and two tables of one width, T positions at least")) {
        return BL_NONE;
    }
    t.c = (int)g->weights[tokens].shape[1];
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_take_row(bl_graph *g, bl_tensor_id x, bl_tensor_id rows) {
    bl_op op = empty_op;
    op.kind = BL_OP_TAKE_ROW;
    op.in[0] = x;
    op.in[1] = rows;
    bl_tensor t = tensor_of(g, x), r = tensor_of(g, rows);
    bool ok = is_activation(g, x) && is_input(g, rows, BL_I32) && r.n == t.n && bl_tensor_elements(&r) == t.n;
    if (!check(g, ok, &op, "wants an activation and one I32 row number for each of the batch")) {
        return BL_NONE;
    }
    t.h = t.w = 1;
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_conv(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_conv_options o) {
    bl_op op = empty_op;
    op.kind = BL_OP_CONV;
    op.in[0] = x;
    op.in[1] = o.residual;
    op.in[2] = o.channels;
    op.weight = w;
    op.weight2 = bias;
    bl_tensor t = tensor_of(g, x);
    if (!check(g, is_activation(g, x) && is_weight(g, w, BL_W_CONV, 0) && g->weights[w].shape[1] == t.c, &op,
               "input channels differ from the weight's")) {
        return BL_NONE;
    }
    const int64_t *s = g->weights[w].shape;
    op.u.conv.kh = (int)s[2];
    op.u.conv.kw = (int)s[3];
    op.u.conv.stride = o.stride ? o.stride : 1;
    op.u.conv.top = o.top;
    op.u.conv.left = o.left;
    op.u.conv.bottom = o.bottom;
    op.u.conv.right = o.right;
    int h = t.h + o.top + o.bottom - op.u.conv.kh, v = t.w + o.left + o.right - op.u.conv.kw;
    t.h = h / op.u.conv.stride + 1;
    t.w = v / op.u.conv.stride + 1;
    t.c = (int)s[0];
    bl_tensor r = tensor_of(g, o.residual), ch = tensor_of(g, o.channels);
    bool ok = h >= 0 && v >= 0 && is_weight(g, bias, BL_W_VECTOR, s[0]) &&
              (o.residual == BL_NONE || (is_activation(g, o.residual) && same_shape(r, t))) &&
              (o.channels == BL_NONE ||
               (is_activation(g, o.channels) && ch.n == t.n && ch.h == 1 && ch.w == 1 && ch.c == t.c));
    if (!check(g, ok, &op, "kernel, bias, residual or per-channel input does not fit")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_linear(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_act act,
                       bl_tensor_id residual) {
    bl_op op = empty_op;
    op.kind = BL_OP_LINEAR;
    op.in[0] = x;
    op.in[1] = residual;
    op.weight = w;
    op.weight2 = bias;
    op.act = act;
    bl_tensor t = tensor_of(g, x);
    if (!check(g, is_activation(g, x) && is_weight(g, w, BL_W_LINEAR, 0) && g->weights[w].shape[1] == t.c,
               &op, "input channels differ from the weight's")) {
        return BL_NONE;
    }
    int64_t rows = g->weights[w].shape[0];
    t.c = (int)(act == BL_ACT_GEGLU ? rows / 2 : rows);
    bool ok = (bias == BL_NONE || is_weight(g, bias, BL_W_VECTOR, rows)) &&
              (act != BL_ACT_GEGLU || rows % 2 == 0) &&
              (residual == BL_NONE || (is_activation(g, residual) && same_shape(tensor_of(g, residual), t)));
    if (!check(g, ok, &op, "bias or residual does not fit")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

static bl_tensor_id norm(bl_graph *g, bl_op op, int groups, float eps) {
    op.u.norm.groups = groups;
    op.u.norm.eps = eps;
    bl_tensor t = tensor_of(g, op.in[0]);
    bool ok = is_activation(g, op.in[0]) && groups > 0 && t.c % groups == 0 &&
              is_weight(g, op.weight, BL_W_VECTOR, t.c) && is_weight(g, op.weight2, BL_W_VECTOR, t.c);
    if (!check(g, ok, &op, "channels differ from the weight's or do not divide into groups")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_group_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, int groups,
                           float eps, bl_act act) {
    bl_op op = empty_op;
    op.kind = BL_OP_GROUP_NORM;
    op.in[0] = x;
    op.weight = scale;
    op.weight2 = shift;
    op.act = act;
    return norm(g, op, groups, eps);
}

bl_tensor_id bl_layer_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, float eps) {
    bl_op op = empty_op;
    op.kind = BL_OP_LAYER_NORM;
    op.in[0] = x;
    op.weight = scale;
    op.weight2 = shift;
    return norm(g, op, 1, eps);
}

bl_tensor_id bl_attention(bl_graph *g, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v,
                          bl_attention_options o) {
    bl_op op = empty_op;
    op.kind = BL_OP_ATTENTION;
    op.in[0] = q;
    op.in[1] = k;
    op.in[2] = v;
    op.u.attention.heads = o.heads;
    op.u.attention.head_dim = o.head_dim;
    op.u.attention.q_offset = o.q_offset;
    op.u.attention.k_offset = o.k_offset;
    op.u.attention.v_offset = o.v_offset;
    op.u.attention.causal = o.causal;
    bl_tensor tq = tensor_of(g, q), tk = tensor_of(g, k), tv = tensor_of(g, v);
    int width = o.heads * o.head_dim;
    bool ok = is_activation(g, q) && is_activation(g, k) && is_activation(g, v) && o.heads > 0 &&
              o.head_dim > 0 && tq.n == tk.n && tk.n == tv.n && tk.h == tv.h && tk.w == tv.w &&
              o.q_offset + width <= tq.c && o.k_offset + width <= tk.c && o.v_offset + width <= tv.c;
    if (!check(g, ok, &op, "q, k and v do not fit together")) {
        return BL_NONE;
    }
    op.u.attention.scale = (float)(1.0 / __builtin_sqrt((double)o.head_dim));
    tq.c = width;
    return bl_graph_add_op(g, op, activation_like(tq, g->dtype));
}

bl_tensor_id bl_activation(bl_graph *g, bl_tensor_id x, bl_act act) {
    bl_op op = empty_op;
    op.kind = BL_OP_ACT;
    op.in[0] = x;
    op.act = act;
    if (!check(g, is_activation(g, x) && act != BL_ACT_NONE && act != BL_ACT_GEGLU, &op,
               "wants an activation")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(tensor_of(g, x), g->dtype));
}

bl_tensor_id bl_add(bl_graph *g, bl_tensor_id a, bl_tensor_id b) {
    bl_op op = empty_op;
    op.kind = BL_OP_ADD;
    op.in[0] = a;
    op.in[1] = b;
    bool ok = is_activation(g, a) && is_activation(g, b) && same_shape(tensor_of(g, a), tensor_of(g, b));
    if (!check(g, ok, &op, "shapes differ")) {
        return BL_NONE;
    }
    return bl_graph_add_op(g, op, activation_like(tensor_of(g, a), g->dtype));
}

bl_tensor_id bl_concat(bl_graph *g, bl_tensor_id a, bl_tensor_id b) {
    bl_op op = empty_op;
    op.kind = BL_OP_CONCAT;
    op.in[0] = a;
    op.in[1] = b;
    bl_tensor t = tensor_of(g, a), u = tensor_of(g, b);
    bool ok = is_activation(g, a) && is_activation(g, b) && t.n == u.n && t.h == u.h && t.w == u.w;
    if (!check(g, ok, &op, "shapes differ in more than channels")) {
        return BL_NONE;
    }
    t.c += u.c;
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}

bl_tensor_id bl_upsample(bl_graph *g, bl_tensor_id x, int h, int w) {
    bl_op op = empty_op;
    op.kind = BL_OP_UPSAMPLE;
    op.in[0] = x;
    bl_tensor t = tensor_of(g, x);
    if (!check(g, is_activation(g, x) && h >= t.h && w >= t.w, &op,
               "wants an activation and a larger size")) {
        return BL_NONE;
    }
    t.h = h;
    t.w = w;
    return bl_graph_add_op(g, op, activation_like(t, g->dtype));
}
