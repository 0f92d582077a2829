#include "model/weights.h"

/* The stored tensor behind one part of a weight. */
static int find_part(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const bl_weight *w, int part,
                     bl_error *err) {
    int64_t shape[4];
    for (int i = 0; i < w->rank; i++) {
        shape[i] = w->shape[i];
    }
    shape[0] /= w->parts;
    return bl_checkpoint_require(out, ckpt, module, w->name[part], shape, w->rank, err);
}

int bl_model_check(const bl_graph *g, const bl_checkpoint *ckpt, bl_error *err) {
    for (int i = 0; i < g->weight_count; i++) {
        const bl_weight *w = &g->weights[i];
        for (int part = 0; part < w->parts; part++) {
            bl_view view;
            int rc = find_part(&view, ckpt, g->module, w, part, err);
            if (rc) {
                return rc;
            }
        }
    }
    return 0;
}

static bl_dtype source_dtype(void *payload, const bl_weight *w, int part) {
    const bl_model_weights *m = payload;
    bl_view view;
    return find_part(&view, m->ckpt, m->module, w, part, NULL) ? BL_DTYPE_COUNT : view.dtype;
}

static int source_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                       bl_error *err) {
    const bl_model_weights *m = payload;
    bl_view view;
    int rc = find_part(&view, m->ckpt, m->module, w, part, err);
    return rc ? rc : bl_view_read(&view, begin, end, dst, err);
}

bl_source bl_model_source(bl_model_weights *weights) {
    return (bl_source){.payload = weights, .dtype = source_dtype, .read = source_read};
}
