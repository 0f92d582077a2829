/* Any bytes as what is kept of an NVIDIA card. */
#include "fuzz.h"

#include "device/cuda/card.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    bl_cuda_card card;
    char *text = text_of(data, size);
    int rc = bl_cuda_card_parse(&card, text, size, "fuzz", &err);
    MUST(!rc || err.message[0]);
    MUST(!rc || (!card.choices && !card.properties));
    if (!rc) {
        MUST(card.memory_bytes && card.processors > 0 && memchr(card.name, 0, sizeof card.name));
        MUST(isfinite(card.flops_f32) && isfinite(card.flops_bf16) && card.copy_rate > 0 &&
             card.memory_rate > 0);
        for (int i = 0; i < card.choice_count; i++) {
            MUST(bl_cuda_card_choice(&card, card.choices[i].key));
        }
    }
    bl_cuda_card_free(&card);
    free(text);
    return 0;
}
