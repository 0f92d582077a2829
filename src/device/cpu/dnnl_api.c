#include "device/cpu/dnnl_api.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 7

/* API 2 has memory descriptors as structs that need no freeing, API 3 as handles; descriptors of operations
 * are gone in API 3. Below this block nothing knows which one it is. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t md_const;

typedef struct md {
    dnnl_memory_desc_t handle;
} md;

static dnnl_status_t md_make(md *m, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                             dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(&m->handle, rank, dims, type, tag);
}

static dnnl_status_t md_copy(md *m, md_const from) {
    return dnnl_memory_desc_clone(&m->handle, from);
}

static void md_free(md *m) {
    if (m->handle) {
        dnnl_memory_desc_destroy(m->handle);
        m->handle = NULL;
    }
}

static md_const md_of(const md *m) {
    return m->handle;
}

static bool md_blocking(bl_dnnl_blocking *b, md_const m) {
    const dnnl_dims_t *dims, *padded, *strides, *sizes, *which;
    dnnl_format_kind_t kind;
    int rank, inner;
    if (dnnl_memory_desc_query(m, dnnl_query_format_kind, &kind) || kind != dnnl_blocked ||
        dnnl_memory_desc_query(m, dnnl_query_ndims_s32, &rank) ||
        dnnl_memory_desc_query(m, dnnl_query_dims, &dims) ||
        dnnl_memory_desc_query(m, dnnl_query_padded_dims, &padded) ||
        dnnl_memory_desc_query(m, dnnl_query_strides, &strides) ||
        dnnl_memory_desc_query(m, dnnl_query_inner_nblks_s32, &inner) ||
        dnnl_memory_desc_query(m, dnnl_query_inner_blks, &sizes) ||
        dnnl_memory_desc_query(m, dnnl_query_inner_idxs, &which) || rank > 4 || inner > BL_DNNL_BLOCKS) {
        return false;
    }
    b->rank = rank;
    b->inner = inner;
    for (int i = 0; i < rank; i++) {
        b->dims[i] = (*dims)[i];
        b->strides[i] = (*strides)[i];
        b->padded |= (*padded)[i] != (*dims)[i];
    }
    for (int i = 0; i < inner; i++) {
        b->inner_size[i] = (*sizes)[i];
        b->inner_dim[i] = (int)(*which)[i];
    }
    return true;
}

static dnnl_status_t add_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, alg, alpha, 0.0f);
}

static dnnl_status_t add_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

static dnnl_status_t make_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const bl_dnnl_conv *c,
                               md_const src, md_const weights, md_const bias, md_const dst,
                               const_dnnl_primitive_attr_t attr) {
    dnnl_dims_t strides = {c->stride, c->stride}, begin = {c->top, c->left}, end = {c->bottom, c->right};
    dnnl_dims_t dilates = {0, 0};
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference,
                                                          dnnl_convolution_direct, src, weights, bias, dst,
                                                          strides, dilates, begin, end, attr);
}

static dnnl_status_t make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, md_const src,
                                 md_const weights, md_const bias, md_const dst,
                                 const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, src, weights, bias, dst, attr);
}
#else
typedef const dnnl_memory_desc_t *md_const;

typedef struct md {
    dnnl_memory_desc_t value;
} md;

static dnnl_status_t md_make(md *m, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                             dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(&m->value, rank, dims, type, tag);
}

static dnnl_status_t md_copy(md *m, md_const from) {
    m->value = *from;
    return dnnl_success;
}

static void md_free(md *m) {
    (void)m;
}

static md_const md_of(const md *m) {
    return &m->value;
}

static bool md_blocking(bl_dnnl_blocking *b, md_const m) {
    const dnnl_blocking_desc_t *f = &m->format_desc.blocking;
    if (m->format_kind != dnnl_blocked || m->ndims > 4 || f->inner_nblks > BL_DNNL_BLOCKS || m->extra.flags) {
        return false;
    }
    b->rank = m->ndims;
    b->inner = f->inner_nblks;
    for (int i = 0; i < m->ndims; i++) {
        b->dims[i] = m->dims[i];
        b->strides[i] = f->strides[i];
        b->padded |= m->padded_dims[i] != m->dims[i];
    }
    for (int i = 0; i < f->inner_nblks; i++) {
        b->inner_size[i] = f->inner_blks[i];
        b->inner_dim[i] = (int)f->inner_idxs[i];
    }
    return true;
}

static dnnl_status_t add_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, 0.0f);
}

static dnnl_status_t add_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

static dnnl_status_t make_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const bl_dnnl_conv *c,
                               md_const src, md_const weights, md_const bias, md_const dst,
                               const_dnnl_primitive_attr_t attr) {
    dnnl_dims_t strides = {c->stride, c->stride}, begin = {c->top, c->left}, end = {c->bottom, c->right};
    dnnl_convolution_desc_t desc;
    dnnl_status_t s = dnnl_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst, strides, begin, end);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}

static dnnl_status_t make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, md_const src,
                                 md_const weights, md_const bias, md_const dst,
                                 const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t s = dnnl_matmul_desc_init(&desc, src, weights, bias, dst);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}
#endif

struct bl_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct bl_dnnl_layout {
    md weights;
    bl_dnnl_blocking blocking;
};

struct bl_dnnl_primitive {
    dnnl_stream_t stream; /* borrowed from bl_dnnl */
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t desc;
    const char *implementation;
    uint64_t scratch;
    dnnl_memory_t memory[ARGS_MAX];
    int arg[ARGS_MAX];
    int count;
};

static int fail(bl_error *err, const char *what, dnnl_status_t status) {
    if (status == dnnl_out_of_memory) {
        return bl_fail(err, BL_E_MEMORY, "oneDNN has no memory for %s", what);
    }
    if (status == dnnl_unimplemented) {
        return bl_fail(err, BL_E_UNSUPPORTED, "oneDNN has no implementation of %s on this CPU", what);
    }
    return bl_fail(err, BL_E_DEVICE, "oneDNN failed in %s (status %d)", what, (int)status);
}

int bl_dnnl_open(bl_dnnl **out, bl_cpu_isa isa_max, bl_error *err) {
    bl_dnnl *d = calloc(1, sizeof *d);
    if (!d) {
        return bl_fail_memory(err, "oneDNN's engine", sizeof *d);
    }
    /* Fails once oneDNN has been used in this process; then the first limit stays, as cpu.h says. */
    if (isa_max == BL_ISA_PLAIN) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    } else if (isa_max == BL_ISA_AVX2) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    } else if (isa_max == BL_ISA_AVX512) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    } else if (isa_max == BL_ISA_AVX512_BF16) {
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
    }
    dnnl_status_t s = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (!s) {
        s = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    }
    if (s) {
        bl_dnnl_close(&d);
        return fail(err, "starting", s);
    }
    *out = d;
    return 0;
}

void bl_dnnl_close(bl_dnnl **d) {
    if (!*d) {
        return;
    }
    if ((*d)->stream) {
        dnnl_stream_destroy((*d)->stream);
    }
    if ((*d)->engine) {
        dnnl_engine_destroy((*d)->engine);
    }
    free(*d);
    *d = NULL;
}

void bl_dnnl_version(char *text, int size) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, (size_t)size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

static dnnl_data_type_t type_of(bl_dtype t) {
    return t == BL_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* The four tensors of a product; bias stays empty where there is none. */
typedef struct operands {
    md src, weights, bias, dst;
} operands;

static void operands_free(operands *o) {
    md_free(&o->src);
    md_free(&o->weights);
    md_free(&o->bias);
    md_free(&o->dst);
}

static dnnl_status_t conv_operands(operands *o, const bl_dnnl_conv *c, const bl_dnnl_layout *l) {
    dnnl_dims_t src = {c->n, c->c, c->h, c->w}, dst = {c->n, c->o, c->oh, c->ow};
    dnnl_dims_t weights = {c->o, c->c, c->kh, c->kw}, bias = {c->o};
    dnnl_data_type_t type = type_of(c->dtype);
    memset(o, 0, sizeof *o);
    dnnl_status_t s = md_make(&o->src, 4, src, type, dnnl_nhwc);
    s = s ? s : md_make(&o->dst, 4, dst, type, dnnl_nhwc);
    s = s   ? s
        : l ? md_copy(&o->weights, md_of(&l->weights))
            : md_make(&o->weights, 4, weights, type, dnnl_format_tag_any);
    return s ? s : c->bias ? md_make(&o->bias, 1, bias, dnnl_f32, dnnl_a) : dnnl_success;
}

static dnnl_status_t linear_operands(operands *o, const bl_dnnl_linear *l, const bl_dnnl_layout *layout) {
    dnnl_dims_t src = {l->rows, l->c}, dst = {l->rows, l->o}, weights = {l->c, l->o}, bias = {1, l->o};
    dnnl_data_type_t type = type_of(l->dtype);
    memset(o, 0, sizeof *o);
    dnnl_status_t s = md_make(&o->src, 2, src, type, dnnl_ab);
    s = s ? s : md_make(&o->dst, 2, dst, type, dnnl_ab);
    s = s        ? s
        : layout ? md_copy(&o->weights, md_of(&layout->weights))
                 : md_make(&o->weights, 2, weights, type, dnnl_format_tag_any);
    return s ? s : l->bias ? md_make(&o->bias, 2, bias, dnnl_f32, dnnl_ab) : dnnl_success;
}

static dnnl_status_t activation(dnnl_post_ops_t ops, bl_act act) {
    switch (act) {
    case BL_ACT_SILU:
        return add_eltwise(ops, dnnl_eltwise_swish, 1.0f);
    case BL_ACT_QUICK_GELU:
        return add_eltwise(ops, dnnl_eltwise_swish, 1.702f);
    case BL_ACT_GELU:
        return add_eltwise(ops, dnnl_eltwise_gelu_erf, 0.0f);
    default:
        return dnnl_success;
    }
}

static dnnl_status_t attributes(dnnl_primitive_attr_t *out, bl_act act, bool sum) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(out);
    if (s) {
        return s;
    }
    s = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    s = s ? s : dnnl_post_ops_create(&ops);
    s = s ? s : activation(ops, act);
    s = s ? s : sum ? add_sum(ops) : dnnl_success;
    s = s ? s : dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) {
        dnnl_post_ops_destroy(ops);
    }
    if (s) {
        dnnl_primitive_attr_destroy(*out);
        *out = NULL;
    }
    return s;
}

static dnnl_status_t conv_desc(dnnl_primitive_desc_t *out, bl_dnnl *d, const bl_dnnl_conv *c,
                               const operands *o) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = attributes(&attr, BL_ACT_NONE, c->sum);
    if (s) {
        return s;
    }
    s = make_conv(out, d->engine, c, md_of(&o->src), md_of(&o->weights), c->bias ? md_of(&o->bias) : NULL,
                  md_of(&o->dst), attr);
    dnnl_primitive_attr_destroy(attr);
    return s;
}

static dnnl_status_t linear_desc(dnnl_primitive_desc_t *out, bl_dnnl *d, const bl_dnnl_linear *l,
                                 const operands *o) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = attributes(&attr, l->act, l->sum);
    if (s) {
        return s;
    }
    s = make_matmul(out, d->engine, md_of(&o->src), md_of(&o->weights), l->bias ? md_of(&o->bias) : NULL,
                    md_of(&o->dst), attr);
    dnnl_primitive_attr_destroy(attr);
    return s;
}

static int layout_of(bl_dnnl_layout **out, dnnl_primitive_desc_t desc, bl_error *err) {
    bl_dnnl_layout *l = calloc(1, sizeof *l);
    if (!l) {
        return bl_fail_memory(err, "a weight's layout", sizeof *l);
    }
    md_const weights = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    if (!weights || md_copy(&l->weights, weights) || !md_blocking(&l->blocking, weights)) {
        bl_dnnl_layout_close(&l);
        return bl_fail(err, BL_E_DEVICE, "oneDNN asks for a layout of weights that is not a blocked one");
    }
    l->blocking.bytes = dnnl_memory_desc_get_size(weights);
    *out = l;
    return 0;
}

int bl_dnnl_conv_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_conv *c, bl_error *err) {
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t s = conv_operands(&o, c, NULL);
    s = s ? s : conv_desc(&desc, d, c, &o);
    int rc = s ? fail(err, "a convolution", s) : layout_of(out, desc, err);
    if (desc) {
        dnnl_primitive_desc_destroy(desc);
    }
    operands_free(&o);
    return rc;
}

int bl_dnnl_linear_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_linear *l, bl_error *err) {
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t s = linear_operands(&o, l, NULL);
    s = s ? s : linear_desc(&desc, d, l, &o);
    int rc = s ? fail(err, "a matrix product", s) : layout_of(out, desc, err);
    if (desc) {
        dnnl_primitive_desc_destroy(desc);
    }
    operands_free(&o);
    return rc;
}

const bl_dnnl_blocking *bl_dnnl_layout_blocking(const bl_dnnl_layout *l) {
    return &l->blocking;
}

void bl_dnnl_layout_close(bl_dnnl_layout **l) {
    if (*l) {
        md_free(&(*l)->weights);
        free(*l);
        *l = NULL;
    }
}

int64_t bl_dnnl_place(const bl_dnnl_blocking *b, int dim, int64_t i) {
    int64_t place = 0, stride = 1;
    for (int k = b->inner - 1; k >= 0; k--) {
        if (b->inner_dim[k] == dim) {
            place += i % b->inner_size[k] * stride;
            i /= b->inner_size[k];
        }
        stride *= b->inner_size[k];
    }
    return place + i * b->strides[dim];
}

static dnnl_status_t add_memory(bl_dnnl_primitive *p, bl_dnnl *d, int arg, md_const m) {
    p->arg[p->count] = arg;
    dnnl_status_t s = dnnl_memory_create(&p->memory[p->count], m, d->engine, DNNL_MEMORY_NONE);
    p->count += !s;
    return s;
}

/* Takes `desc` over, also when it fails. */
static int open_primitive(bl_dnnl_primitive **out, bl_dnnl *d, dnnl_primitive_desc_t desc, const operands *o,
                          bool bias, bl_error *err) {
    bl_dnnl_primitive *p = calloc(1, sizeof *p);
    if (!p) {
        dnnl_primitive_desc_destroy(desc);
        return bl_fail_memory(err, "an operation", sizeof *p);
    }
    p->stream = d->stream;
    p->desc = desc;
    md_const scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    p->scratch = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &p->implementation);
    dnnl_status_t s = dnnl_primitive_create(&p->primitive, desc);
    s = s ? s : add_memory(p, d, DNNL_ARG_SRC, md_of(&o->src));
    s = s ? s : add_memory(p, d, DNNL_ARG_WEIGHTS, md_of(&o->weights));
    s = s ? s : add_memory(p, d, DNNL_ARG_DST, md_of(&o->dst));
    if (!s && bias) {
        s = add_memory(p, d, DNNL_ARG_BIAS, md_of(&o->bias));
    }
    if (!s && p->scratch) {
        s = add_memory(p, d, DNNL_ARG_SCRATCHPAD, scratch);
    }
    if (s) {
        bl_dnnl_primitive_close(&p);
        return fail(err, "making an operation", s);
    }
    *out = p;
    return 0;
}

int bl_dnnl_conv_open(bl_dnnl_primitive **out, bl_dnnl *d, const bl_dnnl_conv *c, const bl_dnnl_layout *l,
                      bl_error *err) {
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t s = conv_operands(&o, c, l);
    s = s ? s : conv_desc(&desc, d, c, &o);
    int rc = s ? fail(err, "a convolution", s) : open_primitive(out, d, desc, &o, c->bias, err);
    operands_free(&o);
    return rc;
}

int bl_dnnl_linear_open(bl_dnnl_primitive **out, bl_dnnl *d, const bl_dnnl_linear *l,
                        const bl_dnnl_layout *layout, bl_error *err) {
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t s = linear_operands(&o, l, layout);
    s = s ? s : linear_desc(&desc, d, l, &o);
    int rc = s ? fail(err, "a matrix product", s) : open_primitive(out, d, desc, &o, l->bias, err);
    operands_free(&o);
    return rc;
}

void bl_dnnl_primitive_close(bl_dnnl_primitive **p) {
    if (!*p) {
        return;
    }
    for (int i = 0; i < (*p)->count; i++) {
        dnnl_memory_destroy((*p)->memory[i]);
    }
    if ((*p)->primitive) {
        dnnl_primitive_destroy((*p)->primitive);
    }
    if ((*p)->desc) {
        dnnl_primitive_desc_destroy((*p)->desc);
    }
    free(*p);
    *p = NULL;
}

uint64_t bl_dnnl_scratch(const bl_dnnl_primitive *p) {
    return p->scratch;
}

const char *bl_dnnl_implementation(const bl_dnnl_primitive *p) {
    return p->implementation;
}

/* oneDNN takes pointers without const for what it only reads. */
static void *bound(int arg, const bl_dnnl_args *a) {
    const void *p = arg == DNNL_ARG_SRC       ? a->src
                    : arg == DNNL_ARG_WEIGHTS ? a->weights
                    : arg == DNNL_ARG_BIAS    ? (const void *)a->bias
                    : arg == DNNL_ARG_DST     ? a->dst
                                              : a->scratch;
    union {
        const void *in;
        void *out;
    } u = {p};
    return u.out;
}

int bl_dnnl_run(bl_dnnl_primitive *p, const bl_dnnl_args *args, bl_error *err) {
    dnnl_exec_arg_t list[ARGS_MAX];
    for (int i = 0; i < p->count; i++) {
        list[i] = (dnnl_exec_arg_t){.arg = p->arg[i], .memory = p->memory[i]};
        dnnl_status_t s = dnnl_memory_set_data_handle(p->memory[i], bound(p->arg[i], args));
        if (s) {
            return fail(err, "binding memory", s);
        }
    }
    dnnl_status_t s = dnnl_primitive_execute(p->primitive, p->stream, p->count, list);
    s = s ? s : dnnl_stream_wait(p->stream);
    return s ? fail(err, "running an operation", s) : 0;
}
