/* Writing a plan from front to back: what lies where so far, and the moves that follow from it. */
#ifndef BALLAST_RESIDENCY_BUILDER_H
#define BALLAST_RESIDENCY_BUILDER_H

#include "residency/plan/plan.h"
#include "residency/plan/space.h"

typedef struct bl_builder {
    const bl_problem *p;
    bl_plan *plan;
    bl_space space;
    uint64_t *at[BL_PROBLEM_MODULES];            /* [block_count] offset, or BL_NOWHERE */
    uint64_t resident_bytes[BL_PROBLEM_MODULES]; /* of each module */
    uint64_t used_bytes;                         /* their sum */
    bl_why why; /* of the moves that are written next; set by who writes them */
} bl_builder;

/* Starts a plan whose region_bytes, reopen and levels are set: what is resident is taken over unless reopen.
 */
int bl_builder_open(bl_builder *b, const bl_problem *p, bl_plan *plan, bl_error *err);
void bl_builder_close(bl_builder *b);

int bl_builder_onload(bl_builder *b, int module, int block, uint64_t offset, int after, int before,
                      bl_error *err);
/* Nothing happens when the block is not there. */
int bl_builder_drop(bl_builder *b, int module, int block, int after, bl_error *err);
/* Drops all blocks of a module. */
int bl_builder_evict(bl_builder *b, int module, int after, bl_error *err);
/* Drops every block that begins below `offset`: the place of a phase's arena. */
int bl_builder_clear_below(bl_builder *b, uint64_t offset, int after, bl_error *err);

/* Takes back every move after the first `move_count`. */
void bl_builder_undo(bl_builder *b, int move_count);

/* The lowest arena level of each phase that leaves room for `need(p, phase)` bytes under the budget: level 0
 * where that works. Sets the plan's levels; false when even the last level is too large for some phase. */
bool bl_builder_levels(bl_plan *plan, const bl_problem *p, uint64_t (*need)(const bl_problem *p, int phase));
/* That level of one listed phase; level_count: none. */
int bl_builder_level(const bl_problem *p, int phase, uint64_t need);

/* What a mode that streams needs beside an arena: room for the largest block. */
uint64_t bl_builder_one_block(const bl_problem *p, int phase);
/* Whether a region of this size can be worked in: every phase's arena at its level and one block fit. */
bool bl_builder_region_works(const bl_problem *p, const bl_plan *levels, uint64_t region_bytes);
/* The size of a region for this generation and those that follow: all their weights beside the largest arena,
 * but no more than the budget. */
uint64_t bl_builder_region(const bl_problem *p, const bl_plan *levels);

#endif
