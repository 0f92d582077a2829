#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

/* The stored tensor behind one part of a weight. */
static int find_part(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const bl_weight *w, int part,
                     bl_error *err) {
    if (!w->name[part][0]) { /* zeros */
        *out = (bl_view){.dtype = BL_F32};
        return 0;
    }
    int64_t shape[4];
    for (int i = 0; i < w->rank; i++) {
        shape[i] = w->shape[i];
    }
    shape[0] /= w->parts;
    return bl_checkpoint_require(out, ckpt, module, w->name[part], shape, w->rank, err);
}

int bl_model_weights_open(bl_model_weights *out, const bl_graph *g, const bl_checkpoint *ckpt,
                          bl_error *err) {
    size_t count = (size_t)g->weight_count * BL_WEIGHT_PARTS;
    bl_view *views = calloc(count + 1, sizeof *views);
    int result = views ? 0 : bl_fail_memory(err, "the list of weights", count * sizeof *views);
    *out = (bl_model_weights){0};
    for (int i = 0; i < g->weight_count && !result; i++) {
        const bl_weight *w = &g->weights[i];
        for (int part = 0; part < w->parts && !result; part++) {
            result = find_part(&views[i * BL_WEIGHT_PARTS + part], ckpt, g->module, w, part, err);
        }
    }
    if (result) {
        free(views);
        return result;
    }
    *out = (bl_model_weights){views, g->weight_count};
    return 0;
}

void bl_model_weights_close(bl_model_weights *weights) {
    free(weights->views);
    *weights = (bl_model_weights){0};
}

static const bl_view *view_of(const bl_model_weights *m, const bl_weight *w, int part) {
    return &m->views[w->number * BL_WEIGHT_PARTS + part];
}

static bl_dtype source_dtype(void *payload, const bl_weight *w, int part) {
    return view_of(payload, w, part)->dtype;
}

static uint64_t source_bytes(void *payload, const bl_weight *w, int part) {
    const bl_view *v = view_of(payload, w, part);
    return v->file ? bl_view_stored_bytes(v) : 0;
}

static int source_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                       bl_error *err) {
    const bl_view *v = view_of(payload, w, part);
    if (!v->file) {
        memset(dst, 0,
               (size_t)((end - begin) * (bl_weight_elements(w) / w->shape[0])) * bl_dtype_size(v->dtype));
        return 0;
    }
    return bl_view_read(v, begin, end, dst, err);
}

static bool source_small(void *payload, const bl_weight *w, int part, bl_small *form) {
    const bl_view *v = view_of(payload, w, part);
    return v->file && bl_view_small(form, v);
}

static int source_read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                             void *codes, float *scales, bl_error *err) {
    return bl_view_read_small(view_of(payload, w, part), begin, end, codes, scales, err);
}

bl_source bl_model_source(bl_model_weights *weights) {
    return (bl_source){.payload = weights,
                       .dtype = source_dtype,
                       .bytes = source_bytes,
                       .read = source_read,
                       .small = source_small,
                       .read_small = source_read_small};
}
