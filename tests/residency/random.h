/* Random problems from a seed, the same on every machine. */
#ifndef BALLAST_TESTS_RESIDENCY_RANDOM_H
#define BALLAST_TESTS_RESIDENCY_RANDOM_H

#include "described.h"

#include <math.h>

typedef struct random_state {
    uint64_t s;
} random_state;

/* splitmix64 (Steele, Lea, Flood 2014), as a number in [0, 1). */
static inline double random_unit(random_state *r) {
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static inline double random_between(random_state *r, double low, double high) {
    return low + (high - low) * random_unit(r);
}

static inline int random_int(random_state *r, int low, int high) {
    return low + (int)(random_unit(r) * (high - low + 1));
}

/* One to four modules of 16 to 64 blocks whose sizes differ by up to 4, in up to eight phases of up to 24
 * passes. Compute takes from 0.3 to 8 times as long as copying the same blocks. The budget lies between the
 * largest arena plus four of the largest blocks and the working set. */
static inline bl_problem *random_problem(random_state *r, bool async) {
    bl_problem *p;
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 20e9;
    p->copy_latency = 10e-6;
    p->async_copy = async;
    bl_problem_set_repeats(p, true);
    int modules = random_int(r, 1, 4), phases = random_int(r, modules, 2 * modules);
    double scale = random_between(r, 5e6, 60e6), density[4], total = 0;
    for (int m = 0; m < modules; m++) {
        bl_problem_block blocks[64];
        memset(blocks, 0, sizeof blocks);
        int n = random_int(r, 16, 64);
        for (int b = 0; b < n; b++) {
            snprintf(blocks[b].name, sizeof blocks[b].name, "b%d", b);
            blocks[b].bytes = (uint64_t)(scale * random_between(r, 0.5, 2));
            blocks[b].copy_seconds = -1;
            blocks[b].resident_at = BL_NOWHERE;
            total += (double)blocks[b].bytes;
        }
        density[m] = exp(random_between(r, log(0.3), log(8))) / p->copy_rate;
        char name[16];
        int number;
        snprintf(name, sizeof name, "m%d", m);
        CHECK(bl_problem_add_module(&number, p, name, "bf16", blocks, n, &described_error));
    }
    for (int i = 0; i < phases; i++) {
        int m = i < modules ? i : random_int(r, 0, modules - 1), number;
        double seconds[64];
        for (int b = 0; b < p->modules[m].block_count; b++) {
            seconds[b] = density[m] * (double)p->modules[m].blocks[b].bytes * random_between(r, 0.5, 1.5);
        }
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        int passes = random_unit(r) < 0.4 ? 1 : random_int(r, 2, 24);
        uint64_t arena = (uint64_t)(total * random_between(r, 0.01, 0.4));
        CHECK(bl_problem_add_phase(&number, p, name, "work", m, passes, arena, seconds, &described_error));
    }
    p->budget_bytes = UINT64_MAX / 8;
    CHECK(bl_problem_finish(p, &described_error));
    uint64_t arena = 0, block = 0, all = bl_problem_working_set(p);
    for (int i = 0; i < phases; i++) {
        arena = p->phases[i].levels[0].arena_bytes > arena ? p->phases[i].levels[0].arena_bytes : arena;
    }
    for (int m = 0; m < modules; m++) {
        block = p->modules[m].largest_block > block ? p->modules[m].largest_block : block;
    }
    uint64_t low = arena + 4 * block;
    p->budget_bytes = low + (uint64_t)((double)(all > low ? all - low : 0) * random_unit(r));
    p->memory_bytes = p->budget_bytes;
    return p;
}

/* The same behind a host store that holds from four of the largest blocks to all weights, and is filled at
 * 0.1 to 0.6 of the rate of copies. */
static inline bl_problem *random_small_host(random_state *r) {
    bl_problem *p = random_problem(r, true);
    uint64_t block = 0, all = 0;
    for (int m = 0; m < p->module_count; m++) {
        block = p->modules[m].largest_block > block ? p->modules[m].largest_block : block;
        all += p->modules[m].bytes;
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].load_seconds = -1;
            p->modules[m].blocks[b].stored_at = BL_NOWHERE;
        }
    }
    p->has_store = true;
    p->load_rate = p->copy_rate * exp(random_between(r, log(0.1), log(0.6)));
    p->load_latency = 50e-6;
    p->host_bytes = 4 * block + (uint64_t)((double)(all > 4 * block ? all - 4 * block : 0) * random_unit(r));
    CHECK(bl_problem_finish(p, &described_error));
    return p;
}

/* Plans three generations, each from what the one before left, and returns the last plan: the steady state.
 */
static inline bl_plan *steady_plan(bl_problem *p, const bl_offload_settings *s) {
    bl_plan *plan = NULL;
    bl_problem_clear_resident(p);
    bl_problem_clear_stored(p);
    for (int i = 0; i < 3; i++) {
        bl_plan_free(&plan);
        if (bl_plan_make(&plan, p, s, &described_error)) {
            fail_msg("%s", described_error.message);
        }
        CHECK(bl_replay_check(plan, p, &described_error));
        assert_true(plan->peak_bytes <= plan->region_bytes && plan->region_bytes <= p->budget_bytes);
        bl_replay_after(p, plan);
    }
    bl_problem_clear_resident(p);
    bl_problem_clear_stored(p);
    return plan;
}

#endif
