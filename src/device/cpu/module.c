#include "device/cpu/internal.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

/* Sizes that a layout is asked for with. Any real size would do; what counts is that it is always the same.
 */
#define CANONICAL_SIDE 64
#define CANONICAL_ROWS 256

static const bl_op *first_user(const bl_graph *g, bl_weight_id w) {
    for (int i = 0; i < g->op_count; i++) {
        if (g->ops[i].weight == w) {
            return &g->ops[i];
        }
    }
    return NULL;
}

static int conv_layout(bl_packed *p, bl_cpu *cpu, const bl_op *op, bl_error *err) {
    int high = CANONICAL_SIDE + op->u.conv.top + op->u.conv.bottom - op->u.conv.kh;
    int wide = CANONICAL_SIDE + op->u.conv.left + op->u.conv.right - op->u.conv.kw;
    bl_tensor in = {.h = CANONICAL_SIDE, .w = CANONICAL_SIDE};
    bl_tensor out = {.h = high / op->u.conv.stride + 1, .w = wide / op->u.conv.stride + 1};
    bl_dnnl_conv c = bl_cpu_dnnl_conv(p, op, &in, &out, 1);
    c.sum = false; /* whatever the first user of these weights does besides */
    return bl_dnnl_conv_layout(&p->layout, cpu->dnnl, &c, err);
}

/* Winograd's algorithm does a quarter of the multiplications (with stride 2 none fewer: there it only stands
 * in where oneDNN has no kernel). On tiles of bf16 oneDNN is faster all the same, and with few input channels
 * the transforms cost more than they save. */
#define WINOGRAD_CHANNELS 16

static bool wants_winograd(const bl_packed *p, const bl_cpu *cpu, const bl_op *op) {
    return op->u.conv.kh == 3 && op->u.conv.kw == 3 && op->u.conv.stride <= 2 &&
           p->weight.shape[1] >= WINOGRAD_CHANNELS && !(p->dtype == BL_BF16 && cpu->amx);
}

/* oneDNN's layout for bf16 on AVX-512 is one that our transform of filters reads too: [o / outs][3][3][c /
 * 2][outs][2]. Then both may run the convolution. */
static bool winograd_reads(const bl_packed *p) {
    const bl_dnnl_blocking *b = bl_dnnl_layout_blocking(p->layout);
    return p->dtype == BL_BF16 && b->inner == 2 && b->inner_dim[0] == 0 && b->inner_dim[1] == 1 &&
           b->inner_size[0] % BL_WINOGRAD_LANES == 0 && b->inner_size[1] == 2 &&
           b->strides[2] == 3 * b->strides[3];
}

/* [o / 16][c][3][3][16] */
static void winograd_layout(bl_packed *p) {
    int64_t o = p->weight.shape[0], c = p->weight.shape[1], lanes = BL_WINOGRAD_LANES;
    p->blocked = true;
    p->blocking = (bl_dnnl_blocking){.rank = 4,
                                     .dims = {o, c, 3, 3},
                                     .strides = {c * 9 * lanes, 9 * lanes, 3 * lanes, lanes},
                                     .inner = 1,
                                     .inner_size = {lanes},
                                     .inner_dim = {0},
                                     .padded = o % lanes != 0,
                                     .bytes = bl_align_up((uint64_t)o, BL_WINOGRAD_LANES) * (uint64_t)c * 9 *
                                              bl_dtype_size(p->dtype)};
}

static int describe(bl_packed *p, bl_device_module *m, const bl_graph *g, bl_weight_id id, bl_error *err) {
    p->weight = g->weights[id];
    p->halves = 1;
    p->dtype = p->weight.kind == BL_W_VECTOR ? BL_F32 : g->dtype;
    const bl_op *op = first_user(g, id);
    int rc = 0;
    if (op && p->weight.kind == BL_W_CONV) {
        rc = conv_layout(p, m->cpu, op, err);
        p->winograd = wants_winograd(p, m->cpu, op);
        if (!rc && p->winograd && op->u.conv.stride == 2) {
            p->winograd = winograd_reads(p);
        } else if (!rc && p->winograd && !winograd_reads(p)) {
            bl_dnnl_layout_close(&p->layout);
            winograd_layout(p);
        }
    } else if (op && p->weight.kind == BL_W_LINEAR) {
        p->halves = op->act == BL_ACT_GEGLU ? 2 : 1;
        bl_dnnl_linear l = {.dtype = p->dtype,
                            .rows = CANONICAL_ROWS,
                            .c = p->weight.shape[1],
                            .o = p->weight.shape[0] / p->halves,
                            .bias = true};
        rc = bl_dnnl_linear_layout(&p->layout, m->cpu->dnnl, &l, err);
    }
    if (p->layout) {
        p->blocked = true;
        p->blocking = *bl_dnnl_layout_blocking(p->layout);
    }
    uint64_t bytes =
        p->blocked ? p->blocking.bytes : (uint64_t)bl_weight_elements(&p->weight) * bl_dtype_size(p->dtype);
    p->half_bytes = bl_align_up(bytes, BL_ALIGN);
    p->stays_small = bl_source_small(&p->small, &m->source, &p->weight);
    return rc;
}

bool bl_cpu_is_small(const bl_device_module *m, const bl_packed *p) {
    return p->stays_small && !m->wide[p->weight.block];
}

uint64_t bl_cpu_offset(const bl_device_module *m, const bl_packed *p) {
    return p->offset[m->wide[p->weight.block]];
}

static int enlarge_staging(bl_cpu *c, uint64_t each, bl_error *err) {
    uint64_t bytes = each * (uint64_t)c->threads + BL_ALIGN;
    if (c->staging && each <= c->staging_bytes) {
        return 0;
    }
    unsigned char *larger = aligned_alloc(BL_ALIGN, (size_t)bytes);
    if (!larger) {
        return bl_fail_memory(err, "packing weights", bytes);
    }
    free(c->staging);
    c->staging = larger;
    c->staging_bytes = each;
    c->working = false;
    return 0;
}

static int lay_out(bl_device_module *m, const bl_graph *g, bl_error *err) {
    uint64_t staging = 0;
    for (int b = 0; b < m->block_count; b++) {
        const bl_block *block = &m->blocks[b];
        uint64_t small = 0, wide = 0, stored = 0;
        bool any = false;
        for (int i = block->first_weight; i < block->first_weight + block->weight_count; i++) {
            bl_packed *p = &m->weights[i];
            int rc = describe(p, m, g, i, err);
            if (rc) {
                return rc;
            }
            p->offset[0] = small;
            p->offset[1] = wide;
            uint64_t bytes = p->half_bytes * (uint64_t)p->halves;
            small += p->stays_small ? p->small.bytes : bytes;
            wide += bytes;
            any = any || p->stays_small;
            stored += bl_source_bytes(&m->source, &p->weight);
            uint64_t needs = bl_cpu_staging_bytes(p);
            staging = needs > staging ? needs : staging;
        }
        m->costs[b] = (bl_block_cost){.packed_bytes = small,
                                      .source_bytes = stored,
                                      .small_bytes = any ? small : 0,
                                      .wide_bytes = any ? wide : 0};
    }
    return enlarge_staging(m->cpu, staging, err);
}

int bl_cpu_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                       bl_error *err) {
    *out = NULL;
    if (graph->dtype == BL_BF16 && !((bl_cpu *)d)->bf16) {
        return bl_fail(err, BL_E_UNSUPPORTED, "this CPU has no instructions for bf16: use f32");
    }
    bl_device_module *m = calloc(1, sizeof *m);
    int rc;
    if (!m) {
        return bl_fail_memory(err, "a module", sizeof *m);
    }
    m->cpu = (bl_cpu *)d;
    bl_set_threads(m->cpu->threads);
    m->source = *source;
    m->dtype = graph->dtype;
    m->weight_count = graph->weight_count;
    m->block_count = graph->block_count;
    m->weights = calloc((size_t)m->weight_count + 1, sizeof *m->weights);
    m->blocks = calloc((size_t)m->block_count + 1, sizeof *m->blocks);
    m->costs = calloc((size_t)m->block_count + 1, sizeof *m->costs);
    m->wide = calloc((size_t)m->block_count + 1, sizeof *m->wide);
    if (!m->weights || !m->blocks || !m->costs || !m->wide) {
        rc = bl_fail_memory(err, "the list of weights", (uint64_t)m->weight_count * sizeof *m->weights);
        goto fail;
    }
    memcpy(m->blocks, graph->blocks, (size_t)m->block_count * sizeof *m->blocks);
    rc = lay_out(m, graph, err);
    if (rc) {
        goto fail;
    }
    *out = m;
    return 0;
fail:
    bl_cpu_module_close(m);
    return rc;
}

void bl_cpu_module_close(bl_device_module *m) {
    if (!m) {
        return;
    }
    for (int i = 0; m->weights && i < m->weight_count; i++) {
        bl_dnnl_layout_close(&m->weights[i].layout);
    }
    free(m->wide);
    free(m->costs);
    free(m->blocks);
    free(m->weights);
    free(m);
}

const bl_block_cost *bl_cpu_module_costs(const bl_device_module *m) {
    return m->costs;
}

void bl_cpu_module_refresh(bl_device_module *m) {
    for (int b = 0; b < m->block_count; b++) {
        const bl_block *block = &m->blocks[b];
        bl_block_cost *cost = &m->costs[b];
        bool wide = false;
        for (int i = block->first_weight; i < block->first_weight + block->weight_count; i++) {
            const bl_packed *p = &m->weights[i];
            bl_small_weight now;
            wide = wide || (p->stays_small && !bl_source_small(&now, &m->source, &p->weight));
        }
        m->wide[b] = wide;
        cost->packed_bytes = !cost->wide_bytes ? cost->packed_bytes
                             : wide            ? cost->wide_bytes
                                               : cost->small_bytes;
    }
}
