#include "device/cuda/internal.h"

#define OPS(OP)                   \
    OP(IMPORT, import_op)         \
    OP(EXPORT, export_op)         \
    OP(SINUSOID, sinusoid_op)     \
    OP(EMBED, embed_op)           \
    OP(TAKE_ROW, take_row_op)     \
    OP(CONV, conv_op)             \
    OP(LINEAR, linear_op)         \
    OP(GROUP_NORM, group_norm_op) \
    OP(LAYER_NORM, row_norm_op)   \
    OP(RMS_NORM, row_norm_op)     \
    OP(ATTENTION, attention_op)   \
    OP(ACT, act_op)               \
    OP(ADD, add_op)               \
    OP(CONCAT, concat_op)         \
    OP(UPSAMPLE, upsample_op)     \
    OP(ROPE, rope_op)             \
    OP(MODULATE, modulate_op)     \
    OP(GATED_ADD, gated_add_op)   \
    OP(GLU, glu_op)               \
    OP(JOIN, join_op)             \
    OP(SLICE, slice_op)           \
    OP(CHANNELS, channels_op)     \
    OP(PATCHIFY, patchify_op)     \
    OP(UNPATCHIFY, patchify_op)

/* What is not in it is refused when a graph is prepared. */
#define OP(KIND, op) extern const bl_cuda_op bl_cuda_##op;
OPS(OP)
#undef OP
#define OP(KIND, op) [BL_OP_##KIND] = &bl_cuda_##op,
const bl_cuda_op *const bl_cuda_ops[BL_OP_KIND_COUNT] = {OPS(OP)};
#undef OP

const bl_tensor *bl_cuda_tensor(const bl_cuda_running *r, bl_tensor_id id) {
    return id == BL_NONE ? NULL : &r->x->graph->tensors[id];
}

/* Bytes of the arena that are used from now on. */
static bl_cu_pointer use_arena(const bl_cuda_running *r, uint64_t offset, uint64_t bytes) {
    bl_region *region = r->binding->region;
    bl_cuda_reach(&region->used.arena, offset + bytes);
    bl_cuda_reach(&region->used.end, r->binding->arena_offset + offset + bytes);
    return region->base + r->binding->arena_offset + offset;
}

bl_cu_pointer bl_cuda_data(const bl_cuda_running *r, bl_tensor_id id) {
    const bl_tensor *t = bl_cuda_tensor(r, id);
    if (r->only) {
        return t ? r->only : 0;
    }
    return t && t->place == BL_ARENA ? use_arena(r, r->x->plan.tensor_offset[id], bl_tensor_bytes(t)) : 0;
}

bl_cu_pointer bl_cuda_table(const bl_cuda_running *r, bl_tensor_id id) {
    const bl_tensor *t = bl_cuda_tensor(r, id);
    return r->only ? r->only : use_arena(r, r->x->table_at[t->port], bl_tensor_bytes(t));
}

bl_cu_pointer bl_cuda_stored(const bl_cuda_running *r, bl_weight_id id) {
    if (id == BL_NONE || r->only) {
        return id == BL_NONE ? 0 : r->only;
    }
    const bl_device_module *m = r->x->module;
    const bl_cuda_weight *p = &m->weights[id];
    bl_region *region = r->binding->region;
    uint64_t offset = r->binding->block_offset[p->weight.block] + bl_cuda_offset(m, p);
    bl_cuda_reach(
        &region->used.end,
        offset + (bl_cuda_is_small(m, p) ? p->small.bytes : p->row_bytes * (uint64_t)p->weight.shape[0]));
    return region->base + offset;
}

bl_cu_pointer bl_cuda_weight_data(const bl_cuda_running *r, bl_weight_id id) {
    const bool small =
        id != BL_NONE && !r->only && bl_cuda_is_small(r->x->module, &r->x->module->weights[id]);
    return small ? r->scratch + r->step->widened : bl_cuda_stored(r, id);
}

int bl_cuda_run_op(bl_cuda_running *r, int op, bl_error *err) {
    bl_executable *x = r->x;
    const bl_block *block = &x->graph->blocks[x->graph->ops[op].block];
    r->op = &x->graph->ops[op];
    r->step = &x->steps[op];
    r->scratch = r->only ? r->only
                 : x->plan.scratch_offset[op] == UINT64_MAX
                     ? 0
                     : use_arena(r, x->plan.scratch_offset[op], r->step->scratch_bytes);
    bool alone = !r->only && !r->captured;
    int rc = alone ? bl_cuda_ports_take(r, err) : 0;
    rc = rc ? rc : bl_cuda_widen(r, err);
    rc = rc ? rc : bl_cuda_ops[r->op->kind]->run(r, err);
    rc = rc || !alone ? rc : bl_cuda_ports_given(r, err);
    return rc || r->captured ? rc
                             : bl_cuda_note_op(r->c, r->stream, bl_op_name(r->op->kind), block->name, err);
}

int bl_cuda_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    bl_cuda *c = x->module->c;
    const bl_block *range = &x->graph->blocks[block];
    bl_cuda_running r = {
        .c = c, .x = x, .binding = b, .stream = c->stream[stream], .element = bl_dtype_size(x->graph->dtype)};
    bool done = false;
    int rc = bl_cuda_enter(c, err);
    rc = rc ? rc : bl_cuda_check_dnn(c, c->libs->dnn.cudnnSetStream(c->dnn, r.stream), "a stream", err);
    bl_cuda_work(c, stream);
    rc = rc ? rc : bl_cuda_run_captured(&done, &r, block, err);
    for (int i = range->first_op; i < range->first_op + range->op_count && !rc && !done; i++) {
        rc = bl_cuda_run_op(&r, i, err);
    }
    return rc;
}
