#include "device/cpu/internal.h"

#include "core/ask.h"
#include "core/clock.h"

#define RUN_BYTES (1u << 20)

#define ROW(KIND, name, shape, flops, memory) [BL_OP_##KIND] = &bl_cpu_##name,
const bl_cpu_op *const bl_cpu_ops[BL_OP_KIND_COUNT] = {BL_OP_LIST(ROW)};
#undef ROW

const bl_tensor *bl_running_tensor(const bl_running *r, bl_tensor_id id) {
    return id == BL_NONE ? NULL : &r->x->graph->tensors[id];
}

static void reach(uint64_t *end, uint64_t other) {
    *end = other > *end ? other : *end;
}

/* Bytes of the arena that are used from now on. */
static unsigned char *use_arena(const bl_running *r, uint64_t offset, uint64_t bytes) {
    bl_region *region = r->binding->region;
    reach(&region->used.arena, offset + bytes);
    reach(&region->used.end, r->binding->arena_offset + offset + bytes);
    return region->base + r->binding->arena_offset + offset;
}

void *bl_running_data(const bl_running *r, bl_tensor_id id) {
    const bl_tensor *t = bl_running_tensor(r, id);
    if (!t) {
        return NULL;
    }
    if (t->place == BL_ARENA) {
        return use_arena(r, r->x->plan.tensor_offset[id], bl_tensor_bytes(t));
    }
    union {
        const void *in;
        void *out;
    } u;
    if (t->place == BL_OUTPUT) {
        u.out = r->binding->outputs[t->port];
    } else {
        u.in = r->binding->inputs[t->port]; /* inputs are only read */
    }
    return (unsigned char *)u.out + bl_tensor_bytes(t) / (uint64_t)t->n * (uint64_t)t->item;
}

const bl_packed *bl_running_packed(const bl_running *r, bl_weight_id id) {
    return id == BL_NONE ? NULL : &r->x->module->weights[id];
}

const void *bl_running_stored(const bl_running *r, bl_weight_id id) {
    const bl_packed *p = bl_running_packed(r, id);
    if (!p) {
        return NULL;
    }
    const bl_device_module *m = r->x->module;
    bl_region *region = r->binding->region;
    uint64_t offset = r->binding->block_offset[p->weight.block] + bl_cpu_offset(m, p);
    reach(&region->used.end,
          offset + (bl_cpu_is_small(m, p) ? p->small.bytes : p->half_bytes * (uint64_t)p->halves));
    return region->base + offset;
}

const void *bl_running_weight(const bl_running *r, bl_weight_id id) {
    const bl_packed *p = bl_running_packed(r, id);
    return p && bl_cpu_is_small(r->x->module, p) ? r->scratch + r->step->widened[id == r->op->weight3]
                                                 : bl_running_stored(r, id);
}

/* Small weights of an op, to where its kernels will look for them. */
static int widen(const bl_running *r, bl_error *err) {
    const bl_weight_id ids[2] = {r->op->weight, r->op->weight3};
    int rc = 0;
    for (int k = 0; k < 2 && !rc; k++) {
        const bl_packed *p = bl_running_packed(r, ids[k]);
        if (p && bl_cpu_is_small(r->x->module, p)) {
            double start = bl_now();
            rc = bl_cpu_widen(r->scratch + r->step->widened[k], r->x->module, p, bl_running_stored(r, ids[k]),
                              err);
            r->x->widening += bl_now() - start;
        }
    }
    return rc;
}

int bl_cpu_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    (void)stream;
    const bl_cpu *cpu = x->module->cpu;
    const bl_block *range = &x->graph->blocks[block];
    bl_set_threads(x->threads);
    bl_pin_threads(x->pinned);
    bl_rest_threads(x->rests);
    int rc = bl_ask_memory(RUN_BYTES, "oneDNN", err); /* for the little that it takes to run something */
    if (rc) {
        return rc;
    }
    bl_running r = {
        .x = x, .cpu = cpu, .binding = b, .k = bl_cpu_typed(x), .element = bl_dtype_size(x->graph->dtype)};
    for (int i = range->first_op; i < range->first_op + range->op_count; i++) {
        r.op = &x->graph->ops[i];
        r.step = &x->steps[i];
        r.inplace = x->plan.inplace[i];
        r.scratch = x->plan.scratch_offset[i] == UINT64_MAX
                        ? NULL
                        : use_arena(&r, x->plan.scratch_offset[i], r.step->scratch_bytes);
        double start = bl_now();
        const bl_cpu_op *row = bl_cpu_ops[r.op->kind];
        rc = row->reads_small ? 0 : widen(&r, err);
        rc = rc ? rc : row->run(&r, err);
        if (rc) {
            return rc;
        }
        x->seconds[i] += bl_now() - start;
    }
    return 0;
}
