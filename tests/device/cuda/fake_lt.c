/* cuBLASLt: matrices column by column, products in plain C with sums in F32. */
#include "fake.h"

#include "core/dtype.h"
#include "core/parallel.h"

#include <string.h>

#define WORKSPACE 4096

typedef struct layout {
    bl_lt_type type;
    int64_t rows, columns, stride, batch, batch_stride;
} layout;

typedef struct desc {
    int32_t turned_a;
    uint32_t epilogue;
    const void *bias;
} desc;

typedef struct pref {
    uint64_t workspace;
    uint32_t align[4];
} pref;

/* ---- products */

typedef struct job {
    float *y;
    const float *x, *turned; /* turned: [k, o] */
    int64_t o, k;
} job;

/* ROWS x COLUMNS sums are held in registers while k goes by: each is added up in the order of k, and no
 * product is fused into an addition. */
#define ROWS 4
#define LANES 8
#define COLUMNS (2 * LANES)
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));

static inline __attribute__((always_inline)) void one_tile(const job *j, int64_t row, int64_t column) {
    lanes sum[ROWS][2] = {{{0}}};
    const float *x = j->x + row * j->k, *w = j->turned + column;
    for (int64_t i = 0; i < j->k; i++, w += j->o) {
        const lanes *both = (const lanes *)(const void *)w;
        for (int r = 0; r < ROWS; r++) {
            sum[r][0] += x[r * j->k + i] * both[0];
            sum[r][1] += x[r * j->k + i] * both[1];
        }
    }
    for (int r = 0; r < ROWS; r++) {
        memcpy(j->y + (row + r) * j->o + column, sum[r], sizeof sum[r]);
    }
}

static inline void one_sum(const job *j, int64_t row, int64_t column) {
    float sum = 0.0f;
    for (int64_t i = 0; i < j->k; i++) {
        sum += j->x[row * j->k + i] * j->turned[i * j->o + column];
    }
    j->y[row * j->o + column] = sum;
}

static inline __attribute__((always_inline)) void rows_of(const job *j, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r += ROWS) {
        int64_t o = 0;
        for (; r + ROWS <= end && o + COLUMNS <= j->o; o += COLUMNS) {
            one_tile(j, r, o);
        }
        for (int64_t row = r; row < end && row < r + ROWS; row++) {
            for (int64_t c = o; c < j->o; c++) {
                one_sum(j, row, c);
            }
        }
    }
}

static void some_rows(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    rows_of(context, begin, end);
}

/* Not by target_clones, whose choice is made before ThreadSanitizer has begun. */
__attribute__((target("avx2"))) static void some_rows_avx2(void *context, int64_t begin, int64_t end,
                                                           int thread) {
    (void)thread;
    rows_of(context, begin, end);
}

void fake_product(float *y, const float *x, const float *w, int64_t rows, int64_t o, int64_t k) {
    float *turned = fake_memory((size_t)(o * k) * sizeof *turned);
    for (int64_t i = 0; i < o; i++) {
        for (int64_t c = 0; c < k; c++) {
            turned[c * o + i] = w[i * k + c];
        }
    }
    job j = {.y = y, .x = x, .turned = turned, .o = o, .k = k};
    bl_range_fn *fn = __builtin_cpu_supports("avx2") ? some_rows_avx2 : some_rows;
    bl_parallel_for(rows, (1 << 18) / (o * k) + 1, fn, &j); /* a thread is woken for more than that */
    fake_give_back(turned);
}

/* ---- entries */

static size_t version(void) {
    return 130100;
}

static const char *status_string(bl_lt_status s) {
    (void)s;
    return "CUBLAS_STATUS_SCRIPTED";
}

static bl_lt_status create(bl_lt_handle *out) {
    *out = NULL;
    if (fake_fails()) {
        return 1;
    }
    *out = fake_new(1);
    return 0;
}

static bl_lt_status destroy(bl_lt_handle h) {
    fake_free(h);
    return 0;
}

static bl_lt_status layout_create(bl_lt_layout *out, bl_lt_type type, uint64_t rows, uint64_t columns,
                                  int64_t stride) {
    *out = NULL;
    if (fake_fails() || stride < (int64_t)rows || !rows || !columns) {
        return 7;
    }
    layout *l = *out = fake_new(sizeof *l);
    *l = (layout){
        .type = type, .rows = (int64_t)rows, .columns = (int64_t)columns, .stride = stride, .batch = 1};
    return 0;
}

static bl_lt_status free_it(void *p) {
    fake_free(p);
    return 0;
}

static bl_lt_status layout_set(bl_lt_layout p, bl_lt_layout_attr name, const void *value, size_t bytes) {
    layout *l = p;
    if (fake_fails()) {
        return 7;
    }
    if (name == BL_LT_LAYOUT_BATCH && bytes == 4) {
        l->batch = *(const int32_t *)value;
    } else if (name == BL_LT_LAYOUT_BATCH_STRIDE && bytes == 8) {
        l->batch_stride = *(const int64_t *)value;
    } else {
        return 7;
    }
    return 0;
}

static bl_lt_status desc_create(bl_lt_desc *out, bl_lt_compute compute, bl_lt_type scale) {
    *out = NULL;
    if (fake_fails() || compute != BL_LT_COMPUTE_F32 || scale != BL_LT_F32) {
        return 7;
    }
    *out = fake_new(sizeof(desc));
    return 0;
}

static bl_lt_status desc_set(bl_lt_desc p, bl_lt_desc_attr name, const void *value, size_t bytes) {
    desc *d = p;
    if (fake_fails()) {
        return 7;
    }
    if (name == BL_LT_DESC_TRANS_A && bytes == 4) {
        memcpy(&d->turned_a, value, bytes);
    } else if (name == BL_LT_DESC_EPILOGUE && bytes == 4) {
        memcpy(&d->epilogue, value, bytes);
    } else if (name == BL_LT_DESC_BIAS && bytes == 8) {
        memcpy(&d->bias, value, bytes);
    } else {
        return 7;
    }
    return 0;
}

static bl_lt_status pref_create(bl_lt_pref *out) {
    *out = NULL;
    if (fake_fails()) {
        return 3;
    }
    *out = fake_new(sizeof(pref));
    return 0;
}

static bl_lt_status pref_set(bl_lt_pref p, bl_lt_pref_attr name, const void *value, size_t bytes) {
    pref *f = p;
    if (fake_fails()) {
        return 7;
    }
    if (name == BL_LT_PREF_WORKSPACE && bytes == 8) {
        memcpy(&f->workspace, value, bytes);
    } else if (name >= BL_LT_PREF_ALIGN_A && name <= BL_LT_PREF_ALIGN_D && bytes == 4) {
        memcpy(&f->align[name - BL_LT_PREF_ALIGN_A], value, bytes);
    } else if (name != BL_LT_PREF_REDUCTIONS || *(const uint32_t *)value != BL_LT_REDUCTION_COMPUTE) {
        return 7;
    }
    return 0;
}

/* The first does not work, the second wants too much scratch. The algorithm holds the alignments that it may
 * rely on. */
static bl_lt_status heuristic(bl_lt_handle h, bl_lt_desc d, bl_lt_layout a, bl_lt_layout b, bl_lt_layout c,
                              bl_lt_layout y, bl_lt_pref p, int room, bl_lt_found *found, int *count) {
    const pref *f = p;
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)y;
    *count = 0;
    if (fake_fails() || room < 3 || f->workspace != 32u << 20) {
        return 14;
    }
    memset(found, 0, 3 * sizeof *found);
    found[0].state = 15;
    found[1].workspace = (64u << 20);
    found[2].workspace = WORKSPACE;
    for (int i = 0; i < 4; i++) {
        found[2].algo.data[i] = f->align[i];
    }
    *count = 3;
    return 0;
}

typedef struct multiplying {
    desc d;
    layout a, b, y;
    const void *pa, *pb, *pc;
    void *py, *workspace;
    float alpha, beta;
} multiplying;

static void multiply(void *payload) {
    multiplying *m = payload;
    int64_t k = m->d.turned_a ? m->a.rows : m->a.columns, o = m->y.rows, rows = m->y.columns;
    bool in = m->a.type == BL_LT_BF16, out = m->y.type == BL_LT_BF16;
    float *x = fake_memory((size_t)(rows * k) * 4), *w = fake_memory((size_t)(o * k) * 4),
          *y = fake_memory((size_t)(rows * o) * 4);
    memset(m->workspace, 0x5a, WORKSPACE);
    for (int64_t n = 0; n < m->y.batch; n++) {
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < k; j++) {
                x[i * k + j] = fake_load(m->pb, in, n * m->b.batch_stride + i * m->b.stride + j);
            }
        }
        for (int64_t i = 0; i < o; i++) {
            for (int64_t j = 0; j < k; j++) {
                int64_t at = m->d.turned_a ? i * m->a.stride + j : j * m->a.stride + i;
                w[i * k + j] = fake_load(m->pa, in, n * m->a.batch_stride + at);
            }
        }
        fake_product(y, x, w, rows, o, k);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < o; j++) {
                int64_t at = n * m->y.batch_stride + i * m->y.stride + j;
                float v = m->alpha * y[i * o + j];
                v += m->beta != 0.0f ? m->beta * fake_load(m->pc, out, at) : 0.0f;
                v += m->d.epilogue == BL_LT_EPILOGUE_BIAS ? fake_load(m->d.bias, out, j) : 0.0f;
                fake_store(m->py, out, at, v);
            }
        }
    }
    fake_give_back(x);
    fake_give_back(w);
    fake_give_back(y);
}

static bool is_aligned(const void *p, uint64_t to) {
    return to && (uintptr_t)p % to == 0;
}

static bl_lt_status matmul(bl_lt_handle h, bl_lt_desc d, const void *alpha, const void *a,
                           bl_lt_layout a_layout, const void *b, bl_lt_layout b_layout, const void *beta,
                           const void *c, bl_lt_layout c_layout, void *y, bl_lt_layout y_layout,
                           const bl_lt_algo *algo, void *workspace, size_t workspace_bytes,
                           bl_cu_stream stream) {
    (void)h, (void)c_layout;
    multiplying m = {.d = *(desc *)d,
                     .a = *(layout *)a_layout,
                     .b = *(layout *)b_layout,
                     .y = *(layout *)y_layout,
                     .pa = a,
                     .pb = b,
                     .pc = c,
                     .py = y,
                     .workspace = workspace,
                     .alpha = *(const float *)alpha,
                     .beta = *(const float *)beta};
    if (fake_fails() || workspace_bytes != WORKSPACE || m.a.batch != m.y.batch || m.b.batch != m.y.batch ||
        !is_aligned(a, algo->data[0]) || !is_aligned(b, algo->data[1]) || !is_aligned(c, algo->data[2]) ||
        !is_aligned(y, algo->data[3]) || !is_aligned(workspace, 256)) {
        return 13;
    }
    return fake_put_kernel(stream, multiply, &m, sizeof m) ? 14 : 0;
}

const bl_cublaslt fake_cublaslt = {.cublasLtGetVersion = version,
                                   .cublasLtGetStatusString = status_string,
                                   .cublasLtCreate = create,
                                   .cublasLtDestroy = destroy,
                                   .cublasLtMatrixLayoutCreate = layout_create,
                                   .cublasLtMatrixLayoutDestroy = free_it,
                                   .cublasLtMatrixLayoutSetAttribute = layout_set,
                                   .cublasLtMatmulDescCreate = desc_create,
                                   .cublasLtMatmulDescDestroy = free_it,
                                   .cublasLtMatmulDescSetAttribute = desc_set,
                                   .cublasLtMatmulPreferenceCreate = pref_create,
                                   .cublasLtMatmulPreferenceDestroy = free_it,
                                   .cublasLtMatmulPreferenceSetAttribute = pref_set,
                                   .cublasLtMatmulAlgoGetHeuristic = heuristic,
                                   .cublasLtMatmul = matmul};
