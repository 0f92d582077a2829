#include "kernels/made_up.h"

#include "model/autoencoder_kl.h"
#include "model/flux2.h"
#include "model/published.h"
#include "model/qwen3.h"
#include "model/unet.h"
#include "model/zimage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint16_t table[MADE_UP]; /* bf16 of -1 .. 1 */

void made_up_begin(void) {
    for (int i = 0; i < MADE_UP; i++) {
        table[i] = bl_f32_to_bf16((float)(((unsigned)i * 2654435761u >> 8) % 20011) / 10005.5f - 1.0f);
    }
}

bl_dtype made_up_dtype(void *payload, const bl_weight *w, int part) {
    (void)payload;
    (void)w;
    (void)part;
    return BL_BF16;
}

/* Each row begins elsewhere in the table: the same values, however many rows are read at once. */
int made_up_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                 bl_error *err) {
    (void)payload;
    (void)part;
    (void)err;
    int64_t row = bl_weight_elements(w) / w->shape[0];
    float scale = w->kind == BL_W_VECTOR ? 0.5f : 1.7f / sqrtf((float)row);
    uint16_t *y = dst, scaled[MADE_UP / 16];
    for (int i = 0; i < MADE_UP / 16; i++) {
        scaled[i] = bl_f32_to_bf16(bl_bf16_to_f32(table[i]) * scale);
    }
    for (int64_t r = begin; r < end; r++) {
        int64_t at = r * 7919 % (MADE_UP / 16);
        for (int64_t left = row, n; left > 0; left -= n, y += n, at = 0) {
            n = MADE_UP / 16 - at < left ? MADE_UP / 16 - at : left;
            memcpy(y, scaled + at, (size_t)n * 2);
        }
    }
    return 0;
}

bool made_up_small(void *payload, const bl_weight *w, int part, bl_small *form) {
    const bl_storage *stored = payload;
    (void)part;
    *form = (bl_small){.storage = *stored, .scaled = bl_storage_of(*stored)->values == 1};
    return bl_weight_elements(w) / w->shape[0] % bl_storage_of(*stored)->values == 0;
}

bl_storage made_up_storage(const char *name) {
    for (int s = BL_STORED_PLAIN + 1; s < BL_STORAGE_COUNT; s++) {
        if (!strcmp(name, bl_storage_of((bl_storage)s)->name)) {
            return (bl_storage)s;
        }
    }
    return BL_STORED_PLAIN;
}

/* Any bytes below 32 are codes and, as f16, scales of less than 0.01. */
int made_up_read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *codes,
                       float *scales, bl_error *err) {
    const bl_small form = {.storage = *(const bl_storage *)payload};
    const uint64_t bytes =
        (uint64_t)(end - begin) * bl_small_row_bytes(&form, bl_weight_elements(w) / w->shape[0]);
    unsigned char *y = codes;
    (void)part, (void)err;
    for (uint64_t i = 0; i < bytes; i++) {
        y[i] = table[(i * 7 + (uint64_t)begin) % MADE_UP] & 31;
    }
    for (int64_t r = begin; r < end && bl_storage_of(form.storage)->values == 1; r++) {
        scales[r - begin] = 0.01f;
    }
    return 0;
}

/* As the configurations that are published with Z-Image-Turbo and FLUX.2-klein-4B have them. */
#define CAPTION 64    /* tokens; a prompt of two sentences, with its frame */
#define FILLED_UP 512 /* FLUX.2 klein's, always */

static const bl_zimage zimage = {.channels = 16,
                                 .width = 3840,
                                 .heads = 30,
                                 .hidden = 10240,
                                 .layers = 30,
                                 .refiners = 2,
                                 .caption = 2560,
                                 .time_hidden = 1024,
                                 .time = 256,
                                 .axis = {32, 48, 48},
                                 .eps = 1e-5f,
                                 .theta = 256.0};

static const bl_flux2 klein = {.channels = 128,
                               .heads = 24,
                               .head_dim = 128,
                               .hidden = 9216,
                               .doubles = 5,
                               .singles = 20,
                               .context = 7680,
                               .time = 256,
                               .axis = {32, 32, 32, 32},
                               .eps = 1e-6f,
                               .theta = 2000.0};

static const bl_qwen3 qwen3 = {.width = 2560,
                               .hidden = 9728,
                               .layers = 36,
                               .heads = 32,
                               .kv_heads = 8,
                               .head_dim = 128,
                               .eps = 1e-6f,
                               .theta = 1e6};

/* For those who try what is done with the others. */
static const bl_unet_architecture tiny = {.in_channels = 4,
                                          .out_channels = 4,
                                          .levels = 2,
                                          .channels = {32, 64},
                                          .resnets = {1, 1},
                                          .down_depth = {{1}},
                                          .mid_resnets = 2,
                                          .mid_depth = 1,
                                          .up_depth = {{0}, {1, 1}},
                                          .heads = {4, 8},
                                          .context_dim = 32,
                                          .time_dim = 128,
                                          .groups = 8,
                                          .norm_eps = 1e-5f};

int made_up_graph(bl_graph **g, const char *what, bl_dtype dtype, int size, int batch, bl_error *err) {
    if (!strcmp(what, "vae")) {
        return bl_vae_decoder_graph(g, &published_vae, (bl_vae_shape){batch, size / 8, size / 8}, dtype, NULL,
                                    err);
    }
    if (!strcmp(what, "zimage")) {
        return bl_zimage_graph(g, &zimage, &(bl_zimage_shape){batch, size / 8, size / 8, CAPTION, false},
                               dtype, NULL, err);
    }
    if (!strcmp(what, "klein")) {
        return bl_flux2_graph(g, &klein,
                              &(bl_flux2_shape){batch, size / 16, size / 16, FILLED_UP, BL_UNET_WHOLE, 0},
                              dtype, NULL, err);
    }
    if (!strcmp(what, "qwen3")) {
        return bl_qwen3_graph(g, &qwen3, batch, CAPTION, 0,
                              (bl_qwen3_outputs){.taken = {qwen3.layers - 1}, .count = 1}, dtype, NULL, err);
    }
    const bl_unet_architecture *a = !strcmp(what, "sdxl")   ? &published_sdxl_unet
                                    : !strcmp(what, "tiny") ? &tiny
                                                            : &published_sd15_unet;
    return bl_unet_graph(g, a,
                         (bl_unet_shape){.batch = batch, .height = size / 8, .width = size / 8, .tokens = 77},
                         dtype, NULL, err);
}

float made_up_value(int64_t i) {
    return bl_bf16_to_f32(table[i % MADE_UP]);
}

/* Rows that a count is of: those of the rotary embedding beside it. */
static int32_t counted_rows(const bl_graph *g) {
    int32_t rows = 1;
    for (int i = 0; i < g->input_count; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_INPUT, i);
        rows = !strcmp(t->name, "rope") ? t->h : rows;
    }
    return rows;
}

void *made_up_input(const bl_graph *g, int i) {
    const bl_tensor *t = bl_graph_port(g, BL_INPUT, i);
    const int64_t n = bl_tensor_elements(t);
    const bool counts = !strcmp(t->name, "counts"), ids = !strcmp(t->name, "ids");
    void *made = calloc((size_t)n + 1, sizeof(float));
    for (int64_t k = 0; made && k < n; k++) {
        if (t->dtype == BL_F32) {
            ((float *)made)[k] = made_up_value(k * 7 + i);
        } else {
            ((int32_t *)made)[k] = counts ? counted_rows(g) : ids ? (int32_t)(k * 7919 % 40000) : 0;
        }
    }
    return made;
}
