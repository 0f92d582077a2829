/* Stretches of time in which other work is under way, and how long work takes that goes more slowly
 * meanwhile: compute beside copies. Times are seconds on one clock. Spans come in order, and questions never
 * go back in time, so that each span is looked at once. */
#ifndef BALLAST_CORE_SPANS_H
#define BALLAST_CORE_SPANS_H

#include "core/error.h"

/* All zero is empty; bl_spans_free. */
typedef struct bl_spans {
    double *at;             /* [2 * room] begin and end of each */
    int first, count, room; /* those before `first` are over */
} bl_spans;

void bl_spans_free(bl_spans *s);

/* Adds [begin, end), which begins no sooner than the last one ends. BL_E_MEMORY. */
int bl_spans_add(bl_spans *s, double begin, double end, bl_error *err);

/* Seconds of [from, to) that lie in spans. `from` is no less than in any question before. */
double bl_spans_inside(bl_spans *s, double from, double to);

/* When work ends that begins at `from` and takes `seconds` alone, where a share `drag` of each second inside
 * a span is lost to it: from 0 to below 1. `from` as above. */
double bl_spans_end(bl_spans *s, double from, double seconds, double drag);

#endif
