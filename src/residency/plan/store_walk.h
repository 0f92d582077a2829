/* The host store while a plan is walked: what lies where, when each load ends, and until when a place that
 * was given up is still read. */
#ifndef BALLAST_RESIDENCY_STORE_WALK_H
#define BALLAST_RESIDENCY_STORE_WALK_H

#include "residency/plan/plan.h"
#include "residency/plan/space.h"

/* A block's place. */
typedef struct bl_store_place {
    uint64_t at;   /* BL_NOWHERE: not in the store */
    double loaded; /* when its load ends; 0: it was there */
    double quiet;  /* when the last copy out of it ends; 0: there was none */
} bl_store_place;

/* A place that was given up while a copy out of it may still be under way. */
typedef struct bl_store_left {
    uint64_t low, high;
    double quiet;
} bl_store_left;

typedef struct bl_store_walk {
    const bl_problem *p;
    bl_space space;
    bl_store_place *blocks;        /* of all modules, one after the other */
    int first[BL_PROBLEM_MODULES]; /* where a module's blocks begin */
    bl_store_left *left;
    int left_count, left_room;
    double clock;        /* end of the last load */
    uint64_t peak_bytes; /* end of the highest byte that held something */
} bl_store_walk;

/* With what is stored in `p`, which is borrowed. BL_E_INTERNAL when that overlaps or is larger than the
 * store. */
int bl_store_walk_open(bl_store_walk *w, const bl_problem *p, bl_error *err);
void bl_store_walk_close(bl_store_walk *w);

/* A load that may begin at `ready`. BL_E_INTERNAL: there is no such place. */
int bl_store_walk_load(bl_store_walk *w, const bl_move *v, double ready, bl_error *err);
/* BL_E_INTERNAL: the block holds no such place. */
int bl_store_walk_leave(bl_store_walk *w, const bl_move *v, bl_error *err);
/* When the block may be copied. BL_E_INTERNAL: it is not there. */
int bl_store_walk_ready(double *ready, bl_store_walk *w, const bl_move *v, bl_error *err);
/* Its copy ends then. */
void bl_store_walk_copied(bl_store_walk *w, const bl_move *v, double end);

#endif
