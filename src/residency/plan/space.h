/* Who lies where in the region: a sorted list of blocks. Planning only; no memory is touched. */
#ifndef BALLAST_RESIDENCY_SPACE_H
#define BALLAST_RESIDENCY_SPACE_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct bl_space_item {
    uint64_t offset, bytes;
    int module, block;
} bl_space_item;

typedef struct bl_space {
    bl_space_item *items; /* by offset; none overlap */
    int count, room;
} bl_space;

/* Room for `room` items, which is all it will ever hold. Caller frees with bl_space_free. */
int bl_space_init(bl_space *s, int room, bl_error *err);
void bl_space_free(bl_space *s);

/* Index of the first item that ends after `offset`; count if none. */
int bl_space_find(const bl_space *s, uint64_t offset);
/* Adds an item that overlaps nothing. False when it overlaps or there is no room: the caller's mistake. */
bool bl_space_insert(bl_space *s, bl_space_item item);
void bl_space_remove(bl_space *s, int index);
/* Index of the item of this block, or -1. `offset` is where it lies. */
int bl_space_index(const bl_space *s, uint64_t offset, int module, int block);

/* The highest offset in [low, high) with `bytes` free from it on; false when there is none. */
bool bl_space_top_fit(const bl_space *s, uint64_t low, uint64_t high, uint64_t bytes, uint64_t *offset);

#endif
