#include "adapter/delta.h"

#include "adapter/fixed.h"
#include "adapter/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t axis(const bl_file_tensor *t, int i) {
    return i < t->rank ? t->shape[i] : 1;
}

static int64_t elements(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

/* Elements [first, first + n) of a tensor as F32. */
static int read_floats(float *out, const bl_adapter *a, const bl_file_tensor *t, int64_t first, int64_t n,
                       bl_error *err) {
    size_t size = bl_dtype_size(t->dtype);
    uint64_t offset = t->offset + (uint64_t)first * size, bytes = (uint64_t)n * size;
    if (t->dtype == BL_F32) {
        return bl_safetensors_read(a->file, offset, bytes, out, err);
    }
    void *stored = malloc((size_t)bytes + 1);
    int rc = stored ? bl_safetensors_read(a->file, offset, bytes, stored, err)
                    : bl_fail_memory(err, "an adapter's factors", bytes);
    if (!rc) {
        bl_convert(out, BL_F32, stored, t->dtype, (size_t)n);
    }
    free(stored);
    return rc;
}

/* The whole tensor. Caller frees *out. */
static int read_all(float **out, const bl_adapter *a, const bl_file_tensor *t, bl_error *err) {
    *out = NULL;
    int64_t n = elements(t);
    float *data = malloc((size_t)n * sizeof *data + 1);
    int rc = data ? read_floats(data, a, t, 0, n, err)
                  : bl_fail_memory(err, "an adapter's factors", (uint64_t)n * sizeof *data);
    if (rc) {
        free(data);
        return rc;
    }
    *out = data;
    return 0;
}

/* out [m, j, p] = sum over n of core [m, n, p] b [n, j]. Caller frees *out. */
static int through_core(float **out, const float *core, const float *b, int64_t m, int64_t n, int64_t j,
                        int64_t p, bl_error *err) {
    size_t floats;
    *out = NULL;
    float *made = bl_panel_floats(&floats, m, j * p) ? calloc(floats + 1, sizeof *made) : NULL;
    if (!made) {
        return bl_fail_memory(err, "an adapter's factors", (uint64_t)(m * j * p) * sizeof *made);
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t k = 0; k < n; k++) {
            for (int64_t c = 0; c < j; c++) {
                for (int64_t q = 0; q < p; q++) {
                    made[(i * j + c) * p + q] += core[(i * n + k) * p + q] * b[k * j + c];
                }
            }
        }
    }
    *out = made;
    return 0;
}

static int transpose(float **out, const bl_adapter *a, const bl_file_tensor *t, int64_t rows, int64_t columns,
                     bl_error *err) {
    float *stored;
    *out = NULL;
    int rc = read_all(&stored, a, t, err);
    float *turned = rc ? NULL : malloc((size_t)(rows * columns) * sizeof *turned + 1);
    rc = rc || turned
             ? rc
             : bl_fail_memory(err, "an adapter's factors", (uint64_t)(rows * columns) * sizeof *turned);
    for (int64_t r = 0; r < rows && !rc; r++) {
        for (int64_t c = 0; c < columns; c++) {
            turned[c * rows + r] = stored[r * columns + c];
        }
    }
    free(stored);
    if (rc) {
        free(turned);
        return rc;
    }
    *out = turned;
    return 0;
}

/* b [rank, columns] to panels of either kind. */
static int lay_out(struct bl_pair *pair, const float *b, int64_t columns, bool coarse, bl_error *err) {
    size_t values;
    if (!bl_panel_floats(&values, coarse ? bl_fixed_rank(pair->rank) : pair->rank, columns)) {
        return bl_fail_memory(err, "an adapter's factors", UINT64_MAX);
    }
    if (coarse) {
        pair->fixed = malloc(values * sizeof *pair->fixed + 1);
        pair->scales = malloc((size_t)(columns + BL_FIXED_PANEL) * sizeof *pair->scales);
    } else {
        pair->panels = malloc(values * sizeof *pair->panels + 1);
    }
    if (coarse ? !pair->fixed || !pair->scales : !pair->panels) {
        return bl_fail_memory(err, "an adapter's factors",
                              values * (coarse ? sizeof *pair->fixed : sizeof *pair->panels));
    }
    if (coarse) {
        bl_fixed_panels(pair->fixed, pair->scales, b, pair->rank, columns);
    } else {
        bl_panels(pair->panels, b, pair->rank, columns);
    }
    return 0;
}

/* b, through its core where there is one, in panels. */
static int fill_b(struct bl_pair *pair, const bl_adapter *a, const bl_adapted *x, const bl_file_tensor *b,
                  const bl_file_tensor *core, int64_t columns, bool coarse, bl_error *err) {
    float *plain, *joined = NULL, *c = NULL;
    int rc = read_all(&plain, a, b, err);
    if (!rc && core) {
        rc = read_all(&c, a, core, err);
        rc = rc ? rc
                : through_core(&joined, c, plain, axis(core, 0), axis(core, 1), x->layer->inner,
                               x->layer->positions, err);
    }
    pair->rank = axis(core ? core : b, 0);
    rc = rc ? rc : lay_out(pair, core ? joined : plain, columns, coarse, err);
    free(plain);
    free(c);
    free(joined);
    return rc;
}

static int fill_hada(struct bl_pair *pair, const bl_adapter *a, const bl_adapted *x, bl_part first,
                     bl_part second, bl_part core, int64_t columns, bl_error *err) {
    int rc = fill_b(pair, a, x, x->part[second], x->part[core], columns, false, err);
    return rc || !x->part[core] ? rc : transpose(&pair->a, a, x->part[first], pair->rank, x->rows, err);
}

/* a [rows, rank] b [rank, columns], one of LoKr's factors in two. Caller frees *out. */
static int multiply(float **out, const float *a, const float *b, int64_t rows, int64_t rank, int64_t columns,
                    bl_error *err) {
    size_t floats;
    *out = NULL;
    float *panels = bl_panel_floats(&floats, rank, columns) ? malloc(floats * sizeof *panels + 1) : NULL;
    float *made = malloc((size_t)(rows * columns) * sizeof *made + 1);
    int rc = panels && made
                 ? 0
                 : bl_fail_memory(err, "an adapter's factors", (uint64_t)(rows * columns) * sizeof *made);
    if (!rc) {
        bl_panels(panels, b, rank, columns);
        bl_product(made, a, panels, 1, false, rows, rank, columns);
    }
    free(panels);
    if (rc) {
        free(made);
        return rc;
    }
    *out = made;
    return 0;
}

/* One of LoKr's two: whole, or a product, through a core [r, r2, positions] and then with the first factor
 * [r, rows] as it is stored. */
static int fill_factor(float **out, const bl_adapter *a, const bl_file_tensor *whole,
                       const bl_file_tensor *first, const bl_file_tensor *second, const bl_file_tensor *core,
                       int64_t rows, int64_t inner, int64_t positions, bl_error *err) {
    float *x = NULL, *y = NULL, *c = NULL, *joined = NULL;
    *out = NULL;
    if (whole) {
        return read_all(out, a, whole, err);
    }
    int64_t rank = axis(core ? core : second, 0);
    int rc = core ? transpose(&x, a, first, rank, rows, err) : read_all(&x, a, first, err);
    rc = rc ? rc : read_all(&y, a, second, err);
    if (!rc && core) {
        rc = read_all(&c, a, core, err);
        rc = rc ? rc : through_core(&joined, c, y, rank, axis(core, 1), inner, positions, err);
    }
    rc = rc ? rc : multiply(out, x, core ? joined : y, rows, rank, inner * positions, err);
    free(x);
    free(y);
    free(c);
    free(joined);
    return rc;
}

static int fill_lokr(bl_factors *f, const bl_adapter *a, const bl_adapted *x, bl_error *err) {
    const bl_file_tensor *k1 = x->part[BL_PART_K1], *k1b = x->part[BL_PART_K1B];
    f->o1 = axis(k1 ? k1 : x->part[BL_PART_K1A], 0);
    f->i1 = k1 ? elements(k1) / f->o1 : elements(k1b) / axis(k1b, 0);
    int rc = fill_factor(&f->w1, a, k1, x->part[BL_PART_K1A], k1b, NULL, f->o1, f->i1, 1, err);
    return rc ? rc
              : fill_factor(&f->w2, a, x->part[BL_PART_K2], x->part[BL_PART_K2A], x->part[BL_PART_K2B],
                            x->part[BL_PART_KT2], x->rows / f->o1, x->layer->inner / f->i1,
                            x->layer->positions, err);
}

void bl_factors_clear(bl_factors *f) {
    for (int i = 0; i < 2; i++) {
        free(f->pair[i].panels);
        free(f->pair[i].a);
        free(f->pair[i].fixed);
        free(f->pair[i].scales);
    }
    free(f->w1);
    free(f->w2);
    free(f->magnitude);
    *f = (bl_factors){0};
}

int bl_factors_fill(bl_factors *f, const bl_adapter *a, const bl_adapted *x, bool coarse, bl_error *err) {
    int rc = 0;
    const bl_file_tensor *m = x->part[BL_PART_DORA] ? x->part[BL_PART_DORA] : x->part[BL_PART_MAGNITUDE];
    bl_factors_clear(f);
    f->columns = x->layer->inner * x->layer->positions;
    if (x->change == BL_CHANGE_LORA) {
        rc = fill_b(&f->pair[0], a, x, x->part[BL_PART_DOWN], x->part[BL_PART_MID], f->columns,
                    coarse && !x->dora, err);
    } else if (x->change == BL_CHANGE_LOHA) {
        rc = fill_hada(&f->pair[0], a, x, BL_PART_W1A, BL_PART_W1B, BL_PART_T1, f->columns, err);
        rc = rc ? rc : fill_hada(&f->pair[1], a, x, BL_PART_W2A, BL_PART_W2B, BL_PART_T2, f->columns, err);
    } else if (x->change == BL_CHANGE_LOKR) {
        rc = fill_lokr(f, a, x, err);
    }
    rc = rc || !x->dora ? rc : read_all(&f->magnitude, a, m, err);
    if (rc) {
        bl_factors_clear(f);
        return rc;
    }
    f->of = x;
    return 0;
}

uint64_t bl_factors_bytes(const bl_adapted *x) {
    uint64_t floats = 0;
    for (int i = 0; i < BL_PART_COUNT; i++) {
        bool by_rows = i == BL_PART_DIFF || i == BL_PART_DIFF_B || i == BL_PART_UP;
        floats += x->part[i] && !by_rows ? (uint64_t)elements(x->part[i]) : 0;
    }
    return floats * sizeof(float);
}

/* Rows of a pair's first factor: in memory, or read into *own, which the caller frees. */
static int rows_of(const float **out, float **own, const struct bl_pair *pair, const bl_adapter *a,
                   const bl_file_tensor *t, int64_t begin, int64_t rows, bl_error *err) {
    *out = NULL;
    *own = NULL;
    if (pair->a) {
        *out = pair->a + begin * pair->rank;
        return 0;
    }
    *own = malloc((size_t)(rows * pair->rank) * sizeof **own + 1);
    *out = *own;
    return *own ? read_floats(*own, a, t, begin * pair->rank, rows * pair->rank, err)
                : bl_fail_memory(err, "an adapter's factors", (uint64_t)(rows * pair->rank) * sizeof **own);
}

/* out += scale * (a b), in integers. up: a's rows. */
static int fixed_rows(float *out, float scale, const struct bl_pair *pair, const float *up, int64_t rows,
                      int64_t columns, bl_error *err) {
    const bl_fixed_b b = {pair->fixed, pair->scales, pair->rank, columns};
    size_t values = (size_t)(rows * bl_fixed_rank(pair->rank));
    float *scales = malloc((size_t)rows * sizeof *scales + 1);
    int16_t *a = malloc(values * sizeof *a + 1);
    int rc = scales && a ? 0 : bl_fail_memory(err, "an adapter's factors", values * sizeof *a);
    if (!rc) {
        bl_fixed_rows(a, scales, up, rows, pair->rank);
        bl_fixed_add(out, a, scales, &b, scale, rows);
    }
    free(scales);
    free(a);
    return rc;
}

static int product_rows(float *out, float scale, bool add, const bl_factors *f, int which,
                        const bl_adapter *a, const bl_file_tensor *first, int64_t begin, int64_t rows,
                        bl_error *err) {
    const struct bl_pair *pair = &f->pair[which];
    const float *up;
    float *own;
    int rc = rows_of(&up, &own, pair, a, first, begin, rows, err);
    if (!rc && pair->fixed) {
        rc = fixed_rows(out, scale, pair, up, rows, f->columns, err);
    } else if (!rc) {
        bl_product(out, up, pair->panels, scale, add, rows, pair->rank, f->columns);
    }
    free(own);
    return rc;
}

static void put(float *out, float d, float strength, bool add) {
    *out = add ? *out + strength * d : d;
}

static void lokr_rows(float *out, float strength, bool add, const bl_factors *f, int64_t begin,
                      int64_t rows) {
    const bl_adapted *x = f->of;
    int64_t o2 = x->rows / f->o1, width = f->columns / f->i1;
    const float k = (float)x->scale;
    for (int64_t r = 0; r < rows; r++, out += f->columns) {
        const float *w1 = f->w1 + (begin + r) / o2 * f->i1, *w2 = f->w2 + (begin + r) % o2 * width;
        for (int64_t i = 0; i < f->i1; i++) {
            for (int64_t c = 0; c < width; c++) {
                put(out + i * width + c, w1[i] * w2[c] * k, strength, add);
            }
        }
    }
}

/* The file's row of a row of the layer. */
static int64_t file_row(const bl_adapted *x, int64_t row) {
    return (x->first + row) % x->rows;
}

/* How many of the layer's rows from `row` on, and before `end`, lie one behind the other in the file. */
static int64_t rows_together(const bl_adapted *x, int64_t row, int64_t end) {
    const int64_t left = x->rows - file_row(x, row);
    return end - row < left ? end - row : left;
}

/* bl_delta_rows of the file's rows from `begin` on. */
static int stored_rows(float *out, float strength, bool add, const bl_factors *f, const bl_adapter *a,
                       int64_t begin, int64_t rows, float *spare, bl_error *err) {
    const bl_adapted *x = f->of;
    const int64_t n = rows * f->columns;
    const float k = (float)x->scale;
    int rc = 0;
    switch (x->change) {
    case BL_CHANGE_LORA: {
        float scale = (float)(x->scale * (double)strength);
        rc = product_rows(out, add ? scale : 1, add, f, 0, a, x->part[BL_PART_UP], begin, rows, err);
        for (int64_t i = 0; i < n && !add && !rc; i++) {
            out[i] *= k;
        }
        return rc;
    }
    case BL_CHANGE_LOHA: {
        float *other = malloc((size_t)n * sizeof *other + 1);
        rc = other ? product_rows(spare, 1, false, f, 0, a, x->part[BL_PART_W1A], begin, rows, err)
                   : bl_fail_memory(err, "an adapter's rows", (uint64_t)n * sizeof *other);
        rc = rc ? rc : product_rows(other, 1, false, f, 1, a, x->part[BL_PART_W2A], begin, rows, err);
        for (int64_t i = 0; i < n && !rc; i++) {
            put(out + i, spare[i] * other[i] * k, strength, add);
        }
        free(other);
        return rc;
    }
    case BL_CHANGE_LOKR:
        lokr_rows(out, strength, add, f, begin, rows);
        return 0;
    default:
        rc = read_floats(spare, a, x->part[BL_PART_DIFF], begin * f->columns, n, err);
        for (int64_t i = 0; i < n && !rc; i++) {
            put(out + i, spare[i], strength, add);
        }
        return rc;
    }
}

int bl_delta_rows(float *out, float strength, bool add, const bl_factors *f, const bl_adapter *a,
                  int64_t begin, int64_t end, float *spare, bl_error *err) {
    int rc = 0;
    for (int64_t row = begin; row < end && !rc;) {
        const int64_t rows = rows_together(f->of, row, end);
        rc = stored_rows(out + (row - begin) * f->columns, strength, add, f, a, file_row(f->of, row), rows,
                         spare, err);
        row += rows;
    }
    return rc;
}

int bl_delta_bias(float *out, float strength, const bl_adapter *a, const bl_adapted *x, int64_t begin,
                  int64_t end, bl_error *err) {
    float *d = malloc((size_t)(end - begin) * sizeof *d + 1);
    int rc = d ? 0 : bl_fail_memory(err, "an adapter's bias", (uint64_t)(end - begin) * sizeof *d);
    for (int64_t row = begin; row < end && !rc;) {
        const int64_t rows = rows_together(x, row, end);
        rc = read_floats(d + (row - begin), a, x->part[BL_PART_DIFF_B], file_row(x, row), rows, err);
        row += rows;
    }
    for (int64_t i = 0; i < end - begin && !rc; i++) {
        put(out + i, d[i], strength, true);
    }
    free(d);
    return rc;
}

/* ---- DoRA */

void bl_delta_squares(double *sums, const float *v, const bl_factors *f, int64_t rows) {
    const int64_t inner = f->of->layer->inner, positions = f->of->layer->positions;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < inner; i++) {
            for (int64_t p = 0; p < positions; p++, v++) {
                sums[i] += (double)*v * (double)*v;
            }
        }
    }
}

static double row_length(const float *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)v[i] * (double)v[i];
    }
    return sqrt(sum);
}

/* What is all zeros stays so, whatever length it should have. */
static float share(double magnitude, double length) {
    return length > 0 ? (float)(magnitude / length) : 0;
}

void bl_delta_dora(float *out, float strength, const float *base, const float *v, const bl_factors *f,
                   const double *lengths, int64_t first, int64_t rows) {
    const bool by_output = f->of->dora_by_output;
    const int64_t positions = f->of->layer->positions, n = f->columns;
    for (int64_t r = 0; r < rows; r++, out += n, base += n, v += n) {
        float of_row = by_output ? share(f->magnitude[file_row(f->of, first + r)], row_length(v, n)) : 0;
        for (int64_t c = 0; c < n; c++) {
            float factor = by_output ? of_row : share(f->magnitude[c / positions], lengths[c / positions]);
            out[c] += strength * (v[c] * factor - base[c]);
        }
    }
}
