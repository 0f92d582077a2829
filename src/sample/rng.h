/* Random numbers with the values that torch gives, so that a seed means the same picture.
 *
 * cpu: torch's CPU generator (Mersenne Twister of Matsumoto and Nishimura; Box-Muller). gpu: torch's CUDA
 * generator (Philox4x32-10 of Salmon et al. 2011) as A1111 and ComfyUI emulate it on any machine, true for
 * draws of up to some hundred thousand values. Both to 3e-6 of torch, whose own kernels differ by that much
 * among each other. */
#ifndef BALLAST_SAMPLE_RNG_H
#define BALLAST_SAMPLE_RNG_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum bl_rng_kind { BL_RNG_CPU = 0, BL_RNG_GPU } bl_rng_kind;

typedef struct bl_rng {
    bl_rng_kind kind;
    /* cpu */
    uint32_t state[624];
    int used;        /* words of the state already given out */
    bool has_cached; /* a draw of fewer than 16 values can leave half a pair for the next such draw */
    double cached;
    /* gpu */
    uint64_t seed;
    uint32_t draws; /* calls so far */
} bl_rng;

/* Starts the sequence of a seed (torch.Generator.manual_seed). cpu takes the seed's low 32 bits, as torch
 * does. */
void bl_rng_seed(bl_rng *rng, bl_rng_kind kind, uint64_t seed);

/* The next draw: out [n] standard normal values. A draw of 8 and another of 8 are not a draw of 16. */
void bl_rng_normal(bl_rng *rng, float *out, size_t n);

/* "cpu" or "gpu" (A1111's "NV" too). BL_E_NOT_FOUND otherwise. */
int bl_rng_find(bl_rng_kind *out, const char *name, bl_error *err);

#endif
