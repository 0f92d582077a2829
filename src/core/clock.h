/* Wall-clock time. */
#ifndef BALLAST_CORE_CLOCK_H
#define BALLAST_CORE_CLOCK_H

#include <time.h>

/* Seconds since some fixed moment; never goes back. */
static inline double bl_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
