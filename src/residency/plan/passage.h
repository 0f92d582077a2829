/* A window that blocks pass through one after the other, as the small models of a phase have it: a list of
 * places by address. homes.c and split.c count seconds with it. */
#ifndef BALLAST_RESIDENCY_PASSAGE_H
#define BALLAST_RESIDENCY_PASSAGE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A block in the window. */
typedef struct bl_passing {
    uint64_t low, high;
    double end; /* when it is out */
} bl_passing;

enum { bl_passing_most = 24 };

typedef struct bl_passage {
    uint64_t bytes;
    bl_passing in[bl_passing_most]; /* [count] by address */
    int count;
} bl_passage;

static inline void bl_passage_leave(bl_passage *w, double now) {
    int left = 0;
    for (int i = 0; i < w->count; i++) {
        if (w->in[i].end > now) {
            w->in[left++] = w->in[i];
        }
    }
    w->count = left;
}

/* The lowest place, at its upper end if that is the window's: as the pager does. Returns the item's number,
 * -1 if there is no place. */
static inline int bl_passage_enter(bl_passage *w, uint64_t bytes) {
    uint64_t low = 0;
    if (w->count == bl_passing_most) {
        return -1;
    }
    for (int i = 0; i <= w->count; i++) {
        uint64_t high = i < w->count ? w->in[i].low : w->bytes;
        if (high - low >= bytes) {
            low = i == w->count && low > 0 ? high - bytes : low;
            memmove(w->in + i + 1, w->in + i, (size_t)(w->count - i) * sizeof *w->in);
            w->in[i] = (bl_passing){low, low + bytes, INFINITY};
            w->count++;
            return i;
        }
        low = i < w->count ? w->in[i].high : low;
    }
    return -1;
}

/* When the first of those in the window is out. */
static inline double bl_passage_next(const bl_passage *w) {
    double first = INFINITY;
    for (int i = 0; i < w->count; i++) {
        first = w->in[i].end < first ? w->in[i].end : first;
    }
    return first;
}

#endif
