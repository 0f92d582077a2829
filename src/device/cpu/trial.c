/* Whether a piece of a product has the bits that it has in the whole: tried, with made-up numbers.
 *
 * oneDNN may cut a sum at other places where there are fewer rows, under one and the same name. Whether it
 * does depends on its version, the machine, the number of threads and the shape, so nothing is taken for
 * granted. Long products are tried with fewer rows, as long as the same kernels are chosen for these. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEY 21
#define TRIALS_MOST 4096
#define FEW_PRODUCTS (1 << 26) /* multiplications that a piece is tried with */
#define LEAST_ROWS 16          /* of a LINEAR */
#define MOST_ROWS 256
#define LEAST_LINES 4         /* of pixels of a CONV */
#define NOISE_BYTES (1 << 20) /* all numbers repeat them */

/* What came out of an earlier trial. */
typedef struct trial {
    int64_t key[KEY];
    bool alike;
} trial;

struct bl_trials {
    pthread_mutex_t lock;
    trial *all; /* [room] */
    int count, room;
};

int bl_cpu_trials_open(bl_trials **out, bl_error *err) {
    *out = NULL;
    bl_trials *t = calloc(1, sizeof *t);
    if (!t) {
        return bl_fail_memory(err, "trials of kernels", sizeof *t);
    }
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return 0;
}

void bl_cpu_trials_close(bl_trials **trials) {
    bl_trials *t = *trials;
    if (t) {
        pthread_mutex_destroy(&t->lock);
        free(t->all);
        free(t);
        *trials = NULL;
    }
}

static bool known(bool *alike, bl_trials *t, const int64_t key[KEY]) {
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->count && !found; i++) {
        found = !memcmp(t->all[i].key, key, sizeof t->all[i].key);
        *alike = found ? t->all[i].alike : *alike;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* Without memory it is tried again another time. */
static void remember(bl_trials *t, const int64_t key[KEY], bool alike) {
    pthread_mutex_lock(&t->lock);
    if (t->count == t->room) {
        int room = t->room ? 2 * t->room : 64;
        trial *all = room > TRIALS_MOST ? NULL : realloc(t->all, (size_t)room * sizeof *all);
        t->room = all ? room : t->room;
        t->all = all ? all : t->all;
        t->count = all ? t->count : 0;
    }
    if (t->count < t->room) {
        memcpy(t->all[t->count].key, key, sizeof t->all->key);
        t->all[t->count++].alike = alike;
    }
    pthread_mutex_unlock(&t->lock);
}

/* ---- numbers */

/* Elements of either sign, from a quarter to one (SplitMix64). Put together from bits, eight bytes at a time:
 * each trial makes them anew, and a start has dozens. */
static void make_noise(uint64_t *to, bl_dtype dtype) {
    const bool half = dtype == BL_BF16;
    /* sign, and what is below the exponent's last bit; 0.25 */
    const uint64_t kept = half ? 0x80ff80ff80ff80ffu : 0x80ffffff80ffffffu;
    const uint64_t quarter = half ? 0x3e803e803e803e80u : 0x3e8000003e800000u;
    for (uint64_t i = 0; i < NOISE_BYTES / sizeof *to; i++) {
        uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        to[i] = ((z ^ z >> 31) & kept) + quarter;
    }
}

/* Bytes begin .. begin + bytes of noise without end. */
static void copy_noise(unsigned char *to, const unsigned char *noise, uint64_t begin, uint64_t bytes) {
    while (bytes > 0) {
        uint64_t at = begin % NOISE_BYTES, n = NOISE_BYTES - at < bytes ? NOISE_BYTES - at : bytes;
        memcpy(to, noise + at, n);
        to += n;
        begin += n;
        bytes -= n;
    }
}

/* The same pages of noise over and over, so that large weights take up no memory: mremap of no bytes maps
 * shared pages once more. (A file in memory would fall under the limit of a file's size.) `bytes`: a multiple
 * of NOISE_BYTES. Owner of *out: the caller, munmap. */
static int map_noise(unsigned char **out, uint64_t bytes, bl_dtype dtype, bl_error *err) {
    *out = NULL;
    unsigned char *all = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        return bl_fail_memory(err, "trying a kernel", bytes);
    }
    void *first =
        mmap(all, NOISE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    for (uint64_t at = NOISE_BYTES; at < bytes && first != MAP_FAILED; at += NOISE_BYTES) {
        if (mremap(all, 0, NOISE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, all + at) == MAP_FAILED) {
            first = MAP_FAILED;
        }
    }
    if (first == MAP_FAILED) {
        munmap(all, bytes);
        return bl_fail_memory(err, "trying a kernel", bytes);
    }
    make_noise((uint64_t *)(void *)all, dtype);
    *out = all;
    return 0;
}

/* ---- one trial */

/* A product of a piece, and that of the whole, which differs from it in rows or pictures alone. */
typedef struct pair {
    bool is_conv;
    bl_dnnl_conv conv, whole_conv;
    bl_dnnl_linear linear, whole_linear;
} pair;

/* Where a piece begins: bytes into the whole's input and output. */
typedef struct place {
    int64_t src, dst;
} place;

/* The two products, and where in the whole's memory the piece's is looked for. */
typedef struct attempt {
    bl_dnnl_primitive *whole, *piece;
    bl_dtype dtype;
    int64_t outs;       /* output channels */
    uint64_t zeros;     /* bytes of zeros before the whole's input and behind it */
    uint64_t src;       /* bytes of the whole's input, */
    uint64_t dst, less; /* of its output and of the piece's, */
    uint64_t common;    /* and of what both have of it */
    place places[2];
    int count;
} attempt;

static void set_linear(attempt *a, const bl_dnnl_linear *piece, const bl_dnnl_linear *whole) {
    int64_t size = (int64_t)bl_dtype_size(piece->dtype), in = piece->c * size, out = piece->o * size;
    int64_t rest = whole->rows - piece->rows;
    *a = (attempt){.dtype = piece->dtype,
                   .outs = piece->o,
                   .src = (uint64_t)(whole->rows * in),
                   .dst = (uint64_t)(whole->rows * out),
                   .less = (uint64_t)(piece->rows * out),
                   .common = (uint64_t)(piece->rows * out),
                   .places = {{0, 0}, {rest * in, rest * out}}, /* the first rows, the last rows */
                   .count = 2};
}

static void set_conv(attempt *a, const bl_dnnl_conv *piece, const bl_dnnl_conv *whole) {
    int64_t size = (int64_t)bl_dtype_size(piece->dtype);
    int64_t in = (int64_t)whole->w * whole->c * size, out = (int64_t)whole->ow * whole->o * size; /* lines */
    int64_t picture = whole->h * in, made = whole->oh * out;
    int64_t lines = piece->oh < whole->oh ? piece->oh : whole->oh;
    *a = (attempt){.dtype = piece->dtype,
                   .outs = piece->o,
                   .src = (uint64_t)(whole->n * picture),
                   .dst = (uint64_t)(whole->n * made),
                   .less = (uint64_t)(piece->n * piece->oh * out),
                   .common = (uint64_t)(piece->n * lines * out),
                   .count = 2};
    if (piece->top == whole->top) { /* the first pictures, the last pictures */
        int64_t rest = whole->n - piece->n;
        a->places[1] = (place){rest * picture, rest * made};
        return;
    }
    /* a band of the first picture: its first lines, below a line of zeros, and one further down; the last
     * band may reach below the picture */
    a->zeros = (uint64_t)((1 + piece->oh - lines) * in);
    a->places[0] = (place){-in, 0};
    a->places[1] = (place){0, out};
    a->count = whole->oh > piece->oh + 1 ? 2 : 1;
}

static void close_attempt(attempt *a) {
    bl_dnnl_primitive_close(&a->whole);
    bl_dnnl_primitive_close(&a->piece);
}

static int open_attempt(attempt *a, const bl_cpu *cpu, const pair *p, const bl_dnnl_layout *layout,
                        bl_error *err) {
    int rc;
    if (p->is_conv) {
        set_conv(a, &p->conv, &p->whole_conv);
        rc = bl_dnnl_conv_open(&a->whole, cpu->dnnl, &p->whole_conv, layout, err);
        rc = rc ? rc : bl_dnnl_conv_open(&a->piece, cpu->dnnl, &p->conv, layout, err);
    } else {
        set_linear(a, &p->linear, &p->whole_linear);
        rc = bl_dnnl_linear_open(&a->whole, cpu->dnnl, &p->whole_linear, layout, err);
        rc = rc ? rc : bl_dnnl_linear_open(&a->piece, cpu->dnnl, &p->linear, layout, err);
    }
    if (rc) {
        close_attempt(a);
    }
    return rc;
}

static int run_both(bool *alike, const attempt *a, const unsigned char *weights, bl_error *err) {
    uint64_t scratch = bl_dnnl_scratch(a->whole), other = bl_dnnl_scratch(a->piece);
    uint64_t src = bl_align_up(a->src + 2 * a->zeros, BL_ALIGN), dst = bl_align_up(a->dst, BL_ALIGN);
    uint64_t less = bl_align_up(a->less, BL_ALIGN),
             bias = bl_align_up((uint64_t)a->outs * sizeof(float), BL_ALIGN);
    uint64_t bytes = src + dst + less + bias + bl_align_up(scratch > other ? scratch : other, BL_ALIGN);
    unsigned char *memory = aligned_alloc(BL_ALIGN, bytes);
    if (!memory) {
        return bl_fail_memory(err, "trying a kernel", bytes);
    }
    unsigned char *x = memory, *y = x + src, *z = y + dst, *b = z + less;
    memset(x, 0, src);
    memset(b, 0, bias); /* adds the same to every row */
    copy_noise(x + a->zeros, weights, 0, a->src);
    copy_noise(y, weights, 0, a->dst);
    bl_dnnl_args args = {.src = x + a->zeros,
                         .weights = weights,
                         .bias = (const float *)(const void *)b,
                         .dst = y,
                         .scratch = b + bias};
    int rc = bl_dnnl_run(a->whole, &args, err);
    *alike = true;
    for (int i = 0; i < a->count && !rc && *alike; i++) {
        copy_noise(z, weights, (uint64_t)a->places[i].dst, a->less); /* as y was there */
        args.src = x + (int64_t)a->zeros + a->places[i].src;
        args.dst = z;
        rc = bl_dnnl_run(a->piece, &args, err);
        *alike = !rc && !memcmp(z, y + a->places[i].dst, a->common);
    }
    free(memory);
    return rc;
}

static int run_attempt(bool *alike, const attempt *a, const bl_dnnl_layout *layout, bl_error *err) {
    uint64_t bytes = (bl_dnnl_layout_blocking(layout)->bytes + NOISE_BYTES - 1) / NOISE_BYTES * NOISE_BYTES;
    unsigned char *weights;
    int rc = map_noise(&weights, bytes, a->dtype, err);
    if (!rc) {
        rc = run_both(alike, a, weights, err);
        munmap(weights, bytes);
    }
    return rc;
}

/* ---- which trial */

static void make_key(int64_t key[KEY], const pair *p) {
    const bl_dnnl_conv *c = &p->conv, *w = &p->whole_conv;
    const bl_dnnl_linear *l = &p->linear;
    const int64_t conv[KEY] = {1,       c->dtype, c->c,      c->o,   c->kh,  c->kw,     c->stride,
                               c->left, c->right, c->bottom, c->top, c->n,   c->w,      c->ow,
                               c->sum,  c->oh,    w->n,      w->oh,  w->top, w->bottom, bl_threads()};
    const int64_t linear[KEY] = {
        2, l->dtype, l->c, l->o, l->bias, l->act, l->sum, l->rows, p->whole_linear.rows, bl_threads()};
    memcpy(key, p->is_conv ? conv : linear, sizeof conv);
}

static int least(int64_t a, int64_t b) {
    return (int)(a < b ? a : b);
}

/* The same products with `share` times as many rows as are tried first; all rows where there are no more. */
static pair fewer(pair p, int64_t share) {
    if (!p.is_conv) {
        int64_t rows = FEW_PRODUCTS / (p.linear.c * p.linear.o);
        rows = share * (rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows);
        p.linear.rows = p.linear.rows < rows ? p.linear.rows : rows;
        p.whole_linear.rows = p.whole_linear.rows < 2 * rows ? p.whole_linear.rows : 2 * rows;
        return p;
    }
    bl_dnnl_conv *c = &p.conv, *w = &p.whole_conv;
    int64_t lines = FEW_PRODUCTS / ((int64_t)c->c * c->o * c->kh * c->kw * c->ow);
    lines = share * (lines < LEAST_LINES ? LEAST_LINES : lines);
    bool band = c->top != w->top;
    int piece = least(c->oh, lines), whole = least(w->oh, band ? 2 * lines : lines);
    c->h -= (c->oh - piece) * c->stride;
    w->h -= (w->oh - whole) * w->stride;
    c->oh = piece;
    w->oh = whole;
    /* a band that is the whole picture or more needs zeros below it too */
    w->n = band && piece >= whole ? 1 : least(w->n, 2 * (int64_t)c->n);
    return p;
}

/* Are they done by one implementation, other than a general matrix product, where the shape decides? */
static bool same_name(const bl_dnnl_primitive *a, const bl_dnnl_primitive *b) {
    return !strcmp(bl_dnnl_implementation(a), bl_dnnl_implementation(b)) && !bl_cpu_is_general(a);
}

#define ALL ((int64_t)1 << 31)

/* Tries `p`, whose products are `full`, with as few rows as are done in the same way. */
static int try_fewer(bool *alike, const attempt *full, const bl_cpu *cpu, const pair *p,
                     const bl_dnnl_layout *layout, bl_error *err) {
    int64_t all[KEY], key[KEY];
    pair most = fewer(*p, ALL);
    make_key(all, &most);
    for (int64_t share = 1;; share *= 2) {
        attempt a;
        pair few = fewer(*p, share);
        make_key(key, &few);
        bool same = !memcmp(key, all, sizeof key);
        int rc = open_attempt(&a, cpu, &few, layout, err);
        if (rc && rc != BL_E_MEMORY && !same) { /* oneDNN need not know small shapes in this layout */
            continue;
        }
        if (rc) {
            return rc;
        }
        same = same || (same_name(a.whole, full->whole) && same_name(a.piece, full->piece));
        key[0] = -key[0]; /* what was tried itself, not what it stood for */
        if (same && !known(alike, cpu->trials, key)) {
            rc = run_attempt(alike, &a, layout, err);
            if (!rc) {
                remember(cpu->trials, key, *alike);
            }
        }
        close_attempt(&a);
        if (same || rc) {
            return rc;
        }
    }
}

static int try_pair(bool *alike, const bl_cpu *cpu, const pair *p, const bl_dnnl_layout *layout,
                    bl_error *err) {
    int64_t key[KEY];
    attempt full;
    make_key(key, p);
    if (known(alike, cpu->trials, key)) {
        return 0;
    }
    int rc = open_attempt(&full, cpu, p, layout, err);
    if (rc) {
        return rc;
    }
    *alike = same_name(full.whole, full.piece);
    if (*alike && !bl_cpu_is_reference(full.piece)) { /* the reference adds up one by one */
        rc = try_fewer(alike, &full, cpu, p, layout, err);
    }
    if (!rc) {
        remember(cpu->trials, key, *alike);
    }
    close_attempt(&full);
    return rc;
}

int bl_cpu_try_conv(bool *alike, const bl_cpu *cpu, const bl_dnnl_layout *layout, const bl_dnnl_conv *piece,
                    const bl_dnnl_conv *whole, bl_error *err) {
    pair p = {.is_conv = true, .conv = *piece, .whole_conv = *whole};
    return try_pair(alike, cpu, &p, layout, err);
}

int bl_cpu_try_linear(bool *alike, const bl_cpu *cpu, const bl_dnnl_layout *layout, bl_dnnl_linear piece,
                      int64_t whole_rows, bl_error *err) {
    pair p = {.linear = piece, .whole_linear = piece};
    p.whole_linear.rows = whole_rows;
    return try_pair(alike, cpu, &p, layout, err);
}
