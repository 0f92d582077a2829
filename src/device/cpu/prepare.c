#include "device/cpu/internal.h"

#include "core/checked.h"
#include "graph/levels.h"
#include "graph/op_rows.h"

#include <stdlib.h>
#include <string.h>

int bl_cpu_batch(const bl_tensor *t) {
    return t->batch ? t->batch : t->n;
}

const bl_typed_kernels *bl_cpu_typed(const bl_executable *x) {
    const bl_kernels *k = x->module->cpu->kernels;
    return x->graph->dtype == BL_BF16 ? &k->bf16 : &k->f32;
}

/* Room behind the op's own scratch for those of its weights that may lie small in their block. */
static void add_widened(bl_executable *x, bl_step *s, const bl_op *op) {
    const bl_weight_id ids[2] = {op->weight, op->weight3};
    for (int k = 0; k < 2; k++) {
        const bl_packed *p = ids[k] == BL_NONE ? NULL : &x->module->weights[ids[k]];
        if (p && p->stays_small) {
            s->widened[k] = bl_align_up(s->scratch_bytes, BL_ALIGN);
            s->scratch_bytes = s->widened[k] + p->half_bytes * (uint64_t)p->halves;
            x->widened[p->weight.block] += (double)bl_weight_elements(&p->weight);
        }
    }
}

static int prepare_all(bl_executable *x, bl_op_memory *memory, bool *sure, bl_error *err) {
    for (int i = 0; i < x->graph->op_count; i++) {
        const bl_op *op = &x->graph->ops[i];
        const bl_cpu_op *row = bl_cpu_ops[op->kind];
        int rc = row->prepare ? row->prepare(x, &x->steps[i], op, sure, err) : 0;
        if (rc) {
            return rc;
        }
        if (!row->reads_small) {
            add_widened(x, &x->steps[i], op);
        }
        memory[i] = bl_op_rows[op->kind].memory(x->graph, op);
        memory[i].scratch_bytes = x->steps[i].scratch_bytes;
    }
    return bl_arena_plan_make(&x->plan, x->graph, memory, err);
}

static int make_executable(bl_executable *x, bl_level level, const bl_graph *graph, bool *sure,
                           bl_error *err) {
    int rc = bl_graph_at_level(&x->changed, graph, level, err);
    if (rc) {
        return rc;
    }
    x->graph = x->changed ? x->changed : graph;
    size_t count = (size_t)x->graph->op_count;
    bl_op_memory *memory = calloc(count + 1, sizeof *memory);
    x->steps = calloc(count + 1, sizeof *x->steps);
    x->flops = calloc((size_t)graph->block_count + 1, sizeof *x->flops);
    x->seconds = calloc(count + 1, sizeof *x->seconds);
    x->widened = calloc((size_t)graph->block_count + 1, sizeof *x->widened);
    if (!memory || !x->steps || !x->flops || !x->seconds || !x->widened) {
        free(memory);
        return bl_fail_memory(err, "preparing a graph", count * sizeof *x->steps);
    }
    for (int i = 0; i < graph->op_count; i++) {
        x->flops[graph->ops[i].block] += bl_op_flops(graph, &graph->ops[i]);
    }
    rc = prepare_all(x, memory, sure, err);
    free(memory);
    return rc;
}

/* What would give other bits is left out: first taking the batch apart, then folding. */
static bl_level lesser(bl_level l) {
    return (bl_level){.folds = l.apart ? l.folds : BL_FOLD_NOTHING};
}

int bl_cpu_prepare(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                   const bl_prepare_options *options, bl_error *err) {
    *out = NULL;
    if (graph->weight_count != m->weight_count || graph->block_count != m->block_count ||
        graph->dtype != m->dtype) {
        return bl_fail(err, BL_E_INTERNAL, "the graph is not one of this module");
    }
    static const bl_prepare_options defaults;
    options = options ? options : &defaults;
    int threads = options->tuning.threads ? options->tuning.threads : m->cpu->threads;
    int started = bl_start_threads(threads, err);
    if (started) {
        return started;
    }
    for (bl_level level = bl_levels[options->arena_level];; level = lesser(level)) {
        bool sure = true;
        bl_executable *x = calloc(1, sizeof *x);
        if (!x) {
            return bl_fail_memory(err, "preparing a graph", sizeof *x);
        }
        x->module = m;
        x->threads = threads;
        memcpy(x->winograd, options->tuning.winograd, sizeof x->winograd);
        x->widest = bl_graph_widest(graph);
        x->pinned = options->tuning.pin;
        x->rests = options->tuning.rest;
        int rc = make_executable(x, level, graph, &sure, err);
        if (!rc && sure) {
            *out = x;
            return 0;
        }
        bl_cpu_executable_close(x);
        if (rc) {
            return rc;
        }
    }
}

void bl_cpu_executable_close(bl_executable *x) {
    if (!x) {
        return;
    }
    for (int i = 0; x->steps && i < x->graph->op_count; i++) {
        bl_dnnl_primitive_close(&x->steps[i].product);
        bl_dnnl_primitive_close(&x->steps[i].side);
    }
    bl_graph_free(&x->changed);
    bl_arena_plan_free(&x->plan);
    free(x->widened);
    free(x->seconds);
    free(x->flops);
    free(x->steps);
    free(x);
}

void bl_cpu_executable_info(const bl_executable *x, bl_exec_info *out) {
    bool any = false;
    for (int b = 0; b < x->graph->block_count; b++) {
        any = any || x->widened[b] > 0;
    }
    *out = (bl_exec_info){.arena_bytes = x->plan.bytes,
                          .block_count = x->graph->block_count,
                          .block_flops = x->flops,
                          .block_widened = any ? x->widened : NULL};
}

double bl_cpu_executable_widened(const bl_executable *x) {
    return x->widening;
}

const double *bl_cpu_op_seconds(const bl_executable *x) {
    return x->seconds;
}
