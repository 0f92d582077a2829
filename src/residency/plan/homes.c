#include "residency/plan/homes.h"

#include "core/splitmix.h"
#include "residency/plan/passage.h"
#include "residency/plan/spread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What choosing the residents of one phase may cost: changes that are looked into, blocks walked over. */
static const long changes_most = 2000, work_most = 60000;

typedef struct chooser {
    const bl_problem *p;
    const bl_problem_module *m;
    const double *seconds; /* of each block */
    double *before;        /* [block_count + 1] of the blocks before each */
    const uint8_t *fixed;  /* 1: resident whatever the rest does */
    uint8_t *pin, *best;
    bl_problem_block *small; /* [block_count] of a start: the blocks that are left to choose from, ... */
    double *share;           /* ... the seconds of each, ... */
    uint8_t *small_pin;      /* ... and the choice */
    uint64_t room, pinned;   /* bytes; `pinned` of those that `pin` says */
    double streamed;         /* copy seconds of the others */
    double weight;           /* what a second of these counts */
    uint64_t random;
    long work;
} chooser;

enum { passes_walked = 2 };

/* Bytes streamed beside compute cost what they slow it down, and of two ways that are as fast the one that
 * streams less leaves more for the neighbours. */
static const double byte_weight = 0.1;

static void count_pins(chooser *c) {
    c->pinned = 0;
    c->streamed = 0;
    for (int b = 0; b < c->m->block_count; b++) {
        c->pinned += c->pin[b] ? c->m->blocks[b].bytes : 0;
        c->streamed += c->pin[b] ? 0 : c->m->blocks[b].copy_seconds;
    }
}

static void flip(chooser *c, int block) {
    c->pin[block] ^= 1;
    c->pinned += c->pin[block] ? c->m->blocks[block].bytes : -c->m->blocks[block].bytes;
    c->streamed += (c->pin[block] ? -1 : 1) * c->m->blocks[block].copy_seconds;
}

/* The first block from `from` on that is not a resident; block_count: none. */
static int next_streamed(const chooser *c, int from) {
    int n = c->m->block_count;
    const uint8_t *found = from < n ? memchr(c->pin + from, 0, (size_t)(n - from)) : NULL;
    return found ? (int)(found - c->pin) : n;
}

/* Seconds of a pass, in the long run, with these residents: streamed blocks share what they leave of the
 * room. INFINITY when one does not fit there, or as soon as it is seen that it takes `limit` or longer. */
static double pass_seconds(chooser *c, double limit) {
    const bl_problem_module *m = c->m;
    bl_passage w = {.bytes = c->room - c->pinned};
    double compute = 0, copy = 0, began = INFINITY;
    int n = m->block_count;
    for (int pass = 0; pass < passes_walked; pass++) {
        double copies = c->streamed; /* to come in this pass */
        int last = 0;                /* block that runs next */
        for (int b = next_streamed(c, 0); b < n; b = next_streamed(c, b + 1)) {
            const bl_problem_block *x = &m->blocks[b];
            c->work++;
            compute += c->before[b] - c->before[last];
            last = b + 1;
            if (x->bytes > w.bytes) {
                return INFINITY;
            }
            bl_passage_leave(&w, copy);
            int at = bl_passage_enter(&w, x->bytes);
            while (at < 0) { /* once the next of them has run */
                copy = bl_passage_next(&w);
                bl_passage_leave(&w, copy);
                at = bl_passage_enter(&w, x->bytes);
                c->work++;
            }
            copy = (c->p->async_copy ? copy : compute) + x->copy_seconds;
            copies -= x->copy_seconds;
            compute = (compute > copy ? compute : copy) + c->seconds[b];
            w.in[at].end = compute;
            if (compute + c->before[n] - c->before[last] - began >= limit || copy + copies - began >= limit) {
                return INFINITY;
            }
        }
        compute += c->before[n] - c->before[last];
        if (pass + 2 == passes_walked) {
            began = compute;
        }
    }
    return compute - began;
}

/* INFINITY, too, where it is seen at once that it is not below `limit`. */
static double value(chooser *c, double limit) {
    if (c->pinned > c->room || c->streamed * (1 + c->weight) >= limit) {
        return INFINITY;
    }
    return pass_seconds(c, limit - c->weight * c->streamed) + c->weight * c->streamed;
}

/* The same problem gets the same plan. */
static double unit_random(chooser *c) {
    return bl_splitmix_unit(&c->random);
}

/* Simulated annealing (Kirkpatrick, Gelatt, Vecchi 1983): changes one resident or exchanges two; what is
 * worse is taken less and less. Leaves the best in `best`. */
static void anneal(chooser *c, double least, long work) {
    int n = c->m->block_count;
    double now = least;
    long end = c->work + work;
    while (c->work < end) {
        double heat = 0.03 * least * pow(0.01, 1 - (double)(end - c->work) / (double)work);
        int a = (int)(unit_random(c) * n), b = (int)(unit_random(c) * n);
        c->work++;
        bool two = a != b && unit_random(c) < 0.9;
        if (c->fixed[a] || (two && c->fixed[b])) {
            continue;
        }
        flip(c, a);
        if (two) {
            flip(c, b);
        }
        double limit = now - heat * log(1 - unit_random(c)), then = value(c, limit);
        if (then >= limit) {
            flip(c, a);
            if (two) {
                flip(c, b);
            }
            continue;
        }
        now = then;
        if (now < least) {
            least = now;
            memcpy(c->best, c->pin, (size_t)n);
        }
    }
}

/* A start: a window of `window` bytes; what is larger than half of it stays, so that any two that are
 * streamed fit side by side, and of the rest those that streaming as evenly as possible leaves. False when
 * that is no choice at all. */
static bool start(chooser *c, uint64_t window, uint64_t half) {
    const bl_problem_module *m = c->m;
    bl_problem_module small = {.copy_seconds = 0};
    uint64_t pinned = 0;
    double skipped = 0;
    for (int b = 0; b < m->block_count; b++) {
        skipped += c->seconds[b];
        c->pin[b] = c->fixed[b] || m->blocks[b].bytes > half;
        if (c->pin[b]) {
            pinned += m->blocks[b].bytes;
            continue;
        }
        c->small[small.block_count] = m->blocks[b];
        c->share[small.block_count++] = skipped; /* what runs since the last of them */
        small.bytes += m->blocks[b].bytes;
        small.copy_seconds += m->blocks[b].copy_seconds;
        skipped = 0;
    }
    if (!small.block_count || pinned + window > c->room) {
        return false;
    }
    small.blocks = c->small;
    c->share[0] += skipped;
    bl_spread(c->small_pin, &small, c->share, c->room - pinned, window);
    for (int b = 0, k = 0; b < m->block_count; b++) {
        if (!c->pin[b]) {
            c->pin[b] = c->small_pin[k++];
        }
    }
    return true;
}

/* The best start of several, then step by step. */
static void choose(chooser *c, long work) {
    size_t n = (size_t)c->m->block_count;
    double least = INFINITY;
    memcpy(c->best, c->fixed, n);
    for (int w = 4; w <= 24; w++) {
        for (int all = 0; all < 2; all++) {
            uint64_t window = c->m->largest_block / 8 * (uint64_t)w * (all ? 2 : 1);
            if (!start(c, window, all ? UINT64_MAX : c->p->async_copy ? window / 2 : window)) {
                continue;
            }
            count_pins(c);
            double now = value(c, least);
            if (now < least) {
                least = now;
                memcpy(c->best, c->pin, n);
            }
        }
    }
    memcpy(c->pin, c->best, n);
    count_pins(c);
    anneal(c, value(c, INFINITY), work);
    memcpy(c->pin, c->best, n);
}

void bl_homes_free(bl_homes *l) {
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(l->home[m]);
    }
    for (int i = 0; i < BL_PROBLEM_PHASES; i++) {
        free(l->pin[i]);
    }
    memset(l, 0, sizeof *l);
}

int bl_homes_next_tighter(const bl_problem *p, const int *levels, int module, int above) {
    int found = -1;
    for (int i = 0; i < p->phase_count; i++) {
        uint64_t arena = p->phases[i].levels[levels[i]].arena_bytes;
        if (p->phases[i].module != module) {
            continue;
        }
        if (above >= 0) {
            uint64_t last = p->phases[above].levels[levels[above]].arena_bytes;
            if (arena > last || (arena == last && i <= above)) {
                continue;
            }
        }
        if (found < 0 || arena > p->phases[found].levels[levels[found]].arena_bytes) {
            found = i;
        }
    }
    return found;
}

/* From the phase with the least room on: its residents stay residents where there is more, and lie highest.
 */
static int lay_out(bl_homes *l, const bl_problem *p, const int *levels, int module, uint64_t region_bytes,
                   int seed, bl_error *err) {
    const bl_problem_module *m = &p->modules[module];
    size_t n = (size_t)m->block_count;
    chooser c = {.p = p, .m = m, .random = (uint64_t)seed, .weight = byte_weight + bl_problem_drag(p)};
    uint8_t *fixed = calloc(n, 1);
    c.before = calloc(n + 1, sizeof *c.before);
    c.best = malloc(n);
    c.small = malloc(n * sizeof *c.small);
    c.share = malloc(n * sizeof *c.share);
    c.small_pin = malloc(n);
    l->home[module] = malloc(n * sizeof *l->home[module]);
    c.fixed = fixed;
    uint64_t top = region_bytes;
    int rc = fixed && c.before && c.best && c.small && c.share && c.small_pin && l->home[module]
                 ? 0
                 : bl_fail_memory(err, "the planner's residents", n * sizeof *c.small);
    for (size_t b = 0; b < n && !rc; b++) {
        l->home[module][b] = BL_NOWHERE;
    }
    for (int i = rc ? -1 : bl_homes_next_tighter(p, levels, module, -1); i >= 0 && !rc;
         i = bl_homes_next_tighter(p, levels, module, i)) {
        const bl_problem_level *level = &p->phases[i].levels[levels[i]];
        l->pin[i] = malloc(n);
        if (!l->pin[i]) {
            rc = bl_fail_memory(err, "the planner's residents", n);
            break;
        }
        c.pin = l->pin[i];
        c.seconds = level->block_seconds;
        for (size_t b = 0; b < n; b++) {
            c.before[b + 1] = c.before[b] + c.seconds[b];
        }
        c.room = region_bytes - level->arena_bytes;
        long work = changes_most * m->block_count * passes_walked;
        choose(&c, work < work_most ? work : work_most);
        l->work += c.work;
        c.work = 0;
        for (size_t b = 0; b < n; b++) {
            if (c.pin[b] && !fixed[b]) {
                fixed[b] = 1;
                top -= m->blocks[b].bytes;
                l->home[module][b] = top;
            }
        }
        l->window[i] = top;
    }
    free(fixed);
    free(c.before);
    free(c.best);
    free(c.small);
    free(c.share);
    free(c.small_pin);
    return rc;
}

int bl_homes_find(bl_homes *out, const bl_problem *p, const int *levels, uint64_t region_bytes, int seed,
                  bl_error *err) {
    memset(out, 0, sizeof *out);
    for (int m = 0; m < p->module_count; m++) {
        int i = bl_homes_next_tighter(p, levels, m, -1);
        if (i < 0 || p->modules[m].bytes <= region_bytes - p->phases[i].levels[levels[i]].arena_bytes) {
            continue;
        }
        out->any = true;
        int rc = lay_out(out, p, levels, m, region_bytes, seed, err);
        if (rc) {
            bl_homes_free(out);
            return rc;
        }
    }
    return 0;
}
