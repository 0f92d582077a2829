#include "device/cpu/dnnl_versions.h"

#if DNNL_VERSION_MAJOR >= 3
dnnl_status_t bl_md_make(bl_md *m, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                         dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(&m->handle, rank, dims, type, tag);
}

dnnl_status_t bl_md_copy(bl_md *m, bl_md_const from) {
    return dnnl_memory_desc_clone(&m->handle, from);
}

void bl_md_free(bl_md *m) {
    if (m->handle) {
        dnnl_memory_desc_destroy(m->handle);
        m->handle = NULL;
    }
}

bl_md_const bl_md_of(const bl_md *m) {
    return m->handle;
}

bool bl_md_blocking(bl_dnnl_blocking *b, bl_md_const m) {
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

dnnl_status_t bl_dnnl_add_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, alg, alpha, 0.0f);
}

dnnl_status_t bl_dnnl_add_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

dnnl_status_t bl_dnnl_make_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const bl_dnnl_conv *c,
                                bl_md_const src, bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                const_dnnl_primitive_attr_t attr) {
    dnnl_dims_t strides = {c->stride, c->stride}, begin = {c->top, c->left}, end = {c->bottom, c->right};
    dnnl_dims_t dilates = {0, 0};
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference,
                                                          dnnl_convolution_direct, src, weights, bias, dst,
                                                          strides, dilates, begin, end, attr);
}

dnnl_status_t bl_dnnl_make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, bl_md_const src,
                                  bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                  const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, src, weights, bias, dst, attr);
}
#else
dnnl_status_t bl_md_make(bl_md *m, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                         dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(&m->value, rank, dims, type, tag);
}

dnnl_status_t bl_md_copy(bl_md *m, bl_md_const from) {
    m->value = *from;
    return dnnl_success;
}

void bl_md_free(bl_md *m) {
    (void)m;
}

bl_md_const bl_md_of(const bl_md *m) {
    return &m->value;
}

bool bl_md_blocking(bl_dnnl_blocking *b, bl_md_const m) {
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

dnnl_status_t bl_dnnl_add_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, 0.0f);
}

dnnl_status_t bl_dnnl_add_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

dnnl_status_t bl_dnnl_make_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const bl_dnnl_conv *c,
                                bl_md_const src, bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                const_dnnl_primitive_attr_t attr) {
    dnnl_dims_t strides = {c->stride, c->stride}, begin = {c->top, c->left}, end = {c->bottom, c->right};
    dnnl_convolution_desc_t desc;
    dnnl_status_t s = dnnl_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst, strides, begin, end);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}

dnnl_status_t bl_dnnl_make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, bl_md_const src,
                                  bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                  const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t s = dnnl_matmul_desc_init(&desc, src, weights, bias, dst);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}
#endif
