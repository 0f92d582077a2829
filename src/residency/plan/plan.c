#include "residency/plan/plan.h"

#include <stdlib.h>
#include <string.h>

static const char *const offload_names[BL_OFFLOAD_COUNT] = {"none", "model", "sequential", "balanced",
                                                            "auto"};

const char *bl_offload_name(bl_offload mode) {
    return offload_names[mode];
}

/* A copy is an onload, as stages and other programs call it. */
static const char *const move_names[] = {"onload", "drop", "load", "leave"};

const char *bl_move_name(bl_move_kind kind) {
    return move_names[kind];
}

const char *bl_share_name(bl_share share) {
    static const char *const names[BL_SHARE_COUNT] = {[BL_SHARE_STEADY] = "steady_seconds",
                                                      [BL_SHARE_FIRST_LOAD] = "first_load_seconds",
                                                      [BL_SHARE_SWAP] = "swap_seconds"};
    return names[share];
}

bl_share bl_share_of(const bl_problem *p, const bl_move *copy, bool came) {
    if (copy->before < p->run_count) {
        const bl_problem_phase *f = &p->phases[bl_problem_phase_of(p, copy->before)];
        if (copy->before >= f->first_run + p->modules[f->module].block_count) {
            return BL_SHARE_STEADY;
        }
    }
    return came ? BL_SHARE_SWAP : BL_SHARE_FIRST_LOAD;
}

bool bl_offload_parse(const char *name, bl_offload *out) {
    for (int i = 0; i < BL_OFFLOAD_COUNT; i++) {
        if (!strcmp(name, offload_names[i])) {
            *out = (bl_offload)i;
            return true;
        }
    }
    return false;
}

int bl_plan_new(bl_plan **out, const bl_problem *p, bl_offload mode, bl_error *err) {
    *out = NULL;
    bl_plan *plan = calloc(1, sizeof *plan);
    if (!plan) {
        return bl_fail_memory(err, "a plan", sizeof *plan);
    }
    plan->phases = calloc((size_t)p->phase_count, sizeof *plan->phases);
    if (!plan->phases) {
        free(plan);
        return bl_fail_memory(err, "a plan's phases", (size_t)p->phase_count * sizeof *plan->phases);
    }
    plan->mode = mode;
    plan->method = bl_offload_name(mode);
    plan->phase_count = p->phase_count;
    plan->run_count = p->run_count;
    plan->min_budget_bytes = bl_problem_min_budget(p);
    plan->working_set_bytes = bl_problem_working_set(p);
    for (int i = 0; i < p->phase_count; i++) {
        plan->phases[i].arena_bytes = p->phases[i].levels[0].arena_bytes;
    }
    *out = plan;
    return 0;
}

void bl_plan_free(bl_plan **plan) {
    if (*plan) {
        free((*plan)->phases);
        free((*plan)->moves);
        free((*plan)->decisions);
        free(*plan);
        *plan = NULL;
    }
}

/* Grows an array to hold one more element. */
static int grow(void **array, int *room, int count, size_t size, bl_error *err) {
    if (count < *room) {
        return 0;
    }
    int more = *room ? *room * 2 : 64;
    void *bigger = realloc(*array, (size_t)more * size);
    if (!bigger) {
        return bl_fail_memory(err, "a plan's moves", (size_t)more * size);
    }
    *array = bigger;
    *room = more;
    return 0;
}

const char *bl_why_name(bl_why why) {
    static const char *const names[BL_WHY_COUNT] = {[BL_WHY_NEEDED] = "needed",
                                                    [BL_WHY_EARLY] = "early",
                                                    [BL_WHY_IN_TIME] = "in-time",
                                                    [BL_WHY_NEXT] = "next",
                                                    [BL_WHY_ALL] = "all",
                                                    [BL_WHY_ARENA] = "arena",
                                                    [BL_WHY_LATER] = "later",
                                                    [BL_WHY_PLACE] = "place",
                                                    [BL_WHY_DONE] = "done",
                                                    [BL_WHY_MODULE] = "module",
                                                    [BL_WHY_SLOT] = "slot",
                                                    [BL_WHY_NEVER] = "never",
                                                    [BL_WHY_ALWAYS] = "always",
                                                    [BL_WHY_LOW_0] = "low=0",
                                                    [BL_WHY_FITS] = "fits",
                                                    [BL_WHY_PRESSURE] = "pressure",
                                                    [BL_WHY_BELOW_LOW] = "below-low",
                                                    [BL_WHY_ROOM] = "room"};
    return names[why];
}

int bl_plan_add_move(bl_plan *plan, bl_move move, bl_error *err) {
    void *array = plan->moves;
    int rc = grow(&array, &plan->move_room, plan->move_count, sizeof *plan->moves, err);
    if (rc) {
        return rc;
    }
    plan->moves = array;
    plan->moves[plan->move_count++] = move;
    return 0;
}

int bl_plan_add_decision(bl_plan *plan, bl_decision decision, bl_error *err) {
    void *array = plan->decisions;
    int rc = grow(&array, &plan->decision_room, plan->decision_count, sizeof *plan->decisions, err);
    if (rc) {
        return rc;
    }
    plan->decisions = array;
    plan->decisions[plan->decision_count++] = decision;
    return 0;
}
