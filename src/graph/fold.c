#include "graph/fold.h"

#include <stdlib.h>
#include <string.h>

#define WORTH \
    2 /* a tensor below this share of the largest one is not at the peak of a smaller arena either */

#define DROPPED BL_OP_KIND_COUNT /* an op that became part of another */

typedef struct folding {
    bl_graph *g;    /* the copy that is changed */
    uint64_t worth; /* bytes of a tensor from which on it is */
    int *reads;     /* [tensor_room] how often it is read */
    int *reader;    /* [tensor_room] the op that reads it last, or -1 */
    int *writer;    /* [tensor_room] the op that writes it, or -1 */
} folding;

static void *copy_of(const void *from, int count, int room, size_t size) {
    void *p = calloc((size_t)room + 1, size);
    if (p && count) {
        memcpy(p, from, (size_t)count * size);
    }
    return p;
}

/* A copy with room for another tensor for each op. */
static bl_graph *copy_graph(const bl_graph *from) {
    bl_graph *g = calloc(1, sizeof *g);
    if (!g) {
        return NULL;
    }
    *g = *from;
    g->tensor_room = g->tensor_count + g->op_count + 1;
    g->tensors = copy_of(from->tensors, g->tensor_count, g->tensor_room, sizeof *g->tensors);
    g->weights = copy_of(from->weights, g->weight_count, g->weight_room, sizeof *g->weights);
    g->ops = copy_of(from->ops, g->op_count, g->op_room, sizeof *g->ops);
    g->blocks = copy_of(from->blocks, g->block_count, g->block_room, sizeof *g->blocks);
    if (!g->tensors || !g->weights || !g->ops || !g->blocks) {
        bl_graph_free(&g);
    }
    return g;
}

/* Counts anew who writes and reads what. */
static void count_reads(folding *f) {
    const bl_graph *g = f->g;
    memset(f->reads, 0, (size_t)g->tensor_room * sizeof *f->reads);
    memset(f->reader, 0xff, (size_t)g->tensor_room * sizeof *f->reader);
    memset(f->writer, 0xff, (size_t)g->tensor_room * sizeof *f->writer);
    for (int i = 0; i < g->op_count; i++) {
        const bl_op *op = &g->ops[i];
        for (int j = 0; j < BL_OP_INPUTS && op->kind != DROPPED; j++) {
            if (op->in[j] != BL_NONE) {
                f->reads[op->in[j]]++;
                f->reader[op->in[j]] = i;
            }
        }
        if (op->kind != DROPPED) {
            f->writer[op->out] = i;
        }
    }
}

static bool is_large(const folding *f, bl_tensor_id t) {
    return f->g->tensors[t].place == BL_ARENA && !f->g->tensors[t].kept &&
           bl_tensor_bytes(&f->g->tensors[t]) >= f->worth;
}

static bool can_fold(const bl_graph *g, const bl_op *op) {
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    return (op->kind == BL_OP_CONV || op->kind == BL_OP_FOLDED_CONV) && op->u.conv.kh == 3 &&
           op->u.conv.kw == 3 && op->u.conv.stride == 1 && op->u.conv.top == 1 && op->u.conv.left == 1 &&
           in->h <= out->h && in->w <= out->w;
}

static bl_tensor_id add_tensor(bl_graph *g, bl_tensor t) {
    t.first_op = t.last_op = -1;
    g->tensors[g->tensor_count] = t;
    return g->tensor_count++;
}

/* Group norms and upsampling whose only reader is a convolution become part of it. */
static void fold_inputs(folding *f) {
    bl_graph *g = f->g;
    for (int i = 0; i < g->op_count; i++) {
        bl_op *op = &g->ops[i];
        if ((op->kind != BL_OP_GROUP_NORM && op->kind != BL_OP_UPSAMPLE) || !is_large(f, op->out) ||
            f->reads[op->out] != 1) {
            continue;
        }
        bl_op *conv = &g->ops[f->reader[op->out]];
        if (conv->in[0] != op->out || !can_fold(g, conv)) {
            continue;
        }
        conv->kind = BL_OP_FOLDED_CONV;
        conv->in[0] = op->in[0];
        if (op->kind == BL_OP_UPSAMPLE) {
            op->kind = DROPPED;
            continue;
        }
        bl_tensor t = g->tensors[op->out];
        t.dtype = BL_F32;
        t.h = 2;
        t.w = 1;
        op->kind = BL_OP_NORM_FACTORS;
        conv->act = op->act;
        conv->in[3] = op->out = add_tensor(g, t);
    }
}

/* The convolution that reads `x` through a norm and whose output, normed, `second` reads; or NULL. Nobody
 * else may read that output. */
static bl_op *first_conv(const folding *f, const bl_op *second, bl_tensor_id x) {
    bl_graph *g = f->g;
    bl_tensor_id y = second->in[0];
    int first = f->writer[y], norm = second->in[3] == BL_NONE ? -1 : f->writer[second->in[3]];
    if (first < 0 || norm < 0 || g->ops[norm].in[0] != y || f->reads[y] != 2) {
        return NULL;
    }
    bl_op *op = &g->ops[first];
    bool fits = op->kind == BL_OP_FOLDED_CONV && op->in[0] == x && op->in[1] == BL_NONE &&
                op->in[3] != BL_NONE && op->weight3 == BL_NONE && g->tensors[op->out].h == g->tensors[x].h &&
                g->tensors[op->out].w == g->tensors[x].w;
    return fits ? op : NULL;
}

/* A resnet's shortcut becomes part of its first convolution: both read x, and both outputs together are one
 * tensor that can take x's place. */
static void fold_shortcuts(folding *f) {
    bl_graph *g = f->g;
    for (int i = 0; i < g->op_count; i++) {
        bl_op *line = &g->ops[i];
        if (line->kind != BL_OP_LINEAR || line->act != BL_ACT_NONE || line->in[1] != BL_NONE ||
            line->weight2 == BL_NONE || f->reads[line->out] != 1) {
            continue;
        }
        bl_op *second = &g->ops[f->reader[line->out]];
        if (second->kind != BL_OP_FOLDED_CONV || second->in[1] != line->out) {
            continue;
        }
        bl_op *first = first_conv(f, second, line->in[0]);
        if (!first || first->block != line->block || g->tensors[first->out].c != g->tensors[line->out].c) {
            continue;
        }
        bl_tensor both = g->tensors[line->out];
        both.c *= 2;
        first->weight3 = line->weight;
        first->weight4 = line->weight2;
        first->out = second->in[0] = second->in[1] = add_tensor(g, both);
        g->ops[f->writer[second->in[3]]].in[0] = first->out;
        line->kind = DROPPED;
    }
}

/* A GEGLU layer that one linear layer reads becomes part of it. */
static void fold_feed_forward(folding *f) {
    bl_graph *g = f->g;
    for (int i = 0; i < g->op_count; i++) {
        bl_op *gated = &g->ops[i];
        if (gated->kind != BL_OP_LINEAR || gated->act != BL_ACT_GEGLU || gated->in[1] != BL_NONE ||
            f->reads[gated->out] != 1 || !is_large(f, gated->out)) {
            continue;
        }
        bl_op *line = &g->ops[f->reader[gated->out]];
        if (line->kind != BL_OP_LINEAR || line->in[0] != gated->out || line->act != BL_ACT_NONE ||
            line->block != gated->block) {
            continue;
        }
        line->kind = BL_OP_FEED_FORWARD;
        line->in[0] = gated->in[0];
        line->weight3 = line->weight;
        line->weight4 = line->weight2;
        line->weight = gated->weight;
        line->weight2 = gated->weight2;
        gated->kind = DROPPED;
    }
}

/* Takes the dropped ops out, and counts those of each block anew. */
static void close_ranks(bl_graph *g) {
    int count = 0;
    for (int b = 0; b < g->block_count; b++) {
        bl_block *block = &g->blocks[b];
        int first = block->first_op, end = first + block->op_count;
        block->first_op = count;
        for (int i = first; i < end; i++) {
            if (g->ops[i].kind != DROPPED) {
                g->ops[count++] = g->ops[i];
            }
        }
        block->op_count = count - block->first_op;
    }
    g->op_count = count;
    for (int t = 0; t < g->tensor_count; t++) {
        g->tensors[t].first_op = g->tensors[t].last_op = -1;
    }
}

static void find_worth(folding *f) {
    uint64_t largest = 0;
    for (int i = 0; i < f->g->tensor_count; i++) {
        const bl_tensor *t = &f->g->tensors[i];
        uint64_t bytes = t->place == BL_ARENA && !t->kept ? bl_tensor_bytes(t) : 0;
        largest = bytes > largest ? bytes : largest;
    }
    f->worth = largest / WORTH;
}

int bl_graph_fold(bl_graph **out, const bl_graph *g, bl_folds what, bl_error *err) {
    *out = NULL;
    folding f = {.g = copy_graph(g)};
    size_t room = f.g ? (size_t)f.g->tensor_room : 0;
    f.reads = malloc(room * sizeof *f.reads + 1);
    f.reader = malloc(room * sizeof *f.reader + 1);
    f.writer = malloc(room * sizeof *f.writer + 1);
    int rc = 0;
    if (!f.g || !f.reads || !f.reader || !f.writer) {
        rc = bl_fail_memory(err, "folding a graph", (uint64_t)g->op_count * sizeof *g->ops);
    } else {
        find_worth(&f);
        count_reads(&f);
        fold_inputs(&f);
        if (what == BL_FOLD_PRODUCTS) {
            count_reads(&f);
            fold_shortcuts(&f);
            fold_feed_forward(&f);
        }
        close_ranks(f.g);
        rc = bl_graph_finish(f.g, err);
    }
    free(f.reads);
    free(f.reader);
    free(f.writer);
    if (rc) {
        bl_graph_free(&f.g);
        return rc;
    }
    *out = f.g;
    return 0;
}

/* Nothing is overwritten that is yet to be read, except by upsampling to shorter rows. */
int bl_fold_overwrites(const bl_graph *g, const bl_op *op) {
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    bool grows = (int64_t)out->w * out->c >= (int64_t)in->w * in->c;
    return op->in[1] != BL_NONE ? 1 : in->h == out->h || grows ? 0 : -1;
}
