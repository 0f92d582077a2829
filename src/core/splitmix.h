/* SplitMix64 (Steele, Lea, Flood 2014): numbers that look random and are the same each time. */
#ifndef BALLAST_CORE_SPLITMIX_H
#define BALLAST_CORE_SPLITMIX_H

#include <stdint.h>

/* The next one; any state will do to begin with. */
static inline uint64_t bl_splitmix(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The next one, in [0, 1). */
static inline double bl_splitmix_unit(uint64_t *state) {
    return (double)(bl_splitmix(state) >> 11) * 0x1p-53;
}

#endif
