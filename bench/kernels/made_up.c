#include "kernels/made_up.h"

#include "model/autoencoder_kl.h"
#include "model/published.h"
#include "model/unet.h"

#include <math.h>
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

int made_up_graph(bl_graph **g, const char *what, bl_dtype dtype, int size, int batch, bl_error *err) {
    if (!strcmp(what, "vae")) {
        return bl_vae_decoder_graph(g, &published_vae, (bl_vae_shape){batch, size / 8, size / 8}, dtype, NULL,
                                    err);
    }
    const bl_unet_architecture *a = strcmp(what, "sdxl") ? &published_sd15_unet : &published_sdxl_unet;
    return bl_unet_graph(g, a,
                         (bl_unet_shape){.batch = batch, .height = size / 8, .width = size / 8, .tokens = 77},
                         dtype, NULL, err);
}

float made_up_value(int64_t i) {
    return bl_bf16_to_f32(table[i % MADE_UP]);
}
