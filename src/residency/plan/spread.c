#include "residency/plan/spread.h"

#include <math.h>
#include <stdlib.h>
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

/* `window` as diffuse has it. */
static void spread(uint8_t *pin, const bl_problem_module *m, const double *block_seconds, uint64_t room,
                   uint64_t limit, double window) {
    memset(pin, 1, (size_t)m->block_count);
    if (m->bytes <= room) {
        return;
    }
    double total = 0, low = 0, high = 8.0 * (double)m->bytes;
    for (int b = 0; b < m->block_count; b++) {
        total += block_seconds[b];
    }
    /* The least streaming whose residents fit, by halving: residents shrink as the target grows, nearly so.
     */
    for (int i = 0; i < 24; i++) {
        double middle = (low + high) / 2;
        if (diffuse(pin, m, block_seconds, total, middle, window) <= limit) {
            high = middle;
        } else {
            low = middle;
        }
    }
    if (diffuse(pin, m, block_seconds, total, high, window) > limit) {
        memset(pin, 0, (size_t)m->block_count);
    }
}

void bl_spread(uint8_t *pin, const bl_problem_module *m, const double *block_seconds, uint64_t room,
               uint64_t window) {
    spread(pin, m, block_seconds, room, room > window ? room - window : 0, (double)window);
}

/* Whole blocks leave some room: the largest that still fit stay, too. */
static void fill_up(uint8_t *pin, const bl_problem_module *m, const uint8_t *candidates, uint64_t room) {
    for (int best = 0; best >= 0;) {
        best = -1;
        for (int b = 0; b < m->block_count; b++) {
            if (candidates[b] && !pin[b] && m->blocks[b].bytes <= room &&
                (best < 0 || m->blocks[b].bytes > m->blocks[best].bytes)) {
                best = b;
            }
        }
        if (best >= 0) {
            pin[best] = 1;
            room -= m->blocks[best].bytes;
        }
    }
}

int bl_spread_among(uint8_t *pin, const bl_problem_module *m, const double *block_seconds,
                    const uint8_t *candidates, uint64_t room, bool loads, bl_error *err) {
    size_t n = (size_t)m->block_count;
    bl_problem_module few = {.copy_seconds = 0};
    few.blocks = malloc(n * sizeof *few.blocks);
    double *share = malloc(n * sizeof *share), skipped = 0;
    uint8_t *few_pin = malloc(n);
    int rc = few.blocks && share && few_pin
                 ? 0
                 : bl_fail_memory(err, "the planner's residents", n * sizeof *few.blocks);
    for (size_t b = 0; b < n && !rc; b++) {
        skipped += block_seconds[b];
        if (candidates[b]) {
            few.blocks[few.block_count] = m->blocks[b];
            share[few.block_count++] = skipped; /* what runs since the last of them */
            few.bytes += m->blocks[b].bytes;
            few.copy_seconds += loads ? m->blocks[b].load_seconds : m->blocks[b].copy_seconds;
            skipped = 0;
        }
    }
    memset(pin, 0, n);
    if (!rc && few.block_count) {
        share[0] += skipped;
        spread(few_pin, &few, share, room, room, INFINITY);
        for (size_t b = 0, k = 0; b < n; b++) {
            pin[b] = candidates[b] ? few_pin[k++] : 0;
            room -= pin[b] ? m->blocks[b].bytes : 0;
        }
        fill_up(pin, m, candidates, room);
    }
    free(few.blocks);
    free(share);
    free(few_pin);
    return rc;
}
