#include "residency/problem/problem.h"

#include "core/checked.h"
#include "residency/problem/follow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ALIGNMENT (2 << 20) /* a large page */

int bl_problem_new(bl_problem **out, bl_error *err) {
    *out = NULL;
    bl_problem *p = calloc(1, sizeof *p);
    if (!p) {
        return bl_fail_memory(err, "a planning problem", sizeof *p);
    }
    p->generation_count = 1;
    p->alignment = BL_ALIGN;
    *out = p;
    return 0;
}

void bl_problem_free(bl_problem **pp) {
    bl_problem *p = *pp;
    if (!p) {
        return;
    }
    for (int m = 0; m < p->module_count; m++) {
        free(p->modules[m].blocks);
    }
    for (int i = 0; i < p->listed_phases; i++) {
        for (int l = 0; l < p->phases[i].level_count; l++) {
            free(p->phases[i].levels[l].block_seconds);
        }
    }
    free(p->modules);
    free(p->phases);
    free(p);
    *pp = NULL;
}

int bl_problem_copy_modules(bl_problem **out, const bl_problem *from, bl_error *err) {
    *out = NULL;
    bl_problem *p;
    int rc = bl_problem_new(&p, err);
    for (int m = 0; m < from->module_count && !rc; m++) {
        const bl_problem_module *a = &from->modules[m];
        int number = 0;
        rc = bl_problem_add_module(&number, p, a->name, a->dtype, a->blocks, a->block_count, err);
        if (!rc) {
            p->modules[number].id = a->id;
            snprintf(p->modules[number].model, sizeof a->model, "%s", a->model);
        }
    }
    if (rc) {
        bl_problem_free(&p);
        return rc;
    }
    p->memory_bytes = from->memory_bytes;
    p->budget_bytes = from->budget_bytes;
    p->reserved_bytes = from->reserved_bytes;
    p->process_bytes = from->process_bytes;
    p->own_bytes = from->own_bytes;
    p->open_bytes = from->open_bytes;
    p->copy_rate = from->copy_rate;
    p->copy_latency = from->copy_latency;
    p->async_copy = from->async_copy;
    p->copy_slowdown = from->copy_slowdown;
    p->has_store = from->has_store;
    p->host_bytes = from->host_bytes;
    p->load_rate = from->load_rate;
    p->load_latency = from->load_latency;
    p->alignment = from->alignment;
    *out = p;
    return 0;
}

int bl_problem_copy_phases(bl_problem *p, const bl_problem *from, int generation, bl_error *err) {
    const bl_problem_generation *g = &from->generations[generation];
    int rc = 0;
    for (int i = g->first_phase; i < g->first_phase + g->phase_count && !rc; i++) {
        const bl_problem_phase *a = &from->phases[i];
        int number;
        rc = bl_problem_add_phase(&number, p, a->name, a->stage, a->module, a->passes,
                                  a->levels[0].arena_bytes, a->levels[0].block_seconds, err);
        for (int l = 1; l < a->level_count && !rc; l++) {
            rc = bl_problem_add_level(p, number, a->levels[l].arena_bytes, a->levels[l].block_seconds, err);
        }
        for (int l = 0; l < a->level_count && !rc; l++) {
            p->phases[number].levels[l].widen_seconds = a->levels[l].widen_seconds;
        }
    }
    return rc;
}

int bl_problem_copy(bl_problem **out, const bl_problem *from, bl_error *err) {
    *out = NULL;
    bl_problem *p;
    int rc = bl_problem_copy_modules(&p, from, err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < from->generation_count && !rc; i++) {
        rc = i ? bl_problem_add_generation(p, err) : 0;
        rc = rc ? rc : bl_problem_copy_phases(p, from, i, err);
    }
    memcpy(p->followers, from->followers, sizeof p->followers);
    p->follower_count = from->follower_count;
    rc = rc ? rc : bl_problem_finish(p, err);
    if (rc) {
        bl_problem_free(&p);
        return rc;
    }
    *out = p;
    return 0;
}

int bl_problem_add_module(int *out, bl_problem *p, const char *name, const char *dtype,
                          const bl_problem_block *blocks, int count, bl_error *err) {
    if (p->module_count == BL_PROBLEM_MODULES || count < 1 || count > BL_PROBLEM_BLOCKS) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "module %s: %d blocks; from 1 to %d blocks in at most %d modules work", name, count,
                       BL_PROBLEM_BLOCKS, BL_PROBLEM_MODULES);
    }
    bl_problem_module *modules = realloc(p->modules, (size_t)(p->module_count + 1) * sizeof *modules);
    if (!modules) {
        return bl_fail_memory(err, "the list of modules", sizeof *modules);
    }
    p->modules = modules;
    bl_problem_module *m = &modules[p->module_count];
    memset(m, 0, sizeof *m);
    m->blocks = malloc((size_t)count * sizeof *m->blocks);
    if (!m->blocks) {
        return bl_fail_memory(err, "the list of blocks", (size_t)count * sizeof *m->blocks);
    }
    memcpy(m->blocks, blocks, (size_t)count * sizeof *m->blocks);
    m->block_count = count;
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->dtype, sizeof m->dtype, "%s", dtype);
    m->id = p->module_count;
    *out = p->module_count++;
    return 0;
}

static int level_set(bl_problem_level *l, int blocks, uint64_t arena_bytes, const double *block_seconds,
                     bl_error *err) {
    double *seconds = malloc((size_t)blocks * sizeof *seconds);
    if (!seconds) {
        return bl_fail_memory(err, "a phase's times", (size_t)blocks * sizeof *seconds);
    }
    memcpy(seconds, block_seconds, (size_t)blocks * sizeof *seconds);
    l->arena_bytes = arena_bytes;
    l->block_seconds = seconds;
    return 0;
}

int bl_problem_add_phase(int *out, bl_problem *p, const char *name, const char *stage, int module, int passes,
                         uint64_t arena_bytes, const double *block_seconds, bl_error *err) {
    if (p->listed_phases == BL_PROBLEM_PHASES) {
        return bl_fail(err, BL_E_ARGUMENT, "generations of more than %d phases", BL_PROBLEM_PHASES);
    }
    if (module < 0 || module >= p->module_count || passes < 1) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %s: module %d of %d, %d passes", name, module,
                       p->module_count, passes);
    }
    bl_problem_phase *phases = realloc(p->phases, (size_t)(p->listed_phases + 1) * sizeof *phases);
    if (!phases) {
        return bl_fail_memory(err, "the list of phases", sizeof *phases);
    }
    p->phases = phases;
    bl_problem_phase *f = &phases[p->listed_phases];
    memset(f, 0, sizeof *f);
    int rc = level_set(&f->levels[0], p->modules[module].block_count, arena_bytes, block_seconds, err);
    if (rc) {
        return rc;
    }
    f->level_count = 1;
    f->module = module;
    f->passes = passes;
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->stage, sizeof f->stage, "%s", stage);
    *out = p->listed_phases++;
    p->generations[p->generation_count - 1].phase_count++;
    p->phase_count = p->generations[0].phase_count;
    return 0;
}

int bl_problem_add_level(bl_problem *p, int phase, uint64_t arena_bytes, const double *block_seconds,
                         bl_error *err) {
    if (phase < 0 || phase >= p->listed_phases || p->phases[phase].level_count == BL_PROBLEM_LEVELS) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %d: no room for another arena level", phase);
    }
    bl_problem_phase *f = &p->phases[phase];
    if (arena_bytes >= f->levels[f->level_count - 1].arena_bytes) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %s: arena level %d is not smaller than the one before",
                       f->name, f->level_count);
    }
    int rc = level_set(&f->levels[f->level_count], p->modules[f->module].block_count, arena_bytes,
                       block_seconds, err);
    if (rc) {
        return rc;
    }
    f->level_count++;
    return 0;
}

/* What concerns the host store; without one, that there is nothing. */
static int finish_stored(const bl_problem *p, const bl_problem_module *m, bl_problem_block *k,
                         bl_error *err) {
    if (!p->has_store) {
        k->load_seconds = 0;
        k->stored_at = BL_NOWHERE;
        return 0;
    }
    if (!(k->load_seconds >= 0)) {
        uint64_t bytes = k->source_bytes ? k->source_bytes : k->bytes;
        k->load_seconds = p->load_latency + (double)bytes / p->load_rate + k->merge_seconds;
    }
    if (!isfinite(k->load_seconds)) {
        return bl_fail(err, BL_E_ARGUMENT, "module %s, block %s: no finite load time", m->name, k->name);
    }
    if (k->stored_at != BL_NOWHERE &&
        (k->stored_at > p->host_bytes || k->bytes > p->host_bytes - k->stored_at)) {
        return bl_fail(err, BL_E_ARGUMENT, "module %s, block %s: lies outside the host store", m->name,
                       k->name);
    }
    return 0;
}

static int finish_module(bl_problem *p, bl_problem_module *m, bl_error *err) {
    m->bytes = 0;
    m->largest_block = 0;
    m->copy_seconds = 0;
    m->load_seconds = 0;
    for (int b = 0; b < m->block_count; b++) {
        bl_problem_block *k = &m->blocks[b];
        if (k->bytes > UINT64_MAX / 2 ||
            !bl_add_u64(m->bytes, bl_problem_room(k->bytes, p->alignment), &m->bytes) ||
            m->bytes > UINT64_MAX / 4) {
            return bl_fail(err, BL_E_ARGUMENT, "module %s: its blocks are too large to add up", m->name);
        }
        k->bytes = bl_problem_room(k->bytes, p->alignment);
        if (!(k->copy_seconds >= 0)) {
            k->copy_seconds = p->copy_latency + (double)k->bytes / p->copy_rate;
            k->copy_seconds += p->has_store ? 0 : k->merge_seconds;
        }
        if (!isfinite(k->copy_seconds)) {
            return bl_fail(err, BL_E_ARGUMENT, "module %s, block %s: no finite copy time", m->name, k->name);
        }
        if (k->resident_at != BL_NOWHERE &&
            (k->resident_at > p->open_bytes || k->bytes > p->open_bytes - k->resident_at)) {
            return bl_fail(err, BL_E_ARGUMENT, "module %s, block %s: lies outside the open region", m->name,
                           k->name);
        }
        int rc = finish_stored(p, m, k, err);
        if (rc) {
            return rc;
        }
        m->copy_seconds += k->copy_seconds;
        m->load_seconds += k->load_seconds;
        if (k->bytes > m->largest_block) {
            m->largest_block = k->bytes;
        }
    }
    return 0;
}

static int finish_generation(const bl_problem *p, bl_problem_generation *g, bl_error *err) {
    int64_t runs = 0;
    if (g->phase_count < 1) {
        return bl_fail(err, BL_E_ARGUMENT, "a generation without phases");
    }
    for (int i = g->first_phase; i < g->first_phase + g->phase_count; i++) {
        bl_problem_phase *f = &p->phases[i];
        const bl_problem_module *m = &p->modules[f->module];
        f->first_run = (int)runs;
        runs += (int64_t)f->passes * m->block_count;
        if (runs > BL_PROBLEM_RUNS) {
            return bl_fail(err, BL_E_ARGUMENT, "a generation of more than %d block runs", BL_PROBLEM_RUNS);
        }
        for (int l = 0; l < f->level_count; l++) {
            bl_problem_level *v = &f->levels[l];
            if (v->arena_bytes > UINT64_MAX / 4) {
                return bl_fail(err, BL_E_ARGUMENT, "phase %s: an arena of 2^62 bytes or more", f->name);
            }
            v->arena_bytes = bl_align_up(v->arena_bytes, p->alignment);
            v->pass_seconds = 0;
            for (int b = 0; b < m->block_count; b++) {
                if (!(v->block_seconds[b] >= 0) || !isfinite(v->block_seconds[b])) {
                    return bl_fail(err, BL_E_ARGUMENT, "phase %s, block %d: %g seconds", f->name, b,
                                   v->block_seconds[b]);
                }
                v->pass_seconds += v->block_seconds[b];
            }
        }
    }
    g->run_count = (int)runs;
    return 0;
}

int bl_problem_finish(bl_problem *p, bl_error *err) {
    if (p->alignment < BL_ALIGN || p->alignment > MOST_ALIGNMENT || p->alignment & (p->alignment - 1)) {
        return bl_fail(err, BL_E_ARGUMENT, "an alignment of %llu bytes is no power of two from %d to %d",
                       (unsigned long long)p->alignment, BL_ALIGN, MOST_ALIGNMENT);
    }
    if (!(p->copy_rate > 0) || !(p->copy_latency >= 0) || !isfinite(p->copy_rate) ||
        !isfinite(p->copy_latency)) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "a copy rate of %g bytes/s with %g s latency cannot be planned with", p->copy_rate,
                       p->copy_latency);
    }
    if (!(p->copy_slowdown >= 0) || p->copy_slowdown > BL_PROBLEM_SLOWDOWN) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "compute that takes longer by a share of %g beside copies cannot be planned with: a "
                       "share from 0 to %g",
                       p->copy_slowdown, BL_PROBLEM_SLOWDOWN);
    }
    if (p->has_store && (!p->async_copy || !(p->load_rate > 0) || !(p->load_latency >= 0) ||
                         !isfinite(p->load_rate) || !isfinite(p->load_latency))) {
        return bl_fail(
            err, BL_E_ARGUMENT,
            "a host store cannot be planned with when it is filled at %g bytes/s with %g s latency%s",
            p->load_rate, p->load_latency, p->async_copy ? "" : ", and copies share the cores");
    }
    p->host_bytes = p->host_bytes / p->alignment * p->alignment; /* blocks lie from its end on down, too */
    for (int m = 0; m < p->module_count; m++) {
        int rc = finish_module(p, &p->modules[m], err);
        if (rc) {
            return rc;
        }
    }
    for (int g = 0; g < p->generation_count; g++) {
        int rc = finish_generation(p, &p->generations[g], err);
        if (rc) {
            return rc;
        }
    }
    p->run_count = p->generations[0].run_count;
    return bl_problem_check_followers(p, err);
}

void bl_problem_clear_resident(bl_problem *p) {
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].resident_at = BL_NOWHERE;
        }
    }
    p->open_bytes = 0;
}

void bl_problem_clear_stored(bl_problem *p) {
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].stored_at = BL_NOWHERE;
        }
    }
}

uint64_t bl_problem_min_host(const bl_problem *p) {
    uint64_t least = 0;
    for (int i = 0; i < p->phase_count && p->has_store; i++) {
        uint64_t bytes = p->modules[p->phases[i].module].largest_block;
        least = bytes > least ? bytes : least;
    }
    return least;
}

uint64_t bl_problem_room(uint64_t bytes, uint64_t alignment) {
    return bytes ? bl_align_up(bytes, alignment) : alignment;
}

uint64_t bl_problem_most_region(const bl_problem *p) {
    return p->budget_bytes / p->alignment * p->alignment;
}

uint64_t bl_problem_weights(const bl_problem *p, int first, int count) {
    bool counted[BL_PROBLEM_MODULES] = {false};
    uint64_t sum = 0;
    for (int i = first; i < first + count; i++) {
        int m = p->phases[i].module;
        sum += counted[m] ? 0 : p->modules[m].bytes;
        counted[m] = true;
    }
    return sum;
}

uint64_t bl_problem_least_arena(const bl_problem *p, int phase) {
    const bl_problem_phase *f = &p->phases[phase];
    return f->levels[f->level_count - 1].arena_bytes;
}

double bl_problem_one_by_one(const bl_problem *p) {
    double sum = 0;
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        const bl_problem_module *m = &p->modules[f->module];
        sum += f->passes * (f->levels[0].pass_seconds + m->copy_seconds + m->load_seconds);
    }
    return sum;
}

uint64_t bl_problem_working_set(const bl_problem *p) {
    uint64_t arena = 0;
    for (int i = 0; i < p->listed_phases; i++) {
        uint64_t bytes = p->phases[i].levels[0].arena_bytes;
        arena = bytes > arena ? bytes : arena;
    }
    return bl_problem_weights(p, 0, p->listed_phases) + arena;
}

static uint64_t phase_floor(const bl_problem *p, int phase) {
    return bl_problem_least_arena(p, phase) + p->modules[p->phases[phase].module].largest_block;
}

int bl_problem_hungriest(const bl_problem *p) {
    int worst = 0;
    for (int i = 1; i < p->phase_count; i++) {
        if (phase_floor(p, i) > phase_floor(p, worst)) {
            worst = i;
        }
    }
    return worst;
}

uint64_t bl_problem_min_budget(const bl_problem *p) {
    return phase_floor(p, bl_problem_hungriest(p));
}

int bl_problem_phase_of(const bl_problem *p, int run) {
    int lo = 0, hi = p->phase_count - 1;
    while (lo < hi) {
        int mid = (lo + hi + 1) / 2;
        if (p->phases[mid].first_run <= run) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

double bl_problem_first_seconds(const bl_problem *p) {
    double sum = 0;
    for (int m = 0; m < p->module_count; m++) {
        bool runs = false;
        for (int i = 0; i < p->phase_count; i++) {
            runs = runs || p->phases[i].module == m;
        }
        for (int b = 0; runs && b < p->modules[m].block_count; b++) {
            const bl_problem_block *k = &p->modules[m].blocks[b];
            sum += k->came || k->resident_at != BL_NOWHERE ? 0 : k->first_seconds;
        }
    }
    return sum;
}
