#include "residency/plan/spread.h"

#include <string.h>

/* Streams about `target` bytes; returns the bytes that are pinned. A block's share of the pass's time is its
 * compute and, where the copies of the target take longer than all compute, a share of the difference by its
 * size. Credit for time that went by without a copy is worth no more than the window can hold. */
static uint64_t diffuse(uint8_t *pin, const bl_problem_module *m, const double *seconds, double total,
                        double target, double window) {
    double bytes_total = (double)m->bytes, excess = m->copy_seconds * target / bytes_total - total;
    double length = excess > 0 ? total + excess : total, credit = 0;
    uint64_t pinned = 0;
    for (int b = 0; b < m->block_count; b++) {
        double bytes = (double)m->blocks[b].bytes;
        double share = seconds[b] + (excess > 0 ? excess * bytes / bytes_total : 0);
        credit += target * (length > 0 ? share / length : bytes / bytes_total);
        pin[b] = credit < bytes / 2;
        if (pin[b]) {
            pinned += m->blocks[b].bytes;
        } else {
            credit -= bytes;
        }
        credit = credit < window ? credit : window;
    }
    return pinned;
}

void bl_spread(uint8_t *pin, const bl_problem_module *m, const double *block_seconds, uint64_t room,
               uint64_t window) {
    memset(pin, 1, (size_t)m->block_count);
    if (m->bytes <= room) {
        return;
    }
    uint64_t limit = room > window ? room - window : 0;
    double total = 0, low = 0, high = 8.0 * (double)m->bytes;
    for (int b = 0; b < m->block_count; b++) {
        total += block_seconds[b];
    }
    /* The least streaming whose residents fit, by halving: residents shrink as the target grows, nearly so.
     */
    for (int i = 0; i < 24; i++) {
        double middle = (low + high) / 2;
        if (diffuse(pin, m, block_seconds, total, middle, (double)window) <= limit) {
            high = middle;
        } else {
            low = middle;
        }
    }
    if (diffuse(pin, m, block_seconds, total, high, (double)window) > limit) {
        memset(pin, 0, (size_t)m->block_count);
    }
}
