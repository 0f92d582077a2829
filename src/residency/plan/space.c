#include "residency/plan/space.h"

#include <stdlib.h>
#include <string.h>

int bl_space_init(bl_space *s, int room, bl_error *err) {
    memset(s, 0, sizeof *s);
    s->items = malloc((size_t)(room > 0 ? room : 1) * sizeof *s->items);
    if (!s->items) {
        return bl_fail_memory(err, "the layout of the region", (size_t)room * sizeof *s->items);
    }
    s->room = room;
    return 0;
}

void bl_space_free(bl_space *s) {
    free(s->items);
    memset(s, 0, sizeof *s);
}

int bl_space_find(const bl_space *s, uint64_t offset) {
    int lo = 0, hi = s->count;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (s->items[mid].offset + s->items[mid].bytes > offset) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

bool bl_space_insert(bl_space *s, bl_space_item item) {
    int at = bl_space_find(s, item.offset);
    if (s->count == s->room || (at < s->count && s->items[at].offset < item.offset + item.bytes)) {
        return false;
    }
    memmove(s->items + at + 1, s->items + at, (size_t)(s->count - at) * sizeof *s->items);
    s->items[at] = item;
    s->count++;
    return true;
}

void bl_space_remove(bl_space *s, int index) {
    s->count--;
    memmove(s->items + index, s->items + index + 1, (size_t)(s->count - index) * sizeof *s->items);
}

int bl_space_index(const bl_space *s, uint64_t offset, int module, int block) {
    int at = bl_space_find(s, offset);
    if (at < s->count && s->items[at].module == module && s->items[at].block == block) {
        return at;
    }
    return -1;
}

bool bl_space_top_fit(const bl_space *s, uint64_t low, uint64_t high, uint64_t bytes, uint64_t *offset) {
    uint64_t top = high;
    for (int i = s->count - 1; i >= -1; i--) {
        uint64_t end = i >= 0 ? s->items[i].offset + s->items[i].bytes : 0;
        if (end < low) {
            end = low;
        }
        if (top >= end && top - end >= bytes) {
            *offset = top - bytes;
            return true;
        }
        if (i < 0 || s->items[i].offset <= low) {
            return false;
        }
        if (s->items[i].offset < top) {
            top = s->items[i].offset;
        }
    }
    return false;
}
