/* Weights that lie small in their block: before the op that multiplies with one it is made wide in the op's
 * scratch, by a kernel on the same stream. How long that takes is measured by a pair of events an op. */
#include "device/cuda/internal.h"

#include "core/checked.h"

#include <stdlib.h>

_Static_assert((int)BL_SMALL_Q4_0 == (int)BL_STORED_Q4_0 && (int)BL_SMALL_Q8_0 == (int)BL_STORED_Q8_0 &&
                   (int)BL_SMALL_Q6_K == (int)BL_STORED_Q6_K &&
                   (int)BL_SMALL_E4M3 == (int)BL_STORED_F8_E4M3 && (int)BL_SMALL_I8 == (int)BL_STORED_I8 &&
                   (int)BL_SMALL_I8 + 1 == (int)BL_STORAGE_COUNT,
               "the kernels' forms are those of core/storage.h");

bool bl_cuda_is_small(const bl_device_module *m, const bl_cuda_weight *p) {
    return p->stays_small && !m->wide[p->weight.block];
}

uint64_t bl_cuda_offset(const bl_device_module *m, const bl_cuda_weight *p) {
    return p->offset[m->wide[p->weight.block]];
}

uint64_t bl_cuda_wide_bytes(const bl_cuda_weight *p) {
    return bl_align_up(p->row_bytes * (uint64_t)p->weight.shape[0], BL_ALIGN);
}

const bl_cuda_weight *bl_cuda_small_weight(const bl_executable *x, const bl_op *op) {
    const bl_cuda_weight *p = op->weight == BL_NONE ? NULL : &x->module->weights[op->weight];
    return p && p->stays_small && p->weight.kind != BL_W_EMBEDDING ? p : NULL;
}

/* ---- the kernels */

static int root_of(int group) {
    int root = 1;
    for (; group > 1; group /= 4) {
        root *= 2;
    }
    return root;
}

/* One part of a weight whose small form begins at `small`; `y`: of its first row. */
static int widen_part(const bl_cuda_running *r, const bl_cuda_weight *p, int part, bl_cu_pointer small,
                      bl_cu_pointer y, bl_cu_pointer ids, int64_t count, bl_error *err) {
    const bl_small *form = &p->small.form[part];
    const int64_t rows = p->weight.shape[0] / p->weight.parts;
    const int columns = (int)(bl_weight_elements(&p->weight) / p->weight.shape[0]);
    const int positions = p->weight.kind == BL_W_CONV ? (int)(p->weight.shape[2] * p->weight.shape[3]) : 1;
    const bl_cu_pointer codes = small + p->small.codes[part],
                        scales = form->scaled ? small + p->small.scales[part] : 0;
    if (form->scaled && form->rotation) {
        struct widen_rotated_args a = {.codes = codes,
                                       .scales = scales,
                                       .ids = ids,
                                       .y = y,
                                       .rows = rows,
                                       .first = part * rows,
                                       .columns = columns,
                                       .positions = positions,
                                       .group = form->rotation,
                                       .shrink = 1.0f / (float)root_of(form->rotation)};
        return bl_cuda_launch_blocks(r, BL_KERNEL_widen_rotated, &a, count, err);
    }
    struct widen_args a = {.codes = codes,
                           .scales = scales,
                           .ids = ids,
                           .y = y,
                           .rows = rows,
                           .first = part * rows,
                           .row_bytes = (int64_t)bl_small_row_bytes(form, columns),
                           .columns = columns,
                           .positions = positions,
                           .form = (int)form->storage};
    return bl_cuda_launch_blocks(r, BL_KERNEL_widen, &a, count, err);
}

int bl_cuda_widen_rows(const bl_cuda_running *r, bl_weight_id id, bl_cu_pointer to, bl_cu_pointer ids,
                       int64_t count, bl_error *err) {
    const bl_cuda_weight *p = &r->x->module->weights[id];
    const int64_t rows = p->weight.shape[0] / p->weight.parts;
    const bl_cu_pointer small = bl_cuda_stored(r, id);
    int rc = 0;
    for (int i = 0; i < p->weight.parts && !rc; i++) {
        const int64_t left = ids ? count : count - i * rows;
        const bl_cu_pointer y = to + (ids ? 0 : (uint64_t)(i * rows) * p->row_bytes);
        if (left > 0) {
            rc = widen_part(r, p, i, small, y, ids, ids || left < rows ? left : rows, err);
        }
    }
    return rc;
}

/* ---- before an op */

static double measured(const bl_cuda *c, bl_cuda_widening *w) {
    float ms = 0.0f;
    bool took = w->pending && !c->libs->cu.cuEventElapsedTime(&ms, w->begin, w->end);
    w->pending = false;
    w->seconds = took ? (double)ms * 1e-3 : w->seconds;
    return took ? w->seconds : 0.0;
}

int bl_cuda_widen(const bl_cuda_running *r, bl_error *err) {
    const bl_cuda_weight *p = bl_cuda_small_weight(r->x, r->op);
    if (!p || (!r->only && !bl_cuda_is_small(r->x->module, p))) {
        return 0;
    }
    bl_cuda_widening *w = &r->x->widening[r->op - r->x->graph->ops];
    const bool times = !r->only && !r->captured;
    int rc = 0;
    if (times) {
        r->x->widen_seconds += measured(r->c, w);
        rc = bl_cuda_check(r->c, r->c->libs->cu.cuEventRecord(w->begin, r->stream), "an event", err);
    }
    rc = rc ? rc
            : bl_cuda_widen_rows(r, r->op->weight, r->scratch + r->step->widened, 0, p->weight.shape[0], err);
    if (times && !rc) {
        rc = bl_cuda_check(r->c, r->c->libs->cu.cuEventRecord(w->end, r->stream), "an event", err);
        w->pending = !rc;
    }
    return rc;
}

void bl_cuda_widened_again(bl_executable *x, const bl_block *block) {
    for (int i = block->first_op; i < block->first_op + block->op_count; i++) {
        const bl_cuda_weight *p = bl_cuda_small_weight(x, &x->graph->ops[i]);
        if (p && bl_cuda_is_small(x->module, p)) {
            x->widen_seconds += measured(x->module->c, &x->widening[i]) + x->widening[i].seconds;
        }
    }
}

double bl_cuda_executable_widened(const bl_executable *x) {
    const bl_cuda *c = x->module->c;
    double seconds = x->widen_seconds;
    c->libs->cu.cuCtxSetCurrent(c->context);
    for (int i = 0; x->widening && i < x->graph->op_count; i++) {
        bl_cuda_widening w = x->widening[i]; /* a copy: what is pending stays so */
        seconds += w.pending ? measured(c, &w) : 0;
    }
    return seconds;
}

/* ---- for prepare.c */

void bl_cuda_add_widened(bl_executable *x, bl_cuda_step *s, const bl_op *op) {
    const bl_cuda_weight *p = bl_cuda_small_weight(x, op);
    if (p) {
        const double rate = x->module->c->card.memory_rate;
        s->widened = bl_align_up(s->scratch_bytes, BL_ALIGN);
        s->scratch_bytes = s->widened + bl_cuda_wide_bytes(p);
        x->widened[op->block] += (double)bl_weight_elements(&p->weight);
        x->widen[op->block] += (double)(bl_cuda_wide_bytes(p) + p->small.bytes) / rate;
    }
}

int bl_cuda_widening_open(bl_executable *x, bl_error *err) {
    bl_cuda *c = x->module->c;
    int rc = 0;
    x->widening = calloc((size_t)x->graph->op_count + 1, sizeof *x->widening);
    if (!x->widening) {
        return bl_fail_memory(err, "preparing a graph", (uint64_t)x->graph->op_count * sizeof *x->widening);
    }
    for (int i = 0; i < x->graph->op_count && !rc; i++) {
        bl_cu_event *events[] = {&x->widening[i].begin, &x->widening[i].end};
        for (int k = 0; bl_cuda_small_weight(x, &x->graph->ops[i]) && k < 2 && !rc; k++) {
            rc = bl_cuda_check(c, c->libs->cu.cuEventCreate(events[k], 0), "an event", err);
            *events[k] = rc ? NULL : *events[k];
        }
    }
    return rc;
}

void bl_cuda_widening_close(bl_executable *x) {
    for (int i = 0; x->widening && i < x->graph->op_count; i++) {
        bl_cu_event events[] = {x->widening[i].begin, x->widening[i].end};
        for (int k = 0; k < 2; k++) {
            if (events[k]) {
                x->module->c->libs->cu.cuEventDestroy(events[k]);
            }
        }
    }
    free(x->widening);
}
