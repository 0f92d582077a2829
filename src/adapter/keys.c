#include "adapter/keys.h"

#include <string.h>

static const struct {
    const char *end;
    bl_part part;
} ends[] = {{".lora_down.weight", BL_PART_DOWN},
            {".lora_up.weight", BL_PART_UP},
            {".lora_mid.weight", BL_PART_MID},
            {".lora_A.weight", BL_PART_DOWN},
            {".lora_B.weight", BL_PART_UP},
            {".lora_A.default.weight", BL_PART_DOWN},
            {".lora_B.default.weight", BL_PART_UP},
            {".lora.down.weight", BL_PART_DOWN},
            {".lora.up.weight", BL_PART_UP},
            {"_lora.down.weight", BL_PART_DOWN},
            {"_lora.up.weight", BL_PART_UP},
            {".lora_linear_layer.down.weight", BL_PART_DOWN},
            {".lora_linear_layer.up.weight", BL_PART_UP},
            {".alpha", BL_PART_ALPHA},
            {".dora_scale", BL_PART_DORA},
            {".lora_magnitude_vector", BL_PART_MAGNITUDE},
            {".lora_magnitude_vector.weight", BL_PART_MAGNITUDE},
            {".lora_magnitude_vector.default.weight", BL_PART_MAGNITUDE},
            {".hada_w1_a", BL_PART_W1A},
            {".hada_w1_b", BL_PART_W1B},
            {".hada_w2_a", BL_PART_W2A},
            {".hada_w2_b", BL_PART_W2B},
            {".hada_t1", BL_PART_T1},
            {".hada_t2", BL_PART_T2},
            {".lokr_w1", BL_PART_K1},
            {".lokr_w1_a", BL_PART_K1A},
            {".lokr_w1_b", BL_PART_K1B},
            {".lokr_w2", BL_PART_K2},
            {".lokr_w2_a", BL_PART_K2A},
            {".lokr_w2_b", BL_PART_K2B},
            {".lokr_t2", BL_PART_KT2},
            {".diff", BL_PART_DIFF},
            {".diff_b", BL_PART_DIFF_B},
            {".w_norm", BL_PART_DIFF},
            {".b_norm", BL_PART_DIFF_B}};

bl_part bl_key_part(const char *key, size_t *length) {
    size_t n = strlen(key);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i].end);
        if (n > m && !strcmp(key + n - m, ends[i].end)) {
            *length = n - m;
            return ends[i].part;
        }
    }
    *length = n;
    return BL_PART_COUNT;
}

const char *bl_part_name(bl_part part) {
    static const char *const names[BL_PART_COUNT] = {
        [BL_PART_DOWN] = "lora_down",  [BL_PART_UP] = "lora_up",
        [BL_PART_MID] = "lora_mid",    [BL_PART_ALPHA] = "alpha",
        [BL_PART_DORA] = "dora_scale", [BL_PART_MAGNITUDE] = "lora_magnitude_vector",
        [BL_PART_W1A] = "hada_w1_a",   [BL_PART_W1B] = "hada_w1_b",
        [BL_PART_W2A] = "hada_w2_a",   [BL_PART_W2B] = "hada_w2_b",
        [BL_PART_T1] = "hada_t1",      [BL_PART_T2] = "hada_t2",
        [BL_PART_K1] = "lokr_w1",      [BL_PART_K1A] = "lokr_w1_a",
        [BL_PART_K1B] = "lokr_w1_b",   [BL_PART_K2] = "lokr_w2",
        [BL_PART_K2A] = "lokr_w2_a",   [BL_PART_K2B] = "lokr_w2_b",
        [BL_PART_KT2] = "lokr_t2",     [BL_PART_DIFF] = "diff",
        [BL_PART_DIFF_B] = "diff_b"};
    return names[part];
}
