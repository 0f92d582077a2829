/* Adding ops to a graph. What fits an op, and what it makes, is in its row (op_rows.h). */
#include "graph/building.h"
#include "graph/op_rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const bl_op empty_op = {.in = {BL_NONE, BL_NONE, BL_NONE, BL_NONE, BL_NONE},
                               .out = BL_NONE,
                               .weight = BL_NONE,
                               .weight2 = BL_NONE,
                               .weight3 = BL_NONE,
                               .weight4 = BL_NONE};

/* A copy of a tensor's description, or an empty one where there is none. */
static bl_tensor tensor_of(const bl_graph *g, bl_tensor_id id) {
    return id >= 0 && id < g->tensor_count ? g->tensors[id] : (bl_tensor){.port = -1};
}

static bl_op op_of(bl_op_kind kind, bl_tensor_id in) {
    bl_op op = empty_op;
    op.kind = kind;
    op.in[0] = in;
    return op;
}

/* Checks the op against its row and describes its output; the message names op, block and the shapes of its
 * first two inputs. */
static bool fits(bl_graph *g, bl_op *op, bl_tensor *out) {
    if (g->error.code) {
        return false;
    }
    bl_tensor a = tensor_of(g, op->in[0]), b = tensor_of(g, op->in[1]);
    *out = a;
    out->name[0] = 0;
    out->place = BL_ARENA;
    out->layout = BL_CHANNELS_LAST;
    out->dtype = g->dtype;
    out->port = -1;
    out->kept = false;
    const char *fault = bl_op_rows[op->kind].shape(g, op, out);
    if (fault) {
        bl_fail(&g->error, BL_E_INTERNAL, "%s, block %s: %s: %s ([%d %d %d %d], [%d %d %d %d])",
                bl_module_name(g->module), g->block_count ? g->blocks[g->block_count - 1].name : "none",
                bl_op_name(op->kind), fault, a.n, a.h, a.w, a.c, b.n, b.h, b.w, b.c);
    }
    return !fault;
}

/* Adds the op if it fits. */
static bl_tensor_id add(bl_graph *g, bl_op op) {
    bl_tensor out;
    return fits(g, &op, &out) ? bl_graph_add_op(g, op, out) : BL_NONE;
}

bl_tensor_id bl_import(bl_graph *g, bl_tensor_id input) {
    return add(g, op_of(BL_OP_IMPORT, input));
}

bl_tensor_id bl_export(bl_graph *g, bl_tensor_id x, const char *name, bl_layout layout) {
    bl_op op = op_of(BL_OP_EXPORT, x);
    bl_tensor out;
    if (!fits(g, &op, &out)) {
        return BL_NONE;
    }
    out.layout = layout;
    out.port = g->output_count;
    snprintf(out.name, sizeof out.name, "%s", name);
    bl_tensor_id id = bl_graph_add_op(g, op, out);
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
    bl_op op = op_of(BL_OP_SINUSOID, input);
    op.u.sinusoid.dim = dim;
    return add(g, op);
}

bl_tensor_id bl_embed(bl_graph *g, bl_tensor_id ids, bl_weight_id tokens, bl_weight_id positions) {
    bl_op op = op_of(BL_OP_EMBED, ids);
    op.weight = tokens;
    op.weight2 = positions;
    return add(g, op);
}

bl_tensor_id bl_take_row(bl_graph *g, bl_tensor_id x, bl_tensor_id rows) {
    bl_op op = op_of(BL_OP_TAKE_ROW, x);
    op.in[1] = rows;
    return add(g, op);
}

bl_tensor_id bl_conv(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_conv_options o) {
    bl_op op = op_of(BL_OP_CONV, x);
    op.in[1] = o.residual;
    op.in[2] = o.channels;
    op.weight = w;
    op.weight2 = bias;
    op.u.conv.stride = o.stride ? o.stride : 1;
    op.u.conv.top = o.top;
    op.u.conv.left = o.left;
    op.u.conv.bottom = o.bottom;
    op.u.conv.right = o.right;
    return add(g, op);
}

bl_tensor_id bl_linear(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_act act,
                       bl_tensor_id residual) {
    bl_op op = op_of(BL_OP_LINEAR, x);
    op.in[1] = residual;
    op.weight = w;
    op.weight2 = bias;
    op.act = act;
    return add(g, op);
}

bl_tensor_id bl_group_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, int groups,
                           float eps, bl_act act) {
    bl_op op = op_of(BL_OP_GROUP_NORM, x);
    op.weight = scale;
    op.weight2 = shift;
    op.act = act;
    op.u.norm.groups = groups;
    op.u.norm.eps = eps;
    return add(g, op);
}

bl_tensor_id bl_layer_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, float eps) {
    bl_op op = op_of(BL_OP_LAYER_NORM, x);
    op.weight = scale;
    op.weight2 = shift;
    op.u.norm.groups = 1;
    op.u.norm.eps = eps;
    return add(g, op);
}

bl_tensor_id bl_rms_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, float eps) {
    bl_op op = op_of(BL_OP_RMS_NORM, x);
    op.weight = scale;
    op.u.norm.eps = eps;
    return add(g, op);
}

bl_tensor_id bl_biased_attention(bl_graph *g, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v,
                                 bl_tensor_id bias, bl_attention_options o) {
    bl_op op = op_of(BL_OP_ATTENTION, q);
    op.in[1] = k;
    op.in[2] = v;
    op.in[3] = o.key_counts;
    op.in[4] = bias;
    op.u.attention.heads = o.heads;
    op.u.attention.kv_heads = o.kv_heads ? o.kv_heads : o.heads;
    op.u.attention.head_dim = o.head_dim;
    op.u.attention.q_offset = o.q_offset;
    op.u.attention.k_offset = o.k_offset;
    op.u.attention.v_offset = o.v_offset;
    op.u.attention.causal = o.causal;
    op.u.attention.key_least = o.key_least;
    op.u.attention.key_step = o.key_step;
    return add(g, op);
}

bl_tensor_id bl_attention(bl_graph *g, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v,
                          bl_attention_options o) {
    return bl_biased_attention(g, q, k, v, BL_NONE, o);
}

bl_tensor_id bl_rope(bl_graph *g, bl_tensor_id x, bl_tensor_id table, int dim, bool halves) {
    bl_op op = op_of(BL_OP_ROPE, x);
    op.in[1] = table;
    op.u.rope.dim = dim;
    op.u.rope.halves = halves;
    return add(g, op);
}

bl_tensor_id bl_modulate(bl_graph *g, bl_tensor_id x, bl_tensor_id m, int scale, int shift) {
    bl_op op = op_of(BL_OP_MODULATE, x);
    op.in[1] = m;
    op.u.modulate.scale = scale;
    op.u.modulate.shift = shift;
    return add(g, op);
}

bl_tensor_id bl_gated_add(bl_graph *g, bl_tensor_id x, bl_tensor_id y, bl_tensor_id m, int at, bool tanh) {
    bl_op op = op_of(BL_OP_GATED_ADD, x);
    op.in[1] = y;
    op.in[2] = m;
    op.u.gate.at = at;
    op.u.gate.tanh = tanh;
    return add(g, op);
}

bl_tensor_id bl_glu(bl_graph *g, bl_tensor_id x, bl_act act) {
    bl_op op = op_of(BL_OP_GLU, x);
    op.act = act;
    return add(g, op);
}

bl_tensor_id bl_join(bl_graph *g, bl_tensor_id a, bl_tensor_id b) {
    bl_op op = op_of(BL_OP_JOIN, a);
    op.in[1] = b;
    return add(g, op);
}

bl_tensor_id bl_slice(bl_graph *g, bl_tensor_id x, int first, int count) {
    bl_op op = op_of(BL_OP_SLICE, x);
    op.u.slice.first = first;
    op.u.slice.count = count;
    return add(g, op);
}

bl_tensor_id bl_channels(bl_graph *g, bl_tensor_id x, int first, int count) {
    bl_op op = op_of(BL_OP_CHANNELS, x);
    op.u.slice.first = first;
    op.u.slice.count = count;
    return add(g, op);
}

static bl_tensor_id patchify(bl_graph *g, bl_tensor_id x, int side, bool planes) {
    bl_op op = op_of(BL_OP_PATCHIFY, x);
    op.u.patch.side = side;
    op.u.patch.planes = planes;
    return add(g, op);
}

static bl_tensor_id unpatchify(bl_graph *g, bl_tensor_id x, int side, int h, int w, bool planes) {
    bl_op op = op_of(BL_OP_UNPATCHIFY, x);
    op.u.patch.side = side;
    op.u.patch.h = h;
    op.u.patch.w = w;
    op.u.patch.planes = planes;
    return add(g, op);
}

bl_tensor_id bl_patchify(bl_graph *g, bl_tensor_id x, int side) {
    return patchify(g, x, side, false);
}

bl_tensor_id bl_patchify_planes(bl_graph *g, bl_tensor_id x, int side) {
    return patchify(g, x, side, true);
}

bl_tensor_id bl_unpatchify(bl_graph *g, bl_tensor_id x, int side, int h, int w) {
    return unpatchify(g, x, side, h, w, false);
}

bl_tensor_id bl_unpatchify_planes(bl_graph *g, bl_tensor_id x, int side, int h, int w) {
    return unpatchify(g, x, side, h, w, true);
}

bl_tensor_id bl_activation(bl_graph *g, bl_tensor_id x, bl_act act) {
    bl_op op = op_of(BL_OP_ACT, x);
    op.act = act;
    return add(g, op);
}

bl_tensor_id bl_add(bl_graph *g, bl_tensor_id a, bl_tensor_id b) {
    bl_op op = op_of(BL_OP_ADD, a);
    op.in[1] = b;
    return add(g, op);
}

bl_tensor_id bl_concat(bl_graph *g, bl_tensor_id a, bl_tensor_id b) {
    bl_op op = op_of(BL_OP_CONCAT, a);
    op.in[1] = b;
    return add(g, op);
}

bl_tensor_id bl_upsample(bl_graph *g, bl_tensor_id x, int h, int w) {
    bl_op op = op_of(BL_OP_UPSAMPLE, x);
    op.u.upsample.h = h;
    op.u.upsample.w = w;
    return add(g, op);
}
