/* Products by cuBLASLt. It counts columns first, so that all is turned: y^T [o, rows] = w x^T. */
#include "device/cuda/internal.h"

#include <stdlib.h>
#include <string.h>

#define WHAT "a product"

#define CANDIDATES 8

struct bl_cuda_product_item {
    bl_cuda_product product; /* first */
    struct bl_cuda_product_item *next;
};

static bl_lt_type type_of(int64_t dtype) {
    return dtype == BL_BF16 ? BL_LT_BF16 : BL_LT_F32;
}

/* One matrix of a batch: [rows, columns] row by row is, column by column, [columns, rows]. */
static int make_layout(bl_lt_layout *out, bl_cuda *c, int64_t dtype, int64_t rows, int64_t columns,
                       int64_t stride, int32_t batch, int64_t batch_stride, bl_error *err) {
    const bl_cublaslt *lt = &c->libs->lt;
    bl_lt_status s =
        lt->cublasLtMatrixLayoutCreate(out, type_of(dtype), (uint64_t)columns, (uint64_t)rows, stride);
    if (!s && batch > 1) {
        s = lt->cublasLtMatrixLayoutSetAttribute(*out, BL_LT_LAYOUT_BATCH, &batch, sizeof batch);
        s = s ? s
              : lt->cublasLtMatrixLayoutSetAttribute(*out, BL_LT_LAYOUT_BATCH_STRIDE, &batch_stride,
                                                     sizeof batch_stride);
    }
    return bl_cuda_check_lt(c, s, "a product's layout", err);
}

static int make_desc(bl_cuda_product *p, bl_cuda *c, bl_error *err) {
    const bl_cublaslt *lt = &c->libs->lt;
    int32_t turned = p->shape.plain ? BL_LT_AS_IS : BL_LT_TURNED;
    uint32_t epilogue = BL_LT_EPILOGUE_BIAS;
    void *bias =
        (void *)(uintptr_t)BL_CUDA_WORKSPACE_ALIGN; /* any, aligned as the bias will be: never read */
    bl_lt_status s = lt->cublasLtMatmulDescCreate(&p->desc, BL_LT_COMPUTE_F32, BL_LT_F32);
    s = s ? s : lt->cublasLtMatmulDescSetAttribute(p->desc, BL_LT_DESC_TRANS_A, &turned, sizeof turned);
    if (!s && p->shape.bias) {
        s = lt->cublasLtMatmulDescSetAttribute(p->desc, BL_LT_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        s = s ? s : lt->cublasLtMatmulDescSetAttribute(p->desc, BL_LT_DESC_BIAS, &bias, sizeof bias);
    }
    return bl_cuda_check_lt(c, s, "a product", err);
}

/* What cuBLASLt would take, or the one that was measured to be the fastest, of those that add up in a fixed
 * order within the scratch that there is. */
static int choose(bl_cuda_product *p, bl_cuda *c, uint64_t key, bl_error *err) {
    const bl_cublaslt *lt = &c->libs->lt;
    bl_lt_pref pref = NULL;
    bl_lt_found found[CANDIDATES];
    uint64_t workspace = BL_CUDA_WORKSPACE;
    uint32_t reductions = BL_LT_REDUCTION_COMPUTE; /* or none */
    uint32_t x = (uint32_t)p->shape.x_align, w = (uint32_t)p->shape.w_align, y = (uint32_t)p->shape.y_align;
    const struct {
        bl_lt_pref_attr name;
        const void *value;
        size_t bytes;
    } wishes[] = {{BL_LT_PREF_WORKSPACE, &workspace, sizeof workspace},
                  {BL_LT_PREF_REDUCTIONS, &reductions, sizeof reductions},
                  {BL_LT_PREF_ALIGN_A, &w, sizeof w},
                  {BL_LT_PREF_ALIGN_B, &x, sizeof x},
                  {BL_LT_PREF_ALIGN_C, &y, sizeof y},
                  {BL_LT_PREF_ALIGN_D, &y, sizeof y}};
    int count = 0, rc, wanted = bl_cuda_chosen(c, key);
    bl_lt_status s = lt->cublasLtMatmulPreferenceCreate(&pref);
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !s; i++) {
        s = lt->cublasLtMatmulPreferenceSetAttribute(pref, wishes[i].name, wishes[i].value, wishes[i].bytes);
    }
    s = s ? s
          : lt->cublasLtMatmulAlgoGetHeuristic(c->lt, p->desc, p->w, p->x, p->y, p->y, pref, CANDIDATES,
                                               found, &count);
    rc = bl_cuda_check_lt(c, s, "choosing a product", err);
    if (!rc) {
        rc = BL_E_UNSUPPORTED;
    }
    for (int i = 0; i < count && (rc == BL_E_UNSUPPORTED || (!rc && p->choice < wanted)); i++) {
        if (!found[i].state && found[i].workspace <= workspace) {
            p->choice += !rc;
            p->algo = found[i].algo;
            p->workspace_bytes = found[i].workspace;
            rc = 0;
        }
    }
    if (rc == BL_E_UNSUPPORTED) {
        rc = bl_fail(err, BL_E_UNSUPPORTED, "cuda: cuBLASLt has no product of [%lld, %lld] and [%lld, %lld]",
                     (long long)p->shape.rows, (long long)p->shape.k, (long long)p->shape.k,
                     (long long)p->shape.o);
    }
    if (pref) {
        lt->cublasLtMatmulPreferenceDestroy(pref);
    }
    return rc;
}

static void close_product(bl_cuda_product *p, bl_cuda *c) {
    const bl_cublaslt *lt = &c->libs->lt;
    bl_lt_layout layouts[] = {p->x, p->w, p->y};
    for (int i = 0; i < 3; i++) {
        if (layouts[i]) {
            lt->cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
    if (p->desc) {
        lt->cublasLtMatmulDescDestroy(p->desc);
    }
}

static int find_plan(bl_cuda_product *p, bl_cuda *c, bl_error *err) {
    const bl_cuda_product_shape *s = &p->shape;
    uint64_t key = bl_cuda_plan_key(WHAT, s, sizeof *s);
    int32_t batch = (int32_t)s->batch;
    int64_t w_rows = s->plain ? s->k : s->o, w_columns = s->plain ? s->o : s->k;
    bl_cuda_planned_plan planned;
    if (bl_cuda_planned(&planned, c, key, false)) { /* cuBLASLt does not start without a card */
        p->workspace_bytes = planned.workspace_bytes;
        return 0;
    }
    int rc = make_layout(&p->x, c, s->in, s->rows, s->k, s->x_stride, batch, s->x_batch, err);
    rc = rc ? rc : make_layout(&p->w, c, s->in, w_rows, w_columns, s->w_stride, batch, s->w_batch, err);
    rc = rc ? rc : make_layout(&p->y, c, s->out, s->rows, s->o, s->y_stride, batch, s->y_batch, err);
    rc = rc ? rc : make_desc(p, c, err);
    return rc ? rc : choose(p, c, key, err);
}

int bl_cuda_find_product(const bl_cuda_product **out, bl_cuda *c, const bl_cuda_product_shape *s,
                         bl_error *err) {
    struct bl_cuda_product_item *item = c->plans.products;
    *out = NULL;
    while (item && memcmp(&item->product.shape, s, sizeof *s)) {
        item = item->next;
    }
    if (item) {
        *out = &item->product;
        return 0;
    }
    item = calloc(1, sizeof *item);
    if (!item) {
        return bl_fail_memory(err, "a product", sizeof *item);
    }
    bl_cuda_product *p = &item->product;
    p->shape = *s;
    int rc = find_plan(p, c, err);
    if (rc) {
        close_product(p, c);
        free(item);
        return rc;
    }
    p->number = ++c->plans.count;
    item->next = c->plans.products;
    c->plans.products = item;
    *out = p;
    return 0;
}

void bl_cuda_visit_products(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload) {
    for (const struct bl_cuda_product_item *i = c->plans.products; i; i = i->next) {
        const bl_cuda_product *x = &i->product;
        visit(payload, WHAT, bl_cuda_plan_key(WHAT, &x->shape, sizeof x->shape), x->choice,
              x->workspace_bytes);
    }
}

void bl_cuda_products_close(bl_cuda *c) {
    while (c->plans.products) {
        struct bl_cuda_product_item *next = c->plans.products->next;
        close_product(&c->plans.products->product, c);
        free(c->plans.products);
        c->plans.products = next;
    }
}

/* An address of the card where a library wants a pointer. */
static void *pointer(bl_cu_pointer p) {
    return (void *)(uintptr_t)p;
}

int bl_cuda_multiply(bl_cuda *c, const bl_cuda_product *p, bl_cu_stream stream, bl_cu_pointer y,
                     bl_cu_pointer x, bl_cu_pointer w, bl_cu_pointer bias, bl_cu_pointer residual,
                     float alpha, bl_cu_pointer workspace, bl_error *err) {
    const bl_cublaslt *lt = &c->libs->lt;
    float beta = p->shape.residual ? 1.0f : 0.0f;
    void *vector = pointer(bias);
    bl_lt_status s = 0;
    if (p->shape.bias) {
        s = lt->cublasLtMatmulDescSetAttribute(p->desc, BL_LT_DESC_BIAS, &vector, sizeof vector);
    }
    s = s ? s
          : lt->cublasLtMatmul(c->lt, p->desc, &alpha, pointer(w), p->w, pointer(x), p->x, &beta,
                               pointer(p->shape.residual ? residual : y), p->y, pointer(y), p->y, &p->algo,
                               bl_cuda_workspace_at(workspace), p->workspace_bytes, stream);
    return bl_cuda_check_lt(c, s, "a product", err);
}
