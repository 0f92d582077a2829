#include "residency/plan/split.h"

#include "core/splitmix.h"
#include "residency/plan/passage.h"
#include "residency/plan/spread.h"

#include <stdlib.h>

typedef struct chooser {
    const bl_split *x;
    double *before;           /* [block_count + 1] seconds of the blocks before each */
    uint8_t *kind, *best;     /* [block_count] */
    uint8_t *chosen, *more;   /* [block_count] of a start */
    uint64_t bytes[BL_KINDS]; /* of each kind */
    double copies, loads;     /* seconds of a pass's */
    uint64_t random;
    long work;
} chooser;

/* The loader has to find its pace. */
enum { passes_walked = 3 };

/* What is brought beside compute costs nothing, but of two ways that are as fast the one that brings less
 * leaves more for the neighbours. */
static const double byte_weight = 0.05;

static void count(chooser *c, int block, int sign) {
    const bl_problem_block *b = &c->x->m->blocks[block];
    c->bytes[c->kind[block]] += sign < 0 ? -b->bytes : b->bytes;
    c->copies += c->kind[block] != BL_KIND_DEVICE ? sign * b->copy_seconds : 0;
    c->loads += c->kind[block] == BL_KIND_FILE ? sign * b->load_seconds : 0;
}

static void count_all(chooser *c) {
    memset(c->bytes, 0, sizeof c->bytes);
    c->copies = c->loads = 0;
    for (int b = 0; b < c->x->m->block_count; b++) {
        count(c, b, 1);
    }
}

static void set(chooser *c, int block, uint8_t kind) {
    count(c, block, -1);
    c->kind[block] = kind;
    count(c, block, 1);
}

/* When the window has a place: *now, or later. Returns its number. */
static int enter(bl_passage *w, uint64_t bytes, double *now) {
    bl_passage_leave(w, *now);
    int at = bl_passage_enter(w, bytes);
    while (at < 0) {
        *now = bl_passage_next(w);
        bl_passage_leave(w, *now);
        at = bl_passage_enter(w, bytes);
    }
    return at;
}

/* When work begins that could begin at `at`: not before `edge` unless it ends by then. */
static double begin(double at, double seconds, double edge) {
    return at < edge && at + seconds > edge ? edge : at;
}

/* Seconds of a pass, in the long run: what does not stay on the device goes through a window there, what
 * comes out of the file through a ring in the store before. INFINITY when a block does not fit, or as soon as
 * it is seen that it takes `limit` or longer. */
static double pass_seconds(chooser *c, double limit) {
    const bl_problem_module *m = c->x->m;
    bl_passage window = {.bytes = c->x->room - c->bytes[BL_KIND_DEVICE]},
               ring = {.bytes = c->x->host - c->bytes[BL_KIND_STORE]};
    double compute = 0, copy = 0, load = 0, began = INFINITY;
    int n = m->block_count;
    for (int pass = 0; pass < passes_walked; pass++) {
        double copies = c->copies, edge = c->x->settles ? compute : 0;
        int last = 0; /* block that runs next */
        for (int b = 0; b < n; b++) {
            const bl_problem_block *x = &m->blocks[b];
            if (c->kind[b] == BL_KIND_DEVICE) {
                continue;
            }
            if (x->bytes > window.bytes || (c->kind[b] == BL_KIND_FILE && x->bytes > ring.bytes)) {
                return INFINITY;
            }
            c->work++;
            compute += c->before[b] - c->before[last];
            last = b + 1;
            int from = c->kind[b] == BL_KIND_FILE ? enter(&ring, x->bytes, &load) : -1;
            int to = enter(&window, x->bytes, &copy);
            if (from >= 0) {
                load = begin(load, x->load_seconds, edge) + x->load_seconds;
                copy = load > copy ? load : copy;
            }
            copy = begin(copy, x->copy_seconds, edge) + x->copy_seconds;
            copies -= x->copy_seconds;
            compute = (compute > copy ? compute : copy) + c->x->seconds[b];
            window.in[to].end = compute;
            if (from >= 0) {
                ring.in[from].end = copy;
            }
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

static uint64_t least_of(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* INFINITY, too, where it is seen at once that it is not below `limit`. */
static double value(chooser *c, double limit) {
    double bytes = byte_weight * (c->copies + c->loads);
    if (c->bytes[BL_KIND_DEVICE] > least_of(c->x->room, c->x->device_most) ||
        c->bytes[BL_KIND_STORE] > least_of(c->x->host, c->x->host_most) ||
        fmax(c->copies, c->loads) + bytes >= limit) {
        return INFINITY;
    }
    return pass_seconds(c, limit - bytes) + bytes;
}

/* The same problem gets the same plan. */
static double unit_random(chooser *c) {
    return bl_splitmix_unit(&c->random);
}

/* Whether a block may be of a kind. */
static bool may(const chooser *c, int block, int kind) {
    const uint8_t *less = c->x->less;
    return !less || kind == BL_KIND_DEVICE || less[block] == kind;
}

/* Simulated annealing (Kirkpatrick, Gelatt, Vecchi 1983): one block becomes of another kind, or two change
 * theirs; what is worse is taken less and less. Leaves the best in `best`. */
static void anneal(chooser *c, double least) {
    int n = c->x->m->block_count;
    double now = least;
    long end = c->work + c->x->work;
    while (c->work < end) {
        double heat = 0.03 * least * pow(0.01, 1 - (double)(end - c->work) / (double)c->x->work);
        int a = (int)(unit_random(c) * n), b = (int)(unit_random(c) * n);
        uint8_t was_a = c->kind[a], was_b = c->kind[b];
        bool two = unit_random(c) < 0.8;
        uint8_t to = two ? was_b : (uint8_t)(unit_random(c) * BL_KINDS);
        c->work++;
        if (to == was_a || !may(c, a, to) || (two && !may(c, b, was_a))) {
            continue;
        }
        set(c, a, to);
        if (two) {
            set(c, b, was_a);
        }
        double limit = now - heat * log(1 - unit_random(c)), then = value(c, limit);
        if (then >= limit) {
            set(c, a, was_a);
            if (two) {
                set(c, b, was_b);
            }
            continue;
        }
        now = then;
        if (now < least) {
            least = now;
            memcpy(c->best, c->kind, (size_t)n);
        }
    }
}

static uint64_t less_of(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* Of the blocks of kind `from` as many as `room` takes become of kind `to`, so that the others are spread
 * evenly; those larger than `largest` first. */
static int put_some(chooser *c, bl_tier_kind from, bl_tier_kind to, uint64_t room, uint64_t largest,
                    bl_error *err) {
    const bl_problem_module *m = c->x->m;
    for (int b = 0; b < m->block_count; b++) {
        c->chosen[b] = 0;
        if (c->kind[b] != from) {
            continue;
        }
        if (m->blocks[b].bytes > largest && m->blocks[b].bytes <= room) {
            c->kind[b] = to;
            room -= m->blocks[b].bytes;
        } else {
            c->chosen[b] = 1;
        }
    }
    int rc = bl_spread_among(c->more, m, c->x->seconds, c->chosen, room, from == BL_KIND_FILE, err);
    for (int b = 0; b < m->block_count && !rc; b++) {
        c->kind[b] = c->more[b] ? (uint8_t)to : c->kind[b];
    }
    return rc;
}

/* A start that leaves so much for the window and the ring. What is larger than a `part` of them does not
 * pass; 0: all may. */
static int start(chooser *c, uint64_t window, uint64_t ring, uint64_t part, bl_error *err) {
    const bl_problem_module *m = c->x->m;
    uint64_t room = least_of(less_of(c->x->room, window), c->x->device_most),
             host = least_of(less_of(c->x->host, ring), c->x->host_most), there = 0;
    for (int b = 0; b < m->block_count; b++) {
        c->kind[b] = c->x->less ? c->x->less[b] : BL_KIND_FILE;
        there += c->kind[b] == BL_KIND_DEVICE ? m->blocks[b].bytes : 0;
    }
    room = less_of(room, there);
    if (c->x->less) {
        int rc = put_some(c, BL_KIND_FILE, BL_KIND_DEVICE, room, UINT64_MAX, err);
        count_all(c);
        room = less_of(least_of(less_of(c->x->room, window), c->x->device_most), c->bytes[BL_KIND_DEVICE]);
        return rc ? rc : put_some(c, BL_KIND_STORE, BL_KIND_DEVICE, room, UINT64_MAX, err);
    }
    /* First what the two keep between them, then what of it the device does. */
    int rc = put_some(c, BL_KIND_FILE, BL_KIND_STORE, room + host,
                      part ? (window < ring ? window : ring) / part : UINT64_MAX, err);
    rc = rc ? rc : put_some(c, BL_KIND_STORE, BL_KIND_DEVICE, room, part ? window / part : UINT64_MAX, err);
    count_all(c);
    if (!rc && c->bytes[BL_KIND_STORE] > host) { /* whole blocks left room on the device */
        for (int b = 0; b < m->block_count; b++) {
            c->kind[b] = c->kind[b] == BL_KIND_STORE ? BL_KIND_FILE : c->kind[b];
        }
        rc = put_some(c, BL_KIND_FILE, BL_KIND_STORE, host, part ? ring / part : UINT64_MAX, err);
    }
    return rc;
}

static void offer(chooser *c, double *least) {
    count_all(c);
    double now = value(c, *least);
    if (now < *least) {
        *least = now;
        memcpy(c->best, c->kind, (size_t)c->x->m->block_count);
    }
}

/* Step by step from the best start, several times; the best of all. */
static void try_again(chooser *c, double *least) {
    static const double near = 1.01; /* to the compute: not looked for further */
    size_t n = (size_t)c->x->m->block_count;
    double began = *least;
    uint8_t *from = c->chosen, *best = c->more; /* free by now */
    memcpy(from, c->best, n);
    memcpy(best, c->best, n);
    for (int i = 0; i < c->x->tries && (!i || *least > near * c->before[n]); i++) {
        memcpy(c->kind, from, n);
        memcpy(c->best, from, n);
        count_all(c);
        anneal(c, began);
        memcpy(c->kind, c->best, n);
        count_all(c);
        double now = value(c, INFINITY);
        if (now < *least) {
            *least = now;
            memcpy(best, c->best, n);
        }
    }
    memcpy(c->kind, best, n);
}

/* Sizes of the module's blocks: so many of them, evenly spread, the smallest first. */
static int pick_sizes(uint64_t *sizes, const bl_problem_module *m, int count) {
    int picked = 0;
    for (uint64_t last = 0; last < m->largest_block && picked < count;) {
        uint64_t next = UINT64_MAX; /* the smallest that enough blocks are not above */
        for (int b = 0; b < m->block_count; b++) {
            int below = 0;
            uint64_t bytes = m->blocks[b].bytes;
            for (int k = 0; k < m->block_count; k++) {
                below += m->blocks[k].bytes <= bytes;
            }
            bool enough = below * count >= (picked + 1) * m->block_count;
            next = enough && bytes > last && bytes < next ? bytes : next;
        }
        last = sizes[picked++] = next;
    }
    return picked;
}

/* Starts whose window and ring are as large as one block or two of some size: what is larger does not pass.
 * Those that have to load too much are left out. */
static int start_by_size(chooser *c, double *least, bl_error *err) {
    enum { sizes_most = 8 };
    const bl_problem_module *m = c->x->m;
    uint64_t sizes[sizes_most];
    int count = pick_sizes(sizes, m, sizes_most), rc = 0;
    double rate = m->load_seconds / (double)m->bytes;
    for (int i = 0; i < 2 * count * count && !rc; i++) {
        uint64_t part = (uint64_t)(1 + i % 2), window = part * sizes[i / 2 / count],
                 ring = part * sizes[i / 2 % count],
                 kept = less_of(c->x->room, window) + less_of(c->x->host, ring);
        if (ring <= window && rate * (double)less_of(m->bytes, kept) < *least) {
            rc = start(c, window, ring, part, err);
            offer(c, least);
        }
    }
    return rc;
}

/* Starts whose window and ring are so many quarters of the largest block. */
static int start_by_part(chooser *c, double *least, bl_error *err) {
    uint64_t part = c->x->m->largest_block / 4;
    int rc = 0;
    for (int w = 2; w <= 8 && !rc; w += w < 4 ? 1 : 2) {
        for (int r = c->x->less ? 8 : 2; r <= 8 && !rc; r += 2) {
            for (uint64_t half = 0; half <= 2 && !rc; half += 2) {
                rc = start(c, part * (uint64_t)w, part * (uint64_t)r, half, err);
                offer(c, least);
            }
        }
    }
    return rc;
}

/* The best start of several, then step by step. */
static int choose(chooser *c, double *least, bl_error *err) {
    *least = INFINITY;
    int rc = c->x->by_size && !c->x->less ? start_by_size(c, least, err) : 0;
    rc = rc || *least < INFINITY ? rc : start_by_part(c, least, err);
    if (!rc && *least < INFINITY) {
        try_again(c, least);
        count_all(c);
        *least = pass_seconds(c, INFINITY);
    }
    return rc;
}

int bl_split_choose(uint8_t *kind, double *pass, long *spent, const bl_split *split, bl_error *err) {
    size_t n = (size_t)split->m->block_count;
    chooser c = {.x = split, .kind = kind, .random = (uint64_t)split->seed};
    c.before = calloc(n + 1, sizeof *c.before);
    c.best = calloc(n, 1);
    c.chosen = malloc(n);
    c.more = malloc(n);
    int rc = c.before && c.best && c.chosen && c.more
                 ? 0
                 : bl_fail_memory(err, "the planner's residents", n * sizeof *c.before);
    for (size_t b = 0; b < n && !rc; b++) {
        c.before[b + 1] = c.before[b] + split->seconds[b];
    }
    rc = rc ? rc : choose(&c, pass, err);
    *spent += c.work;
    free(c.before);
    free(c.best);
    free(c.chosen);
    free(c.more);
    return rc;
}
