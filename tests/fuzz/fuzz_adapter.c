/* Any bytes as an adapter's file: opening it, telling of it, and merging all that it changes end in success
 * or an error. The model is the tiny SD 1.x of the tests, with ones for weights. */
#include "fuzz.h"

#include "adapter/inspect.h"
#include "adapter/merge.h"
#include "model/unet.h"

static const bl_architecture tiny = {
    .family = &bl_sd1,
    .unet = {.in_channels = 4,
             .out_channels = 4,
             .levels = 4,
             .channels = {64, 96, 64, 64},
             .resnets = {2, 2, 2, 2},
             .down_depth = {{1, 1}, {1, 1}, {1, 1}, {0, 0}},
             .mid_resnets = 2,
             .mid_depth = 1,
             .up_depth = {{0, 0, 0}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
             .heads = {8, 8, 8, 8},
             .context_dim = 32,
             .time_dim = 256,
             .groups = 32,
             .norm_eps = 1e-5f},
};

static bl_dtype ones_type(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return BL_F32;
}

static int ones(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                bl_error *err) {
    int64_t n = (end - begin) * (bl_weight_elements(w) / w->shape[0]);
    (void)payload, (void)part, (void)err;
    for (int64_t i = 0; i < n; i++) {
        ((float *)dst)[i] = 1;
    }
    return 0;
}

/* Every weight, in two pieces. */
static void read_all(const bl_graph *g, bl_merge *m) {
    bl_source s = bl_merge_source(m);
    for (int i = 0; i < g->weight_count; i++) {
        const bl_weight *w = &g->weights[i];
        for (int part = 0; part < w->parts; part++) {
            int64_t rows = w->shape[0] / w->parts, columns = bl_weight_elements(w) / w->shape[0];
            float *out = malloc((size_t)(rows * columns) * sizeof *out);
            MUST(out && s.dtype(s.payload, w, part) == BL_F32);
            s.read(s.payload, w, part, 0, rows / 2, out, NULL);
            s.read(s.payload, w, part, rows / 2, rows, out + rows / 2 * columns, NULL);
            free(out);
        }
    }
}

static void merge(bl_adapter *a) {
    bl_graph *g = NULL;
    bl_merge *m = NULL;
    bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 77};
    bl_source base = {.dtype = ones_type, .read = ones};
    bl_wanted wanted[2] = {{a, 1, 0.5}, {a, 1, -2}};
    MUST(!bl_unet_graph(&g, &tiny.unet, shape, BL_F32, NULL, NULL));
    MUST(!bl_merge_new(&m, g, &base, NULL) && !bl_merge_set(m, &(bl_changes){wanted, 2, NULL}, NULL));
    read_all(g, m);
    bl_merge_free(&m);
    bl_graph_free(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bl_layers *layers;
    bl_error err = {.code = 0};
    MUST(layers || !bl_layers_new(&layers, &tiny, &err));
    char path[64];
    int fd = file_of(path, data, size);
    json_t *told = NULL;
    bl_adapter *a = NULL;
    if (!bl_adapter_inspect(&told, path, NULL)) {
        json_decref(told);
    }
    if (!bl_adapter_open(&a, path, layers, &err)) {
        merge(a);
        bl_adapter_drop(&a);
    } else {
        MUST(err.message[0] && !a);
    }
    close(fd);
    return 0;
}
