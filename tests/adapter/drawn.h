/* Numbers for the tests of products: the same in every run. */
#ifndef BALLAST_TESTS_ADAPTER_DRAWN_H
#define BALLAST_TESTS_ADAPTER_DRAWN_H

#include <stdint.h>

/* In -1 .. 1. */
static inline float drawn(void) {
    static uint32_t state = 7;
    state = state * 1664525u + 1013904223u;
    return (float)((double)(state >> 8) / (1 << 23) - 1);
}

static inline void fill(float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        v[i] = drawn();
    }
}

#endif
