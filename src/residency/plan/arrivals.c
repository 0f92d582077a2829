#include "residency/plan/arrivals.h"

/* When the ring has room beside what came last. */
static double room_at(const bl_arrivals *a, uint64_t bytes) {
    uint64_t held = bytes;
    for (int i = a->count - 1; i >= 0; i--) {
        int at = (a->first + i) % bl_arrivals_most;
        held += a->held[at].bytes;
        if (held > a->ring_bytes) {
            return a->held[at].end;
        }
    }
    return a->count == bl_arrivals_most ? a->held[a->first].end : 0;
}

double bl_arrivals_ready(const bl_arrivals *a, uint64_t bytes, double load_seconds) {
    double room = room_at(a, bytes);
    return (room > a->clock ? room : a->clock) + load_seconds;
}

void bl_arrivals_take(bl_arrivals *a, uint64_t bytes, double load_seconds, double copy_end) {
    a->clock = bl_arrivals_ready(a, bytes, load_seconds);
    if (a->count == bl_arrivals_most) {
        a->first = (a->first + 1) % bl_arrivals_most;
        a->count--;
    }
    int at = (a->first + a->count++) % bl_arrivals_most;
    a->held[at].bytes = bytes;
    a->held[at].end = copy_end;
}
