/* Any bytes as a described machine. */
#include "fuzz.h"

#include "device/sim/card.h"
#include "device/sim/sim.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    bl_sim_card card;
    char *text = text_of(data, size);
    int rc = bl_sim_card_parse(&card, text, size, "fuzz", &err);
    MUST(!rc || err.message[0]);
    if (!rc) {
        MUST(card.memory_bytes && isfinite(card.copy_rate) && card.copy_rate > 0 && card.copy_latency >= 0);
        MUST(isfinite(card.flops_f32) && isfinite(card.flops_bf16) && memchr(card.name, 0, sizeof card.name));
        bl_device *d = NULL;
        MUST(!bl_sim_open(&d, &card, NULL, &err));
        bl_device_close(&d);
    }
    free(text);
    return 0;
}
