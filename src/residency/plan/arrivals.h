/* When what the pager copies can have arrived in the host store. Loads are made in the order of the copies,
 * each as soon as the ring has room for it. */
#ifndef BALLAST_RESIDENCY_ARRIVALS_H
#define BALLAST_RESIDENCY_ARRIVALS_H

#include <stdint.h>

enum { bl_arrivals_most = 64 };

typedef struct bl_arrivals {
    uint64_t ring_bytes;
    struct {
        uint64_t bytes;
        double end;           /* of the copy out of the ring */
    } held[bl_arrivals_most]; /* the last blocks that went through the ring; a round list */
    int first, count;
    double clock; /* end of the last load */
} bl_arrivals;

/* When the next load would end. */
double bl_arrivals_ready(const bl_arrivals *a, uint64_t bytes, double load_seconds);
/* It does, and the copy out of the ring ends then. */
void bl_arrivals_take(bl_arrivals *a, uint64_t bytes, double load_seconds, double copy_end);

#endif
