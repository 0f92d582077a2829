/* The reactive rule of today's runtimes, with and without the question that it forgets to ask (does the
 * working set fit?). Before a module runs, every other module on the device is a candidate. Decision order:
 * force (the room is needed now), never, always, low = 0, then pressure: the used share of memory is above
 * the low watermark. A module that does not fit below the high watermark keeps its first blocks; the rest is
 * copied when it is due. */
#include "residency/plan/modes.h"

#include "residency/plan/builder.h"
#include "residency/problem/follow.h"

typedef struct rule {
    const bl_offload_settings *s;
    bl_builder b;
    double low, high;
    uint64_t memory;
    bool fits;            /* the working set, largest arena included, under the high watermark */
    uint64_t activations; /* what the present phase and the one before it hold: such runtimes ask the device
                             how much is in use, and its allocator gives nothing back between phases */
    const char *never;
    int slot_blocks; /* blocks from this one on go through the slot in the present phase */
    uint64_t slot;
} rule;

static bool is_never(const rule *r, int module) {
    return bl_offload_lists(r->never, r->b.p->modules[module].name) ||
           (r->s->model_type && bl_offload_lists(r->never, r->s->model_type));
}

/* Tells a decision; the moves that carry it out have the same reason. */
static int tell(rule *r, int run, const char *op, bl_why why, int module, bl_error *err) {
    r->b.why = why;
    return bl_plan_add_decision(r->b.plan,
                                (bl_decision){.run = run,
                                              .op = op,
                                              .why = why,
                                              .module = module,
                                              .bytes = r->b.p->modules[module].bytes,
                                              .used_bytes = r->b.used_bytes + r->activations,
                                              .low = r->low},
                                err);
}

static int decide(rule *r, int run, int module, bl_error *err) {
    bl_why why;
    bool evict = false;
    double share = (double)(r->b.used_bytes + r->activations) / (double)r->memory;
    if (is_never(r, module)) {
        why = BL_WHY_NEVER;
    } else if (bl_offload_lists(r->s->always, r->b.p->modules[module].name)) {
        evict = true;
        why = BL_WHY_ALWAYS;
    } else if (r->low == 0) {
        evict = true;
        why = BL_WHY_LOW_0;
    } else if (r->s->fit_check && r->fits) {
        why = BL_WHY_FITS;
    } else {
        evict = share > r->low;
        why = evict ? BL_WHY_PRESSURE : BL_WHY_BELOW_LOW;
    }
    int rc = tell(r, run, evict ? "evict" : "keep", why, module, err);
    return rc || !evict ? rc : bl_builder_evict(&r->b, module, run - 1, err);
}

/* The largest module but `self` that has blocks on the device and was not looked at; -1 when none is left. */
static int largest_other(const rule *r, int self, const bool *seen) {
    int best = -1;
    for (int m = 0; m < r->b.p->module_count; m++) {
        if (m != self && !seen[m] && r->b.resident_bytes[m] &&
            (best < 0 || r->b.p->modules[m].bytes > r->b.p->modules[best].bytes)) {
            best = m;
        }
    }
    return best;
}

/* Puts in what is missing of the first `count` blocks of the phase's module; false in *fits when the high
 * watermark or the region forbids it (then the plan is as it was). */
static int load_first(rule *r, int phase, int count, bool *fits, bl_error *err) {
    bl_builder *b = &r->b;
    const bl_problem *p = b->p;
    int m = p->phases[phase].module, run = p->phases[phase].first_run, mark = b->plan->move_count, rc = 0;
    uint64_t arena = b->plan->phases[phase].arena_bytes, limit = (uint64_t)(r->high * (double)r->memory);
    *fits = true;
    b->why = BL_WHY_NEEDED;
    for (int k = 0; k < count && !rc && *fits; k++) {
        uint64_t bytes = p->modules[m].blocks[k].bytes, offset;
        if (b->at[m][k] != BL_NOWHERE) {
            continue;
        }
        *fits = b->used_bytes + bytes <= limit &&
                bl_space_top_fit(&b->space, arena, b->plan->region_bytes, bytes, &offset);
        if (*fits) {
            rc = bl_builder_onload(b, m, k, offset, run - 1, run, err);
        }
    }
    if (!*fits) {
        bl_builder_undo(b, mark);
    }
    return rc;
}

/* The longest prefix that leaves room for a slot that the rest goes through. */
static int load_prefix(rule *r, int phase, bool *works, bl_error *err) {
    bl_builder *b = &r->b;
    const bl_problem_module *mod = &b->p->modules[b->p->phases[phase].module];
    int m = b->p->phases[phase].module, run = b->p->phases[phase].first_run, mark = b->plan->move_count,
        rc = 0;
    uint64_t largest_rest = 0;
    *works = false;
    for (int count = mod->block_count - 1; count >= 0 && !rc && !*works; count--) {
        uint64_t bytes = mod->blocks[count].bytes;
        largest_rest = bytes > largest_rest ? bytes : largest_rest;
        b->why = BL_WHY_SLOT;
        for (int k = count; k < mod->block_count && !rc; k++) {
            rc = bl_builder_drop(b, m, k, run - 1, err);
        }
        bool fits = false;
        if (!rc) {
            rc = load_first(r, phase, count, &fits, err);
        }
        *works = fits && bl_space_top_fit(&b->space, b->plan->phases[phase].arena_bytes,
                                          b->plan->region_bytes, largest_rest, &r->slot);
        r->slot_blocks = count;
        if (!*works) {
            bl_builder_undo(b, mark);
        }
    }
    return rc;
}

/* Brings the phase's module in; while it does not fit, other modules go by force, the largest first. */
static int bring_in(rule *r, int phase, bl_error *err) {
    int m = r->b.p->phases[phase].module, run = r->b.p->phases[phase].first_run, rc = 0;
    int blocks = r->b.p->modules[m].block_count;
    uint64_t there = r->b.resident_bytes[m];
    bool seen[BL_PROBLEM_MODULES] = {false}, fits = false;
    for (;;) {
        rc = load_first(r, phase, blocks, &fits, err);
        int other = largest_other(r, m, seen);
        if (rc || fits || other < 0) {
            break;
        }
        seen[other] = true;
        rc = tell(r, run, "evict", BL_WHY_ROOM, other, err);
        if (!rc) {
            rc = bl_builder_evict(&r->b, other, run - 1, err);
        }
        if (rc) {
            return rc;
        }
    }
    r->slot_blocks = blocks;
    if (!rc && !fits) {
        rc = load_prefix(r, phase, &fits, err);
        if (!rc && !fits) {
            return bl_fail(err, BL_E_INTERNAL, "--offload balanced found no room for a block");
        }
    }
    if (!rc && there != r->b.p->modules[m].bytes) {
        rc = tell(r, run, r->slot_blocks == blocks ? "onload" : "stream", BL_WHY_NEEDED, m, err);
    }
    return rc;
}

static int run_phase(rule *r, int phase, bl_error *err) {
    const bl_problem *p = r->b.p;
    const bl_problem_phase *f = &p->phases[phase];
    int blocks = p->modules[f->module].block_count, rc = 0;
    if (r->slot_blocks == blocks) {
        return 0;
    }
    for (int k = 0; k < blocks * f->passes && !rc; k++) {
        int block = k % blocks, run = f->first_run + k;
        if (block >= r->slot_blocks) {
            r->b.why = BL_WHY_NEEDED;
            rc = bl_builder_onload(&r->b, f->module, block, r->slot, run - 1, run, err);
            if (!rc) {
                r->b.why = BL_WHY_DONE;
                rc = bl_builder_drop(&r->b, f->module, block, run, err);
            }
        }
    }
    return rc;
}

static int before_phase(rule *r, int phase, bl_error *err) {
    const bl_problem *p = r->b.p;
    int m = p->phases[phase].module, run = p->phases[phase].first_run;
    uint64_t arena = r->b.plan->phases[phase].arena_bytes;
    bool seen[BL_PROBLEM_MODULES] = {false};
    int rc = 0, last = phase > 0 ? phase - 1 : bl_problem_repeats(p) ? p->phase_count - 1 : 0;
    uint64_t before = r->b.plan->phases[last].arena_bytes;
    r->activations = arena > before ? arena : before;
    /* The rule looks when a module begins, not when it is called again. */
    bool begins = phase == 0 || p->phases[phase - 1].module != m;
    for (int other; begins && !rc && (other = largest_other(r, m, seen)) >= 0;) {
        seen[other] = true;
        rc = decide(r, run, other, err);
    }
    for (int i = 0; i < r->b.space.count && !rc; i++) {
        int other = r->b.space.items[i].module;
        if (other != m && r->b.space.items[i].offset < arena) {
            rc = tell(r, run, "evict", BL_WHY_ROOM, other, err);
            if (!rc) {
                rc = bl_builder_evict(&r->b, other, run - 1, err);
            }
            i = -1;
        }
    }
    if (!rc) {
        rc = bl_builder_clear_below(&r->b, arena, run - 1, err);
    }
    return rc ? rc : bring_in(r, phase, err);
}

int bl_balanced_plan(bl_plan *plan, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    rule r = {.s = s};
    r.memory = p->memory_bytes ? p->memory_bytes : p->budget_bytes;
    bl_offload_watermarks(s, r.memory, &r.low, &r.high);
    r.never = bl_offload_never(s, r.memory);
    uint64_t limit = (uint64_t)(r.high * (double)r.memory);
    r.fits = plan->working_set_bytes <= (limit < p->budget_bytes ? limit : p->budget_bytes);
    int rc = bl_builder_open(&r.b, p, plan, err);
    for (int i = 0; i < p->phase_count && !rc; i++) {
        rc = before_phase(&r, i, err);
        if (!rc) {
            rc = run_phase(&r, i, err);
        }
    }
    bl_builder_close(&r.b);
    return rc;
}
