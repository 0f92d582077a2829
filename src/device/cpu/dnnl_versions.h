/* What differs between oneDNN's API 2 and its API 3; for dnnl_api.c alone, where nothing knows which one it
 * is. API 2 has memory descriptors as structs that need no freeing, API 3 as handles; descriptors of
 * operations are gone in API 3. */
#ifndef BALLAST_DEVICE_CPU_DNNL_VERSIONS_H
#define BALLAST_DEVICE_CPU_DNNL_VERSIONS_H

#include "device/cpu/dnnl_api.h"

#include <dnnl.h>

/* A memory descriptor; empty while all its bytes are 0. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t bl_md_const;

typedef struct bl_md {
    dnnl_memory_desc_t handle;
} bl_md;
#else
typedef const dnnl_memory_desc_t *bl_md_const;

typedef struct bl_md {
    dnnl_memory_desc_t value;
} bl_md;
#endif

dnnl_status_t bl_md_make(bl_md *m, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                         dnnl_format_tag_t tag);
dnnl_status_t bl_md_copy(bl_md *m, bl_md_const from);
void bl_md_free(bl_md *m);
bl_md_const bl_md_of(const bl_md *m);

/* Says how a blocked layout is made up, but for its bytes; false for any other. *b begins with zeros. */
bool bl_md_blocking(bl_dnnl_blocking *b, bl_md_const m);

dnnl_status_t bl_dnnl_add_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha);
dnnl_status_t bl_dnnl_add_sum(dnnl_post_ops_t ops);

/* bias may be NULL. */
dnnl_status_t bl_dnnl_make_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const bl_dnnl_conv *c,
                                bl_md_const src, bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                const_dnnl_primitive_attr_t attr);
dnnl_status_t bl_dnnl_make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, bl_md_const src,
                                  bl_md_const weights, bl_md_const bias, bl_md_const dst,
                                  const_dnnl_primitive_attr_t attr);

#endif
