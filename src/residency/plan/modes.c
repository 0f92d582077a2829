#include "residency/plan/modes.h"

#include "core/checked.h"
#include "core/size_text.h"
#include "residency/plan/builder.h"
#include "residency/plan/replay.h"
#include "residency/plan/store.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bl_offload_settings bl_offload_defaults(void) {
    return (bl_offload_settings){.mode = BL_OFFLOAD_AUTO, .low = -1, .high = -1, .fit_check = true};
}

static double binary_gb(uint64_t bytes) {
    return (double)bytes / (double)(1ull << 30);
}

static bool is_large(uint64_t memory_bytes) {
    return binary_gb(memory_bytes) >= 22.8;
}

const char *bl_offload_never(const bl_offload_settings *s, uint64_t memory_bytes) {
    static const char large[] = "text_encoder,text_encoder_2,text_encoder_3,vae_encoder,vae_decoder";
    return s->never ? s->never : is_large(memory_bytes) ? large : NULL;
}

void bl_offload_watermarks(const bl_offload_settings *s, uint64_t memory_bytes, double *low, double *high) {
    *low = binary_gb(memory_bytes) <= 12.6 ? 0.0 : 0.2;
    *high = is_large(memory_bytes) ? 0.8 : 0.6;
    if (s->low >= 0) {
        *low = s->low;
    }
    if (s->high >= 0) {
        *high = s->high;
    }
}

bool bl_offload_lists(const char *list, const char *name) {
    size_t length = strcspn(name, ".");
    while (list && *list && length) {
        while (*list == ',' || isspace((unsigned char)*list)) {
            list++;
        }
        size_t n = strcspn(list, ",");
        size_t trimmed = n;
        while (trimmed && isspace((unsigned char)list[trimmed - 1])) {
            trimmed--;
        }
        if (trimmed == length && !strncmp(list, name, length)) {
            return true;
        }
        list += n;
    }
    return false;
}

static uint64_t module_bytes(const bl_problem *p, int phase) {
    return p->modules[p->phases[phase].module].bytes;
}

static uint64_t all_bytes(const bl_problem *p, int phase) {
    (void)phase;
    return bl_problem_weights(p, 0, p->phase_count);
}

static uint64_t two_blocks(const bl_problem *p, int phase) {
    return 2 * bl_builder_one_block(p, phase);
}

typedef uint64_t need_fn(const bl_problem *p, int phase);

/* What a mode must have on the device beside a phase's arena. */
static need_fn *needed(bl_offload mode) {
    return mode == BL_OFFLOAD_NONE    ? all_bytes
           : mode == BL_OFFLOAD_MODEL ? module_bytes
                                      : bl_builder_one_block;
}

uint64_t bl_mode_least(const bl_problem *p, bl_offload mode, int phase) {
    return bl_problem_least_arena(p, phase) + needed(mode)(p, phase);
}

int bl_mode_refuse(const bl_problem *p, bl_offload mode, bl_error *err) {
    uint64_t least = 0;
    int worst = 0;
    for (int i = 0; i < p->phase_count; i++) {
        uint64_t bytes = bl_mode_least(p, mode, i);
        if (bytes > least) {
            least = bytes;
            worst = i;
        }
    }
    char instead[128] = "", reserve[64] = "";
    uint64_t budget = p->budget_bytes + p->reserved_bytes, auto_least = bl_problem_min_budget(p);
    least += p->reserved_bytes;
    auto_least += p->reserved_bytes;
    if (auto_least < least) {
        snprintf(instead, sizeof instead, "; with --offload auto %llu bytes (%s) are enough",
                 (unsigned long long)auto_least, bl_size_of(auto_least).text);
    }
    if (p->reserved_bytes) {
        snprintf(reserve, sizeof reserve, ", the reserve of %s included", bl_size_of(p->reserved_bytes).text);
    }
    return bl_fail(err, BL_E_BUDGET,
                   "budget: %llu bytes (%s) are too small for --offload %s: the smallest that works is %llu "
                   "bytes (%s), which phase %s needs%s%s",
                   (unsigned long long)budget, bl_size_of(budget).text, bl_offload_name(mode),
                   (unsigned long long)least, bl_size_of(least).text, p->phases[worst].name, reserve,
                   instead);
}

static uint64_t largest_arena(const bl_plan *plan) {
    uint64_t arena = 0;
    for (int i = 0; i < plan->phase_count; i++) {
        arena = plan->phases[i].arena_bytes > arena ? plan->phases[i].arena_bytes : arena;
    }
    return arena;
}

/* Brings in what is missing of a module, above the arena. False in *fits when there is no room for it. */
static int bring_in(bool *fits, bl_builder *b, int module, uint64_t arena, int after, int before,
                    bl_error *err) {
    const bl_problem_module *m = &b->p->modules[module];
    int rc = 0;
    for (int k = 0; k < m->block_count && !rc; k++) {
        uint64_t offset;
        if (b->at[module][k] != BL_NOWHERE) {
            continue;
        }
        if (!bl_space_top_fit(&b->space, arena, b->plan->region_bytes, m->blocks[k].bytes, &offset)) {
            *fits = false;
            return 0;
        }
        rc = bl_builder_onload(b, module, k, offset, after, before, err);
    }
    return rc;
}

/* Everything is brought in before the first run, and stays. With an open region: false in *fits when there is
 * no room between what lies there. */
static int none_plan(bool *fits, bl_plan *plan, const bl_problem *p, bl_error *err) {
    uint64_t arena = largest_arena(plan);
    bl_builder b;
    int rc = bl_builder_open(&b, p, plan, err);
    if (rc) {
        return rc;
    }
    *fits = true;
    rc = bl_builder_clear_below(&b, arena, -1, err);
    for (int i = 0; i < p->phase_count && !rc && *fits; i++) {
        b.why = BL_WHY_ALL;
        rc = bring_in(fits, &b, p->phases[i].module, arena, -1, 0, err);
    }
    bl_builder_close(&b);
    return rc;
}

/* One module at a time: whatever belongs to another is dropped before a module is brought in. */
static int model_plan(bool *fits, bl_plan *plan, const bl_problem *p, bl_error *err) {
    bl_builder b;
    int rc = bl_builder_open(&b, p, plan, err);
    if (rc) {
        return rc;
    }
    *fits = true;
    for (int i = 0; i < p->phase_count && !rc && *fits; i++) {
        int m = p->phases[i].module, run = p->phases[i].first_run;
        b.why = BL_WHY_MODULE;
        for (int other = 0; other < p->module_count && !rc; other++) {
            rc = other != m ? bl_builder_evict(&b, other, run - 1, err) : 0;
        }
        if (!rc) {
            rc = bl_builder_clear_below(&b, plan->phases[i].arena_bytes, run - 1, err);
        }
        b.why = BL_WHY_NEEDED;
        rc = rc ? rc : bring_in(fits, &b, m, plan->phases[i].arena_bytes, run - 1, run, err);
    }
    bl_builder_close(&b);
    return rc;
}

/* Every block comes when it is needed, or while the one before it in its module runs, and goes when it has
 * run. */
static int sequential_plan(bool *fits, bl_plan *plan, const bl_problem *p, int ahead, bl_error *err) {
    bl_builder b;
    int rc = bl_builder_open(&b, p, plan, err);
    if (rc) {
        return rc;
    }
    *fits = true;
    b.why = BL_WHY_DONE;
    for (int m = 0; m < p->module_count && !rc; m++) {
        rc = bl_builder_evict(&b, m, -1, err);
    }
    for (int i = 0; i < p->phase_count && !rc; i++) {
        int m = p->phases[i].module, blocks = p->modules[m].block_count;
        for (int k = 0; k < blocks * p->phases[i].passes && !rc; k++) {
            int run = p->phases[i].first_run + k, block = k % blocks;
            uint64_t behind = ahead && k % 2 ? bl_builder_one_block(p, i) : 0; /* two places, in turn */
            b.why = BL_WHY_NEEDED;
            rc = bl_builder_onload(&b, m, block,
                                   plan->region_bytes - behind - p->modules[m].blocks[block].bytes,
                                   run - (ahead && k ? 2 : 1), run, err);
            if (!rc) {
                b.why = BL_WHY_DONE;
                rc = bl_builder_drop(&b, m, block, run, err);
            }
        }
    }
    bl_builder_close(&b);
    return rc;
}

/* The region that a mode opens when none is open. */
static uint64_t fresh_region(const bl_plan *plan, const bl_problem *p, need_fn *need) {
    uint64_t bytes = 0;
    if (plan->mode == BL_OFFLOAD_BALANCED) {
        bytes = all_bytes(p, 0) + largest_arena(plan);
        return bytes < p->budget_bytes ? bytes : bl_problem_most_region(p);
    }
    for (int i = 0; i < p->phase_count; i++) {
        uint64_t phase = plan->phases[i].arena_bytes + need(p, i);
        bytes = phase > bytes ? phase : bytes;
    }
    return bytes;
}

static int write_plan(bool *fits, bl_plan *plan, const bl_problem *p, const bl_offload_settings *s,
                      bl_error *err) {
    switch (s->mode) {
    case BL_OFFLOAD_NONE:
        return none_plan(fits, plan, p, err);
    case BL_OFFLOAD_MODEL:
        return model_plan(fits, plan, p, err);
    case BL_OFFLOAD_SEQUENTIAL:
        return sequential_plan(fits, plan, p, s->ahead, err);
    default:
        *fits = true;
        return bl_balanced_plan(plan, p, s, err);
    }
}

int bl_mode_plan(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    *out = NULL;
    need_fn *need = s->mode == BL_OFFLOAD_SEQUENTIAL && s->ahead ? two_blocks : needed(s->mode);
    /* First with what lies in the open region, then, if its holes are too small, with a new one. */
    for (int fresh = p->open_bytes == 0 || p->open_bytes > p->budget_bytes;; fresh++) {
        bl_plan *plan;
        int rc = bl_plan_new(&plan, p, s->mode, err);
        if (rc) {
            return rc;
        }
        if (!bl_builder_levels(plan, p, need)) {
            rc = bl_mode_refuse(p, s->mode, err);
            bl_plan_free(&plan);
            return rc;
        }
        plan->reopen = fresh;
        uint64_t wanted = fresh_region(plan, p, need);
        plan->region_bytes = fresh ? wanted : p->open_bytes;
        bool fits = false;
        if (fresh || wanted <= p->open_bytes) {
            rc = write_plan(&fits, plan, p, s, err);
            if (!rc && fits) {
                bl_store_options o = {.ring_bytes = bl_store_usual_ring(p)};
                rc = p->has_store ? bl_store_plan(plan, p, &o, err) : bl_replay(plan, p, err);
            }
        }
        if (!rc && fits) {
            *out = plan;
            return 0;
        }
        bl_plan_free(&plan);
        if (rc || fresh) {
            return rc ? rc
                      : bl_fail(err, BL_E_INTERNAL, "--offload %s found no layout", bl_offload_name(s->mode));
        }
    }
}
