/* A block's works as one of CUDA's graphs: launched at once instead of one by one. Where a block lies must
 * not have changed since its last run: so blocks that stay are captured, those that come and go are not.
 * Whether it is faster a card tells: it is done where it was tuned so, or the card's file says so
 * (docs/cuda.md). */
#include "device/cuda/internal.h"

static void forget(bl_cuda_block_graph *g, bl_cuda *c) {
    if (g->exec) {
        c->libs->cu.cuGraphExecDestroy(g->exec);
        g->exec = NULL;
    }
}

void bl_cuda_captured_close(bl_executable *x) {
    for (int i = 0; x->graphs && i < x->graph->block_count; i++) {
        forget(&x->graphs[i], x->module->c);
    }
}

/* Not where what runs depends on numbers of the host, or these are looked at. */
static bool can_be_captured(const bl_graph *g, const bl_block *b) {
    for (int i = b->first_op; i < b->first_op + b->op_count; i++) {
        const bl_op *op = &g->ops[i];
        if (op->kind == BL_OP_EMBED || op->kind == BL_OP_TAKE_ROW ||
            (op->kind == BL_OP_ATTENTION && op->in[3] != BL_NONE)) {
            return false;
        }
    }
    return b->op_count > 0;
}

/* Puts the ops on the stream while it is captured; what was used of the region is theirs. */
static int capture(bl_cuda_block_graph *g, bl_cuda_running r, const bl_block *b, bl_error *err) {
    const bl_cuda_driver *cu = &r.c->libs->cu;
    bl_region *region = r.binding->region;
    bl_region_use before = region->used;
    bl_cu_graph graph = NULL;
    int rc =
        bl_cuda_check(r.c, cu->cuStreamBeginCapture(r.stream, BL_CU_CAPTURE_THREAD_LOCAL), "a graph", err);
    if (rc) {
        return rc;
    }
    region->used = (bl_region_use){0};
    for (int i = b->first_op; i < b->first_op + b->op_count && !rc; i++) {
        rc = bl_cuda_run_op(&r, i, err);
    }
    int ended = bl_cuda_check(r.c, cu->cuStreamEndCapture(r.stream, &graph), "a graph", rc ? NULL : err);
    rc = rc ? rc : ended;
    g->use = region->used;
    region->used = before;
    if (!rc) {
        rc = bl_cuda_check(r.c, cu->cuGraphInstantiateWithFlags(&g->exec, graph, 0), "a graph", err);
        g->exec = rc ? NULL : g->exec;
    }
    if (graph) {
        cu->cuGraphDestroy(graph);
    }
    return rc;
}

static int launch(const bl_cuda_block_graph *g, bl_cuda_running *r, const bl_block *b, bl_error *err) {
    bl_region *region = r->binding->region;
    int rc = 0;
    for (int i = b->first_op; i < b->first_op + b->op_count && !rc; i++) {
        r->op = &r->x->graph->ops[i];
        r->step = &r->x->steps[i];
        rc = bl_cuda_ports_take(r, err);
    }
    rc = rc ? rc : bl_cuda_check(r->c, r->c->libs->cu.cuGraphLaunch(g->exec, r->stream), "a graph", err);
    for (int i = b->first_op; i < b->first_op + b->op_count && !rc; i++) {
        r->op = &r->x->graph->ops[i];
        r->step = &r->x->steps[i];
        rc = bl_cuda_ports_given(r, err);
    }
    bl_cuda_widened_again(r->x, b);
    bl_cuda_reach(&region->used.arena, g->use.arena);
    bl_cuda_reach(&region->used.end, g->use.end);
    return rc ? rc : bl_cuda_note_op(r->c, r->stream, "an op", b->name, err);
}

int bl_cuda_run_captured(bool *done, const bl_cuda_running *block, int number, bl_error *err) {
    bl_cuda_running r = *block;
    bl_cuda_block_graph *g = &r.x->graphs[number];
    const bl_binding *at = r.binding;
    const bl_block *b = &r.x->graph->blocks[number];
    bl_error why = {0};
    *done = false;
    bool wanted = r.x->tuned_graphs ? r.x->tuned_graphs == 2 : r.c->card.graphs;
    if (!wanted || g->refused || !can_be_captured(r.x->graph, b)) {
        return 0;
    }
    if (g->base != at->region->base || g->arena_offset != at->arena_offset ||
        g->block_offset != at->block_offset[number] || g->wide != r.x->module->wide[number]) {
        forget(g, r.c);
        g->base = at->region->base;
        g->arena_offset = at->arena_offset;
        g->block_offset = at->block_offset[number];
        g->wide = r.x->module->wide[number];
        return 0;
    }
    r.captured = true;
    if (!g->exec && capture(g, r, b, &why)) {
        g->refused = true;
        bl_log_line(r.c->head.log, BL_LOG_DEBUG, "%s: block %s is no graph of CUDA's", why.message, b->name);
        return 0;
    }
    *done = true;
    return launch(g, &r, b, err);
}
