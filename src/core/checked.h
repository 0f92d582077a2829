/* Arithmetic on sizes that come from outside: every result is checked. All return true when the result fits.
 */
#ifndef BALLAST_CORE_CHECKED_H
#define BALLAST_CORE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool bl_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline bool bl_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* Smallest multiple of `to` (a power of two) that is at least v. Only for sizes we made ourselves. */
static inline uint64_t bl_align_up(uint64_t v, uint64_t to) {
    return (v + to - 1) & ~(to - 1);
}

/* Start of everything that kernels touch: a cache line, and a 512-bit vector. */
#define BL_ALIGN 64

#endif
