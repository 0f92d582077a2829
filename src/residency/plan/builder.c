#include "residency/plan/builder.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

void bl_builder_close(bl_builder *b) {
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(b->at[m]);
    }
    bl_space_free(&b->space);
    memset(b, 0, sizeof *b);
}

/* The block lies there from now on. False: something else does. */
static bool take_place(bl_builder *b, int module, int block, uint64_t offset) {
    uint64_t bytes = b->p->modules[module].blocks[block].bytes;
    if (!bl_space_insert(&b->space, (bl_space_item){offset, bytes, module, block})) {
        return false;
    }
    b->at[module][block] = offset;
    b->resident_bytes[module] += bytes;
    b->used_bytes += bytes;
    return true;
}

static void leave_place(bl_builder *b, int module, int block) {
    uint64_t bytes = b->p->modules[module].blocks[block].bytes;
    bl_space_remove(&b->space, bl_space_index(&b->space, b->at[module][block], module, block));
    b->at[module][block] = BL_NOWHERE;
    b->resident_bytes[module] -= bytes;
    b->used_bytes -= bytes;
}

int bl_builder_open(bl_builder *b, const bl_problem *p, bl_plan *plan, bl_error *err) {
    memset(b, 0, sizeof *b);
    b->p = p;
    b->plan = plan;
    int blocks = 0;
    for (int m = 0; m < p->module_count; m++) {
        blocks += p->modules[m].block_count;
    }
    int rc = bl_space_init(&b->space, blocks, err);
    for (int m = 0; m < p->module_count && !rc; m++) {
        const bl_problem_module *mod = &p->modules[m];
        b->at[m] = malloc((size_t)mod->block_count * sizeof *b->at[m]);
        if (!b->at[m]) {
            rc = bl_fail_memory(err, "a plan's layout", (size_t)mod->block_count * sizeof *b->at[m]);
            break;
        }
        for (int k = 0; k < mod->block_count; k++) {
            const bl_problem_block *x = &mod->blocks[k];
            b->at[m][k] = BL_NOWHERE;
            if (!plan->reopen && x->resident_at != BL_NOWHERE && !take_place(b, m, k, x->resident_at)) {
                rc = bl_fail(err, BL_E_ARGUMENT, "module %s, block %s: lies over another resident block",
                             mod->name, x->name);
                break;
            }
        }
    }
    if (rc) {
        bl_builder_close(b);
    }
    return rc;
}

int bl_builder_onload(bl_builder *b, int module, int block, uint64_t offset, int after, int before,
                      bl_error *err) {
    if (!take_place(b, module, block, offset)) {
        return bl_fail(err, BL_E_INTERNAL, "plan %s: block %s put where there is no room", b->plan->method,
                       b->p->modules[module].blocks[block].name);
    }
    return bl_plan_add_move(b->plan,
                            (bl_move){.module = module,
                                      .block = block,
                                      .offset = offset,
                                      .after = after,
                                      .before = before,
                                      .why = b->why},
                            err);
}

int bl_builder_drop(bl_builder *b, int module, int block, int after, bl_error *err) {
    uint64_t offset = b->at[module][block];
    if (offset == BL_NOWHERE) {
        return 0;
    }
    leave_place(b, module, block);
    return bl_plan_add_move(b->plan,
                            (bl_move){.module = module,
                                      .block = block,
                                      .kind = BL_MOVE_DROP,
                                      .offset = offset,
                                      .after = after,
                                      .before = after + 1,
                                      .why = b->why},
                            err);
}

int bl_builder_evict(bl_builder *b, int module, int after, bl_error *err) {
    int rc = 0;
    for (int k = 0; k < b->p->modules[module].block_count && !rc; k++) {
        rc = bl_builder_drop(b, module, k, after, err);
    }
    return rc;
}

int bl_builder_clear_below(bl_builder *b, uint64_t offset, int after, bl_error *err) {
    int rc = 0;
    b->why = BL_WHY_ARENA;
    while (b->space.count && b->space.items[0].offset < offset && !rc) {
        rc = bl_builder_drop(b, b->space.items[0].module, b->space.items[0].block, after, err);
    }
    return rc;
}

void bl_builder_undo(bl_builder *b, int move_count) {
    while (b->plan->move_count > move_count) {
        const bl_move *v = &b->plan->moves[--b->plan->move_count];
        if (v->kind == BL_MOVE_DROP) {
            take_place(b, v->module, v->block, v->offset);
        } else {
            leave_place(b, v->module, v->block);
        }
    }
}

int bl_builder_level(const bl_problem *p, int phase, uint64_t need) {
    const bl_problem_phase *f = &p->phases[phase];
    int level = 0;
    while (level < f->level_count && f->levels[level].arena_bytes + need > p->budget_bytes) {
        level++;
    }
    return level;
}

bool bl_builder_levels(bl_plan *plan, const bl_problem *p, uint64_t (*need)(const bl_problem *p, int phase)) {
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        int level = bl_builder_level(p, i, need(p, i));
        if (level == f->level_count) {
            return false;
        }
        plan->phases[i].level = level;
        plan->phases[i].arena_bytes = f->levels[level].arena_bytes;
    }
    return true;
}

uint64_t bl_builder_one_block(const bl_problem *p, int phase) {
    return p->modules[p->phases[phase].module].largest_block;
}

bool bl_builder_region_works(const bl_problem *p, const bl_plan *levels, uint64_t region_bytes) {
    for (int i = 0; i < p->phase_count; i++) {
        if (levels->phases[i].arena_bytes + bl_builder_one_block(p, i) > region_bytes) {
            return false;
        }
    }
    return true;
}

uint64_t bl_builder_region(const bl_problem *p, const bl_plan *levels) {
    uint64_t all = bl_problem_weights(p, 0, p->listed_phases), arena = 0;
    uint64_t budget = bl_problem_most_region(p);
    for (int i = 0; i < p->listed_phases; i++) {
        const bl_problem_phase *f = &p->phases[i];
        int level =
            i < p->phase_count ? levels->phases[i].level : bl_builder_level(p, i, bl_builder_one_block(p, i));
        uint64_t bytes = level < f->level_count ? f->levels[level].arena_bytes : 0;
        arena = bytes > arena ? bytes : arena;
    }
    return all + arena < budget ? all + arena : budget;
}
