#include "device/cpu/dnnl_api.h"

#include "core/ask.h"
#include "device/cpu/dnnl_versions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 7

/* What is asked for before oneDNN makes something: it ends the process with a signal where it is refused
 * (docs/threads.md). A primitive takes up to 0.2 MB by malloc and some MB for code. */
#define OPEN_BYTES (8u << 20)

struct bl_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct bl_dnnl_layout {
    bl_md weights;
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
        return bl_fail(err, BL_E_MEMORY, "out of memory: oneDNN, for %s", what);
    }
    if (status == dnnl_unimplemented) {
        return bl_fail(err, BL_E_UNSUPPORTED, "oneDNN has no implementation of %s on this CPU", what);
    }
    return bl_fail(err, BL_E_DEVICE, "oneDNN failed in %s (status %d)", what, (int)status);
}

int bl_dnnl_open(bl_dnnl **out, bl_cpu_isa isa_max, bl_error *err) {
    *out = NULL;
    int rc = bl_ask_memory(OPEN_BYTES, "oneDNN", err);
    if (rc) {
        return rc;
    }
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
    bl_md src, weights, bias, dst;
} operands;

static void operands_free(operands *o) {
    bl_md_free(&o->src);
    bl_md_free(&o->weights);
    bl_md_free(&o->bias);
    bl_md_free(&o->dst);
}

static dnnl_status_t conv_operands(operands *o, const bl_dnnl_conv *c, const bl_dnnl_layout *l) {
    dnnl_dims_t src = {c->n, c->c, c->h, c->w}, dst = {c->n, c->o, c->oh, c->ow};
    dnnl_dims_t weights = {c->o, c->c, c->kh, c->kw}, bias = {c->o};
    dnnl_data_type_t type = type_of(c->dtype);
    memset(o, 0, sizeof *o);
    dnnl_status_t s = bl_md_make(&o->src, 4, src, type, dnnl_nhwc);
    s = s ? s : bl_md_make(&o->dst, 4, dst, type, dnnl_nhwc);
    s = s   ? s
        : l ? bl_md_copy(&o->weights, bl_md_of(&l->weights))
            : bl_md_make(&o->weights, 4, weights, type, dnnl_format_tag_any);
    return s ? s : c->bias ? bl_md_make(&o->bias, 1, bias, dnnl_f32, dnnl_a) : dnnl_success;
}

static dnnl_status_t linear_operands(operands *o, const bl_dnnl_linear *l, const bl_dnnl_layout *layout) {
    dnnl_dims_t src = {l->rows, l->c}, dst = {l->rows, l->o}, weights = {l->c, l->o}, bias = {1, l->o};
    dnnl_data_type_t type = type_of(l->dtype);
    memset(o, 0, sizeof *o);
    dnnl_status_t s = bl_md_make(&o->src, 2, src, type, dnnl_ab);
    s = s ? s : bl_md_make(&o->dst, 2, dst, type, dnnl_ab);
    s = s        ? s
        : layout ? bl_md_copy(&o->weights, bl_md_of(&layout->weights))
                 : bl_md_make(&o->weights, 2, weights, type, dnnl_format_tag_any);
    return s ? s : l->bias ? bl_md_make(&o->bias, 2, bias, dnnl_f32, dnnl_ab) : dnnl_success;
}

static dnnl_status_t activation(dnnl_post_ops_t ops, bl_act act) {
    switch (act) {
    case BL_ACT_SILU:
        return bl_dnnl_add_eltwise(ops, dnnl_eltwise_swish, 1.0f);
    case BL_ACT_QUICK_GELU:
        return bl_dnnl_add_eltwise(ops, dnnl_eltwise_swish, 1.702f);
    case BL_ACT_GELU:
        return bl_dnnl_add_eltwise(ops, dnnl_eltwise_gelu_erf, 0.0f);
    case BL_ACT_GELU_TANH:
        return bl_dnnl_add_eltwise(ops, dnnl_eltwise_gelu_tanh, 0.0f);
    case BL_ACT_RELU:
        return bl_dnnl_add_eltwise(ops, dnnl_eltwise_relu, 0.0f);
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
    s = s ? s : sum ? bl_dnnl_add_sum(ops) : dnnl_success;
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
    s = bl_dnnl_make_conv(out, d->engine, c, bl_md_of(&o->src), bl_md_of(&o->weights),
                          c->bias ? bl_md_of(&o->bias) : NULL, bl_md_of(&o->dst), attr);
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
    s = bl_dnnl_make_matmul(out, d->engine, bl_md_of(&o->src), bl_md_of(&o->weights),
                            l->bias ? bl_md_of(&o->bias) : NULL, bl_md_of(&o->dst), attr);
    dnnl_primitive_attr_destroy(attr);
    return s;
}

static int layout_of(bl_dnnl_layout **out, dnnl_primitive_desc_t desc, bl_error *err) {
    *out = NULL;
    bl_dnnl_layout *l = calloc(1, sizeof *l);
    if (!l) {
        return bl_fail_memory(err, "a weight's layout", sizeof *l);
    }
    bl_md_const weights = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    if (!weights || bl_md_copy(&l->weights, weights) || !bl_md_blocking(&l->blocking, weights)) {
        bl_dnnl_layout_close(&l);
        return bl_fail(err, BL_E_DEVICE, "oneDNN asks for a layout of weights that is not a blocked one");
    }
    l->blocking.bytes = dnnl_memory_desc_get_size(weights);
    *out = l;
    return 0;
}

/* The layout that `desc`, made with status `s`, asks for. Frees it and the operands. */
static int take_layout(bl_dnnl_layout **out, dnnl_status_t s, const char *what, dnnl_primitive_desc_t desc,
                       operands *o, bl_error *err) {
    int rc = s ? fail(err, what, s) : layout_of(out, desc, err);
    if (desc) {
        dnnl_primitive_desc_destroy(desc);
    }
    operands_free(o);
    return rc;
}

int bl_dnnl_conv_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_conv *c, bl_error *err) {
    *out = NULL;
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    int rc = bl_ask_memory(OPEN_BYTES, "oneDNN", err);
    if (rc) {
        return rc;
    }
    dnnl_status_t s = conv_operands(&o, c, NULL);
    s = s ? s : conv_desc(&desc, d, c, &o);
    return take_layout(out, s, "a convolution", desc, &o, err);
}

int bl_dnnl_linear_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_linear *l, bl_error *err) {
    *out = NULL;
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    int rc = bl_ask_memory(OPEN_BYTES, "oneDNN", err);
    if (rc) {
        return rc;
    }
    dnnl_status_t s = linear_operands(&o, l, NULL);
    s = s ? s : linear_desc(&desc, d, l, &o);
    return take_layout(out, s, "a matrix product", desc, &o, err);
}

const bl_dnnl_blocking *bl_dnnl_layout_blocking(const bl_dnnl_layout *l) {
    return &l->blocking;
}

void bl_dnnl_layout_close(bl_dnnl_layout **l) {
    if (*l) {
        bl_md_free(&(*l)->weights);
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

static dnnl_status_t add_memory(bl_dnnl_primitive *p, bl_dnnl *d, int arg, bl_md_const m) {
    p->arg[p->count] = arg;
    dnnl_status_t s = dnnl_memory_create(&p->memory[p->count], m, d->engine, DNNL_MEMORY_NONE);
    p->count += !s;
    return s;
}

/* Takes `desc` over, also when it fails. */
static int open_primitive(bl_dnnl_primitive **out, bl_dnnl *d, dnnl_primitive_desc_t desc, const operands *o,
                          bool bias, bl_error *err) {
    *out = NULL;
    bl_dnnl_primitive *p = calloc(1, sizeof *p);
    if (!p) {
        dnnl_primitive_desc_destroy(desc);
        return bl_fail_memory(err, "an operation", sizeof *p);
    }
    p->stream = d->stream;
    p->desc = desc;
    bl_md_const scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    p->scratch = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &p->implementation);
    dnnl_status_t s = dnnl_primitive_create(&p->primitive, desc);
    s = s ? s : add_memory(p, d, DNNL_ARG_SRC, bl_md_of(&o->src));
    s = s ? s : add_memory(p, d, DNNL_ARG_WEIGHTS, bl_md_of(&o->weights));
    s = s ? s : add_memory(p, d, DNNL_ARG_DST, bl_md_of(&o->dst));
    if (!s && bias) {
        s = add_memory(p, d, DNNL_ARG_BIAS, bl_md_of(&o->bias));
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
    *out = NULL;
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    int rc = bl_ask_memory(OPEN_BYTES, "oneDNN", err);
    if (rc) {
        return rc;
    }
    dnnl_status_t s = conv_operands(&o, c, l);
    s = s ? s : conv_desc(&desc, d, c, &o);
    rc = s ? fail(err, "a convolution", s) : open_primitive(out, d, desc, &o, c->bias, err);
    operands_free(&o);
    return rc;
}

int bl_dnnl_linear_open(bl_dnnl_primitive **out, bl_dnnl *d, const bl_dnnl_linear *l,
                        const bl_dnnl_layout *layout, bl_error *err) {
    *out = NULL;
    operands o;
    dnnl_primitive_desc_t desc = NULL;
    int rc = bl_ask_memory(OPEN_BYTES, "oneDNN", err);
    if (rc) {
        return rc;
    }
    dnnl_status_t s = linear_operands(&o, l, layout);
    s = s ? s : linear_desc(&desc, d, l, &o);
    rc = s ? fail(err, "a matrix product", s) : open_primitive(out, d, desc, &o, l->bias, err);
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
