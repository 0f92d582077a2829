#include "device/sim/contents.h"

#include <stdlib.h>
#include <string.h>

/* The first span that ends behind `offset`. */
static int first_behind(const bl_sim_contents *c, uint64_t offset) {
    int low = 0, high = c->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->spans[middle].offset + c->spans[middle].bytes > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void bl_sim_contents_clear(bl_sim_contents *c, uint64_t offset, uint64_t bytes) {
    int first = first_behind(c, offset), last = first;
    while (last < c->count && c->spans[last].offset < offset + bytes) {
        last++;
    }
    if (last > first) {
        memmove(c->spans + first, c->spans + last, (size_t)(c->count - last) * sizeof *c->spans);
        c->count -= last - first;
    }
}

int bl_sim_contents_put(bl_sim_contents *c, bl_sim_span span, bl_error *err) {
    bl_sim_contents_clear(c, span.offset, span.bytes);
    if (c->count == c->room) {
        int room = c->room ? c->room * 2 : 64;
        bl_sim_span *more = realloc(c->spans, (size_t)room * sizeof *more);
        if (!more) {
            return bl_fail_memory(err, "a simulated memory", (size_t)room * sizeof *more);
        }
        c->spans = more;
        c->room = room;
    }
    int at = first_behind(c, span.offset);
    memmove(c->spans + at + 1, c->spans + at, (size_t)(c->count - at) * sizeof *c->spans);
    c->spans[at] = span;
    c->count++;
    return 0;
}

const bl_sim_span *bl_sim_contents_at(const bl_sim_contents *c, uint64_t offset) {
    int at = first_behind(c, offset);
    return at < c->count && c->spans[at].offset == offset ? &c->spans[at] : NULL;
}

void bl_sim_contents_free(bl_sim_contents *c) {
    free(c->spans);
    memset(c, 0, sizeof *c);
}
