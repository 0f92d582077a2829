#include "graph/op_rows.h"

#include "graph/fold.h"

/* ---- shapes */

/* A copy of a tensor's description, or an empty one where there is none. */
static bl_tensor tensor_of(const bl_graph *g, bl_tensor_id id) {
    return id >= 0 && id < g->tensor_count ? g->tensors[id] : (bl_tensor){.port = -1};
}

static bool same_shape(bl_tensor a, bl_tensor b) {
    return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

static bool is_activation(const bl_graph *g, bl_tensor_id id) {
    return id >= 0 && id < g->tensor_count && g->tensors[id].place == BL_ARENA;
}

static bool is_input(const bl_graph *g, bl_tensor_id id, bl_dtype dtype) {
    return id >= 0 && id < g->tensor_count && g->tensors[id].place == BL_INPUT &&
           g->tensors[id].dtype == dtype;
}

/* Is `id` none, or an activation of this shape? */
static bool fits_if_any(const bl_graph *g, bl_tensor_id id, bl_tensor shape) {
    return id == BL_NONE || (is_activation(g, id) && same_shape(g->tensors[id], shape));
}

/* Is `id` a weight of this kind whose first axis is `rows` (0: any)? */
static bool is_weight(const bl_graph *g, bl_weight_id id, bl_weight_kind kind, int64_t rows) {
    return id >= 0 && id < g->weight_count && g->weights[id].kind == kind &&
           (!rows || g->weights[id].shape[0] == rows);
}

static const char *import_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    (void)out;
    return is_input(g, op->in[0], BL_F32) ? NULL : "wants an F32 input";
}

static const char *export_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    out->place = BL_OUTPUT;
    out->dtype = BL_F32;
    return is_activation(g, op->in[0]) ? NULL : "wants an activation";
}

static const char *sinusoid_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int dim = op->u.sinusoid.dim;
    if (!is_input(g, op->in[0], BL_F32) || out->h != 1 || out->w != 1 || dim <= 0 || dim % 2) {
        return "wants an F32 input [n,1,1,k] and an even dim";
    }
    out->c *= dim;
    return NULL;
}

static const char *embed_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok = is_input(g, op->in[0], BL_I32) && out->c == 1 && out->w == 1 &&
              is_weight(g, op->weight, BL_W_EMBEDDING, 0);
    if (ok && op->weight2 != BL_NONE) {
        ok = is_weight(g, op->weight2, BL_W_EMBEDDING, 0) && out->h <= g->weights[op->weight2].shape[0] &&
             g->weights[op->weight2].shape[1] == g->weights[op->weight].shape[1];
    }
    if (!ok) {
        return "wants I32 ids [n,T,1,1] and tables of one width, T positions at least";
    }
    out->c = (int)g->weights[op->weight].shape[1];
    return NULL;
}

static const char *take_row_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bl_tensor rows = tensor_of(g, op->in[1]);
    if (!is_activation(g, op->in[0]) || !is_input(g, op->in[1], BL_I32) || rows.n != out->n ||
        bl_tensor_elements(&rows) != out->n) {
        return "wants an activation and one I32 row number for each of the batch";
    }
    out->h = out->w = 1;
    return NULL;
}

static const char *conv_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    if (!is_activation(g, op->in[0]) || !is_weight(g, op->weight, BL_W_CONV, 0) ||
        g->weights[op->weight].shape[1] != out->c) {
        return "input channels differ from the weight's";
    }
    const int64_t *s = g->weights[op->weight].shape;
    op->u.conv.kh = (int)s[2];
    op->u.conv.kw = (int)s[3];
    int h = out->h + op->u.conv.top + op->u.conv.bottom - op->u.conv.kh;
    int w = out->w + op->u.conv.left + op->u.conv.right - op->u.conv.kw;
    out->h = h / op->u.conv.stride + 1;
    out->w = w / op->u.conv.stride + 1;
    out->c = (int)s[0];
    bl_tensor channels = *out;
    channels.h = channels.w = 1;
    bool ok = h >= 0 && w >= 0 && is_weight(g, op->weight2, BL_W_VECTOR, s[0]) &&
              fits_if_any(g, op->in[1], *out) && fits_if_any(g, op->in[2], channels);
    return ok ? NULL : "kernel, bias, residual or per-channel input does not fit";
}

static const char *linear_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    if (!is_activation(g, op->in[0]) || !is_weight(g, op->weight, BL_W_LINEAR, 0) ||
        g->weights[op->weight].shape[1] != out->c) {
        return "input channels differ from the weight's";
    }
    int64_t rows = g->weights[op->weight].shape[0];
    bool gated = op->act == BL_ACT_GEGLU;
    out->c = (int)(gated ? rows / 2 : rows);
    bool ok = (op->weight2 == BL_NONE || is_weight(g, op->weight2, BL_W_VECTOR, rows)) &&
              (!gated || rows % 2 == 0) && fits_if_any(g, op->in[1], *out);
    return ok ? NULL : "bias or residual does not fit";
}

static const char *norm_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool bare = op->kind == BL_OP_LAYER_NORM && op->weight == BL_NONE && op->weight2 == BL_NONE;
    bool ok = is_activation(g, op->in[0]) && op->u.norm.groups > 0 && out->c % op->u.norm.groups == 0 &&
              (bare || (is_weight(g, op->weight, BL_W_VECTOR, out->c) &&
                        is_weight(g, op->weight2, BL_W_VECTOR, out->c)));
    return ok ? NULL : "channels differ from the weight's or do not divide into groups";
}

static const char *rms_norm_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok = is_activation(g, op->in[0]) && is_weight(g, op->weight, BL_W_VECTOR, 0) &&
              out->c % g->weights[op->weight].shape[0] == 0;
    return ok ? NULL : "channels are no multiple of the weight's";
}

static const char *attention_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bl_tensor q = *out, k = tensor_of(g, op->in[1]), v = tensor_of(g, op->in[2]);
    int width = op->u.attention.heads * op->u.attention.head_dim;
    int shared = op->u.attention.kv_heads * op->u.attention.head_dim;
    bool ok = is_activation(g, op->in[0]) && is_activation(g, op->in[1]) && is_activation(g, op->in[2]) &&
              op->u.attention.kv_heads > 0 && op->u.attention.heads > 0 &&
              op->u.attention.heads % op->u.attention.kv_heads == 0 && op->u.attention.head_dim > 0 &&
              q.n == k.n && k.n == v.n && k.h == v.h && k.w == v.w &&
              op->u.attention.q_offset + width <= q.c && op->u.attention.k_offset + shared <= k.c &&
              op->u.attention.v_offset + shared <= v.c;
    if (!ok) {
        return "q, k and v do not fit together";
    }
    bl_tensor_id counts = op->in[3];
    if (counts != BL_NONE && !(is_input(g, counts, BL_I32) && g->tensors[counts].n == q.n &&
                               bl_tensor_elements(&g->tensors[counts]) == q.n)) {
        return "wants a number of keys for each of the batch";
    }
    const int least = op->u.attention.key_least, step = op->u.attention.key_step;
    if (step < 0 || (step && (counts == BL_NONE || least < 1 || (int64_t)k.h * k.w < least ||
                              ((int64_t)k.h * k.w - least) % step))) {
        return "expects numbers of keys that do not lead to all";
    }
    const bool biased = op->in[4] != BL_NONE;
    const bl_tensor bias = tensor_of(g, op->in[4]);
    if (biased && !(is_input(g, op->in[4], BL_F32) && bias.n == q.n && bias.h == op->u.attention.heads &&
                    bias.w == 1 && (int64_t)bias.c == (int64_t)q.h * q.w + (int64_t)k.h * k.w - 1)) {
        return "wants a bias for each head and distance";
    }
    op->u.attention.scale = biased ? 1.0f : (float)(1.0 / __builtin_sqrt((double)op->u.attention.head_dim));
    out->c = width;
    return NULL;
}

static const char *rope_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bl_tensor table = tensor_of(g, op->in[1]);
    int dim = op->u.rope.dim;
    bool ok = is_activation(g, op->in[0]) && is_input(g, op->in[1], BL_F32) && dim > 0 && dim % 2 == 0 &&
              out->c % dim == 0 && table.c == dim && table.n == out->n && table.h == out->h &&
              table.w == out->w;
    return ok ? NULL : "wants heads of an even dim, and for each of their rows an F32 table of it";
}

/* Is `id` one vector for each of the batch, with `c` channels from `first` on? */
static bool has_channels(const bl_graph *g, bl_tensor_id id, int n, int first, int c) {
    return is_activation(g, id) && g->tensors[id].n == n && g->tensors[id].h == 1 && g->tensors[id].w == 1 &&
           first >= 0 && first + c <= g->tensors[id].c;
}

static const char *modulate_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok =
        is_activation(g, op->in[0]) && has_channels(g, op->in[1], out->n, op->u.modulate.scale, out->c) &&
        (op->u.modulate.shift == BL_NONE || has_channels(g, op->in[1], out->n, op->u.modulate.shift, out->c));
    return ok ? NULL : "scale or shift does not fit";
}

static const char *gated_add_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok = is_activation(g, op->in[0]) && op->in[1] != BL_NONE && fits_if_any(g, op->in[1], *out) &&
              has_channels(g, op->in[2], out->n, op->u.gate.at, out->c);
    return ok ? NULL : "shapes differ, or the gate does not fit";
}

static const char *glu_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok = is_activation(g, op->in[0]) && out->c % 2 == 0 &&
              (op->act == BL_ACT_SILU || op->act == BL_ACT_GELU_TANH);
    out->c /= 2;
    return ok ? NULL : "wants an even number of channels, and SiLU or tanh-GELU";
}

static const char *join_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bl_tensor b = tensor_of(g, op->in[1]);
    if (!is_activation(g, op->in[0]) || !is_activation(g, op->in[1]) || b.n != out->n || b.c != out->c) {
        return "batch or channels differ";
    }
    out->h = out->h * out->w + b.h * b.w;
    out->w = 1;
    return NULL;
}

static const char *slice_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int rows = out->h * out->w, first = op->u.slice.first, count = op->u.slice.count;
    if (!is_activation(g, op->in[0]) || first < 0 || count < 1 || count > rows - first) {
        return "has no such rows";
    }
    out->h = count;
    out->w = 1;
    return NULL;
}

static const char *channels_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int first = op->u.slice.first, count = op->u.slice.count;
    if (!is_activation(g, op->in[0]) || first < 0 || count < 1 || count > out->c - first) {
        return "has no such channels";
    }
    out->c = count;
    return NULL;
}

static const char *patchify_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int side = op->u.patch.side;
    if (!is_activation(g, op->in[0]) || side < 1 || out->h % side || out->w % side) {
        return "its sides are no multiples of the patch's";
    }
    out->h /= side;
    out->w /= side;
    out->c *= side * side;
    return NULL;
}

static const char *unpatchify_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int side = op->u.patch.side, h = op->u.patch.h, w = op->u.patch.w;
    if (!is_activation(g, op->in[0]) || side < 1 || h % side || w % side || out->c % (side * side) ||
        (int64_t)out->h * out->w != (int64_t)(h / side) * (w / side)) {
        return "its rows are not those of the picture's patches";
    }
    out->h = h;
    out->w = w;
    out->c /= side * side;
    return NULL;
}

static const char *act_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    (void)out;
    return is_activation(g, op->in[0]) && op->act != BL_ACT_NONE && op->act != BL_ACT_GEGLU
               ? NULL
               : "wants an activation";
}

static const char *add_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bool ok = is_activation(g, op->in[0]) && op->in[1] != BL_NONE && fits_if_any(g, op->in[1], *out);
    return ok ? NULL : "shapes differ";
}

static const char *concat_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    bl_tensor other = tensor_of(g, op->in[1]), joined = *out;
    joined.c = other.c;
    if (!is_activation(g, op->in[0]) || !is_activation(g, op->in[1]) || !same_shape(other, joined)) {
        return "shapes differ in more than channels";
    }
    out->c += other.c;
    return NULL;
}

static const char *upsample_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    int h = op->u.upsample.h, w = op->u.upsample.w;
    if (!is_activation(g, op->in[0]) || h < out->h || w < out->w) {
        return "wants an activation and a larger size";
    }
    out->h = h;
    out->w = w;
    return NULL;
}

/* Folding makes its ops of others that were checked. */
static const char *folded_shape(const bl_graph *g, bl_op *op, bl_tensor *out) {
    (void)g, (void)op, (void)out;
    return "is made by folding alone";
}

/* ---- operations */

static double no_flops(const bl_graph *g, const bl_op *op) {
    (void)g, (void)op;
    return 0.0;
}

static double conv_flops(const bl_graph *g, const bl_op *op) {
    const bl_tensor *y = &g->tensors[op->out];
    const bl_weight *w = &g->weights[op->weight];
    return 2.0 * (double)bl_weight_elements(w) * (double)y->n * y->h * y->w;
}

static double linear_flops(const bl_graph *g, const bl_op *op) {
    const bl_tensor *x = &g->tensors[op->in[0]];
    return 2.0 * (double)bl_weight_elements(&g->weights[op->weight]) * (double)x->n * x->h * x->w;
}

static double attention_flops(const bl_graph *g, const bl_op *op) {
    const bl_tensor *q = &g->tensors[op->in[0]], *k = &g->tensors[op->in[1]];
    double rows = (double)q->n * q->h * q->w, keys = (double)k->h * k->w;
    return 4.0 * rows * keys * op->u.attention.heads * op->u.attention.head_dim;
}

/* ---- memory */

static bl_op_memory own_place(const bl_graph *g, const bl_op *op) {
    (void)g, (void)op;
    return (bl_op_memory){.inplace = -1};
}

static bl_op_memory over_input(const bl_graph *g, const bl_op *op) {
    (void)g, (void)op;
    return (bl_op_memory){.inplace = 0};
}

/* A gate is multiplied in before the residual is added: there the output is written once without it. */
static bl_op_memory over_residual(const bl_graph *g, const bl_op *op) {
    (void)g;
    return (bl_op_memory){.inplace = op->in[1] != BL_NONE && op->act != BL_ACT_GEGLU ? 1 : -1};
}

/* A folded op goes over its picture, or its rows, in at least so many bands. */
#define BANDS 16

/* A band has its input, with a row above and below, and its output. */
static bl_op_memory in_bands(const bl_graph *g, const bl_op *op) {
    const bl_tensor *out = &g->tensors[op->out];
    uint64_t rows = (uint64_t)(out->h + BANDS - 1) / BANDS, w = (uint64_t)out->w;
    uint64_t c = (uint64_t)g->weights[op->weight].shape[1], o = (uint64_t)out->c;
    return (bl_op_memory){.scratch_bytes = ((rows + 2) * w * c + rows * w * o) * bl_dtype_size(g->dtype),
                          .inplace = bl_fold_overwrites(g, op),
                          .resizes = true};
}

/* A slice of rows has its share of the hidden layer. */
static bl_op_memory in_slices(const bl_graph *g, const bl_op *op) {
    const bl_tensor *x = &g->tensors[op->in[0]];
    uint64_t rows = (uint64_t)x->n * (uint64_t)x->h * (uint64_t)x->w;
    uint64_t hidden = (uint64_t)g->weights[op->weight3].shape[1];
    return (bl_op_memory){.scratch_bytes = (rows + BANDS - 1) / BANDS * hidden * bl_dtype_size(g->dtype),
                          .inplace = op->in[1] != BL_NONE ? 1 : -1};
}

#define ROW(KIND, name, shape, flops, memory) [BL_OP_##KIND] = {#KIND, shape, flops, memory},
const bl_op_row bl_op_rows[BL_OP_KIND_COUNT] = {BL_OP_LIST(ROW)};
#undef ROW

const char *bl_op_name(bl_op_kind kind) {
    return bl_op_rows[kind].name;
}

bool bl_op_has_ways(const bl_op *op) {
    return op->kind == BL_OP_CONV && op->u.conv.kh == 3 && op->u.conv.kw == 3 && op->u.conv.stride == 1;
}

int bl_graph_widest(const bl_graph *g) {
    int widest = 0;
    for (int i = 0; i < g->op_count; i++) {
        int width = bl_op_has_ways(&g->ops[i]) ? g->tensors[g->ops[i].out].w : 0;
        widest = width > widest ? width : widest;
    }
    return widest;
}

double bl_op_flops(const bl_graph *g, const bl_op *op) {
    return bl_op_rows[op->kind].flops(g, op);
}
