#include "device/cuda/internal.h"

#include "core/checked.h"

#include <stdlib.h>

bl_tensor_id bl_cuda_first_of(const bl_executable *x, const bl_op *op, bl_tensor_id table) {
    for (const bl_op *before = x->graph->ops; before < op; before++) {
        for (int j = 0; j < BL_OP_INPUTS; j++) {
            if (before->in[j] == table) {
                return BL_NONE;
            }
        }
    }
    return table;
}

/* Behind the arena: what the host brings for many ops. */
static void place_tables(bl_executable *x) {
    for (int i = 0; i < x->graph->op_count; i++) {
        const bl_op_kind kind = x->graph->ops[i].kind;
        const bl_tensor *t =
            (kind == BL_OP_ROPE || kind == BL_OP_ATTENTION) && x->steps[i].host_input != BL_NONE
                ? &x->graph->tensors[x->steps[i].host_input]
                : NULL;
        if (t) {
            x->table_at[t->port] = x->plan.bytes;
            x->plan.bytes += bl_align_up(bl_tensor_bytes(t), BL_ALIGN);
        }
    }
}

static int prepare_all(bl_executable *x, bl_op_memory *memory, bl_error *err) {
    for (int i = 0; i < x->graph->op_count; i++) {
        const bl_op *op = &x->graph->ops[i];
        const bl_cuda_op *row = bl_cuda_ops[op->kind];
        bl_cuda_step *s = &x->steps[i];
        s->inplace = -1;
        s->host_input = BL_NONE;
        if (!row) {
            return bl_fail(err, BL_E_UNSUPPORTED, "cuda: %s is not implemented on this device",
                           bl_op_name(op->kind));
        }
        int rc = row->prepare ? row->prepare(x, s, op, err) : 0;
        if (rc) {
            return rc;
        }
        bl_cuda_add_widened(x, s, op);
        memory[i] = (bl_op_memory){.scratch_bytes = s->scratch_bytes, .inplace = s->inplace};
    }
    int rc = bl_arena_plan_make(&x->plan, x->graph, memory, err);
    if (!rc) {
        place_tables(x);
    }
    return rc;
}

static int prepare_on_card(bl_executable *x, bl_op_memory *memory, bl_error *err) {
    int rc = bl_cuda_enter(x->module->c, err);
    rc = rc ? rc : bl_cuda_kernels_open(x->module->c, x->graph->dtype, err);
    rc = rc ? rc : prepare_all(x, memory, err);
    rc = rc ? rc : bl_cuda_ports_open(x, err);
    rc = rc ? rc : bl_cuda_widening_open(x, err);
    return rc ? rc : bl_cuda_warm(x, err);
}

/* By arithmetic, or by reading the weights: what plans go by until a pass was measured. */
static void guess_seconds(bl_executable *x) {
    const bl_cuda_card *card = &x->module->c->card;
    const bl_graph *g = x->graph;
    for (int i = 0; i < g->op_count; i++) {
        x->flops[g->ops[i].block] += bl_op_flops(g, &g->ops[i]);
    }
    for (int b = 0; b < g->block_count; b++) {
        double compute = x->flops[b] / (g->dtype == BL_BF16 ? card->flops_bf16 : card->flops_f32);
        const bl_block_cost *cost = &x->module->costs[b];
        uint64_t wide = cost->wide_bytes ? cost->wide_bytes : cost->packed_bytes;
        double reading = (double)wide / card->memory_rate;
        x->seconds[b] = (compute > reading ? compute : reading) + 1e-6 + x->widen[b];
    }
}

int bl_cuda_prepare(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                    const bl_prepare_options *options, bl_error *err) {
    *out = NULL;
    if (graph->weight_count != m->weight_count || graph->block_count != m->block_count ||
        graph->dtype != m->dtype) {
        return bl_fail(err, BL_E_INTERNAL, "the graph is not one of this module");
    }
    size_t count = (size_t)graph->op_count;
    bl_executable *x = calloc(1, sizeof *x);
    bl_op_memory *memory = calloc(count + 1, sizeof *memory);
    int rc = 0;
    if (x) {
        x->module = m;
        x->graph = graph;
        x->tuned_graphs = options->tuning.graphs; /* no other choice is a card's */
        x->steps = calloc(count + 1, sizeof *x->steps);
        x->table_at = calloc((size_t)graph->input_count + 1, sizeof *x->table_at);
        x->flops = calloc((size_t)graph->block_count + 1, sizeof *x->flops);
        x->seconds = calloc((size_t)graph->block_count + 1, sizeof *x->seconds);
        x->graphs = calloc((size_t)graph->block_count + 1, sizeof *x->graphs);
        x->widened = calloc((size_t)graph->block_count + 1, sizeof *x->widened);
        x->widen = calloc((size_t)graph->block_count + 1, sizeof *x->widen);
    }
    if (!x || !memory || !x->steps || !x->table_at || !x->flops || !x->seconds || !x->graphs || !x->widened ||
        !x->widen) {
        rc = bl_fail_memory(err, "preparing a graph", count * sizeof *x->steps);
    }
    rc = rc ? rc : m->c->planning ? prepare_all(x, memory, err) : prepare_on_card(x, memory, err);
    free(memory);
    if (rc) {
        bl_cuda_executable_close(x);
        return rc;
    }
    guess_seconds(x);
    bl_cuda_tell_guesses(m->c);
    *out = x;
    return 0;
}

void bl_cuda_executable_close(bl_executable *x) {
    if (x) {
        if (!x->module->c->planning) {
            bl_cuda_captured_close(x);
            bl_cuda_ports_close(x);
            bl_cuda_widening_close(x);
        }
        bl_arena_plan_free(&x->plan);
        free(x->widen);
        free(x->widened);
        free(x->graphs);
        free(x->seconds);
        free(x->flops);
        free(x->table_at);
        free(x->steps);
        free(x);
    }
}

void bl_cuda_executable_info(const bl_executable *x, bl_exec_info *out) {
    bool any = false;
    for (int b = 0; b < x->graph->block_count; b++) {
        any = any || x->widened[b] > 0;
    }
    *out = (bl_exec_info){.arena_bytes = x->plan.bytes,
                          .block_count = x->graph->block_count,
                          .block_flops = x->flops,
                          .block_seconds = x->seconds,
                          .block_widened = any ? x->widened : NULL,
                          .block_widen_seconds = any ? x->widen : NULL};
}
