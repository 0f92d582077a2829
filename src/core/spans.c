#include "core/spans.h"

#include <stdlib.h>
#include <string.h>

void bl_spans_free(bl_spans *s) {
    free(s->at);
    *s = (bl_spans){0};
}

int bl_spans_add(bl_spans *s, double begin, double end, bl_error *err) {
    if (!(end > begin)) {
        return 0;
    }
    if (s->count > s->first && begin <= s->at[2 * s->count - 1]) { /* one goes on where the other ends */
        s->at[2 * s->count - 1] = end > s->at[2 * s->count - 1] ? end : s->at[2 * s->count - 1];
        return 0;
    }
    if (s->count == s->room && s->first > s->room / 2) {
        s->count -= s->first;
        memmove(s->at, s->at + 2 * s->first, 2 * (size_t)s->count * sizeof *s->at);
        s->first = 0;
    }
    if (s->count == s->room) {
        int room = s->room ? 2 * s->room : 64;
        double *more = realloc(s->at, 2 * (size_t)room * sizeof *more);
        if (!more) {
            return bl_fail_memory(err, "spans of time", 2 * (size_t)room * sizeof *more);
        }
        s->at = more;
        s->room = room;
    }
    s->at[2 * s->count] = begin;
    s->at[2 * s->count + 1] = end;
    s->count++;
    return 0;
}

static void forget(bl_spans *s, double from) {
    while (s->first < s->count && s->at[2 * s->first + 1] <= from) {
        s->first++;
    }
}

double bl_spans_inside(bl_spans *s, double from, double to) {
    double sum = 0;
    forget(s, from);
    for (int i = s->first; i < s->count && s->at[2 * i] < to; i++) {
        double begin = s->at[2 * i] > from ? s->at[2 * i] : from,
               end = s->at[2 * i + 1] < to ? s->at[2 * i + 1] : to;
        sum += end - begin;
    }
    return sum;
}

double bl_spans_end(bl_spans *s, double from, double seconds, double drag) {
    double now = from;
    forget(s, from);
    for (int i = s->first; i < s->count; i++) {
        double begin = s->at[2 * i], end = s->at[2 * i + 1];
        if (now < begin) {
            if (now + seconds <= begin) {
                break;
            }
            seconds -= begin - now;
            now = begin;
        }
        double done = (end - now) * (1 - drag);
        if (seconds <= done) {
            return now + seconds / (1 - drag);
        }
        seconds -= done;
        now = end;
    }
    return now + seconds;
}
