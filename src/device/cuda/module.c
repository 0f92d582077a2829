#include "device/cuda/internal.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

/* cuBLASLt adds a bias of its output's type; everybody else reads vectors as F32. */
static bool is_products_bias(const bl_graph *g, bl_weight_id w) {
    for (int i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind == BL_OP_LINEAR && g->ops[i].weight2 == w) {
            return true;
        }
    }
    return false;
}

static void describe(bl_cuda_weight *p, const bl_device_module *m, const bl_graph *g, bl_weight_id id) {
    p->weight = g->weights[id];
    p->dtype = p->weight.kind == BL_W_VECTOR && !is_products_bias(g, id) ? BL_F32 : g->dtype;
    p->row_bytes = (uint64_t)(bl_weight_elements(&p->weight) / p->weight.shape[0]) * bl_dtype_size(p->dtype);
    p->stays_small = bl_source_small(&p->small, &m->source, &p->weight);
}

static void lay_out(bl_device_module *m, const bl_graph *g) {
    for (int b = 0; b < m->block_count; b++) {
        const bl_block *block = &m->blocks[b];
        uint64_t small = 0, wide = 0, stored = 0;
        bool any = false;
        for (int i = block->first_weight; i < block->first_weight + block->weight_count; i++) {
            bl_cuda_weight *p = &m->weights[i];
            describe(p, m, g, i);
            p->offset[0] = small;
            p->offset[1] = wide;
            small += p->stays_small ? p->small.bytes : bl_cuda_wide_bytes(p);
            wide += bl_cuda_wide_bytes(p);
            any = any || p->stays_small;
            stored += bl_source_bytes(&m->source, &p->weight);
        }
        m->costs[b] = (bl_block_cost){.packed_bytes = small,
                                      .source_bytes = stored,
                                      .small_bytes = any ? small : 0,
                                      .wide_bytes = any ? wide : 0};
    }
}

int bl_cuda_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                        bl_error *err) {
    *out = NULL;
    bl_device_module *m = calloc(1, sizeof *m);
    if (!m) {
        return bl_fail_memory(err, "a module", sizeof *m);
    }
    m->c = (bl_cuda *)d;
    m->source = *source;
    m->dtype = graph->dtype;
    m->weight_count = graph->weight_count;
    m->block_count = graph->block_count;
    m->weights = calloc((size_t)m->weight_count + 1, sizeof *m->weights);
    m->blocks = calloc((size_t)m->block_count + 1, sizeof *m->blocks);
    m->costs = calloc((size_t)m->block_count + 1, sizeof *m->costs);
    m->wide = calloc((size_t)m->block_count + 1, sizeof *m->wide);
    if (!m->weights || !m->blocks || !m->costs || !m->wide) {
        bl_cuda_module_close(m);
        return bl_fail_memory(err, "the list of weights", (uint64_t)graph->weight_count * sizeof *m->weights);
    }
    memcpy(m->blocks, graph->blocks, (size_t)m->block_count * sizeof *m->blocks);
    lay_out(m, graph);
    *out = m;
    return 0;
}

void bl_cuda_module_close(bl_device_module *m) {
    free(m->wide);
    free(m->costs);
    free(m->blocks);
    free(m->weights);
    free(m);
}

const bl_block_cost *bl_cuda_module_costs(const bl_device_module *m) {
    return m->costs;
}

void bl_cuda_module_refresh(bl_device_module *m) {
    for (int b = 0; b < m->block_count; b++) {
        bl_block_cost *cost = &m->costs[b];
        m->wide[b] = false;
        cost->packed_bytes = cost->wide_bytes ? cost->small_bytes : cost->packed_bytes;
    }
    for (int i = 0; i < m->weight_count; i++) {
        const bl_cuda_weight *p = &m->weights[i];
        bl_small_weight now;
        if (p->stays_small && !bl_source_small(&now, &m->source, &p->weight)) {
            m->wide[p->weight.block] = true;
            m->costs[p->weight.block].packed_bytes = m->costs[p->weight.block].wide_bytes;
        }
    }
}
