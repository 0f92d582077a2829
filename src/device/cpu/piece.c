/* Products of a piece: of a band, a slice of rows, a share of a batch. */
#include "device/cpu/internal.h"

#include <string.h>

bool bl_cpu_is_general(const bl_dnnl_primitive *p) {
    return !strncmp(bl_dnnl_implementation(p), "gemm", 4);
}

bool bl_cpu_is_reference(const bl_dnnl_primitive *p) {
    return !strncmp(bl_dnnl_implementation(p), "ref", 3);
}

/* Does the piece of a product give the bits that the whole has there? The same implementation adds up in the
 * same order, except a general one. */
static bool alike(const bl_dnnl_primitive *whole, const bl_dnnl_primitive *piece) {
    return !strcmp(bl_dnnl_implementation(whole), bl_dnnl_implementation(piece)) && !bl_cpu_is_general(whole);
}

int bl_cpu_piece_conv(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p,
                      const bl_dnnl_conv *piece, const bl_dnnl_conv *whole, bool *sure, bl_error *err) {
    bl_dnnl_primitive *like = NULL;
    int rc = bl_dnnl_conv_open(out, cpu->dnnl, piece, p->layout, err);
    if (rc || (piece->n == whole->n && piece->h == whole->h && piece->oh == whole->oh)) {
        return rc;
    }
    rc = bl_dnnl_conv_open(&like, cpu->dnnl, whole, p->layout, err);
    *sure = *sure && !rc && alike(like, *out);
    bl_dnnl_primitive_close(&like);
    return rc;
}

int bl_cpu_piece_linear(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p, bl_dnnl_linear piece,
                        int64_t whole_rows, bool *sure, bl_error *err) {
    bl_dnnl_primitive *like = NULL;
    int rc = bl_dnnl_linear_open(out, cpu->dnnl, &piece, p->layout, err);
    if (rc || piece.rows == whole_rows) {
        return rc;
    }
    piece.rows = whole_rows;
    rc = bl_dnnl_linear_open(&like, cpu->dnnl, &piece, p->layout, err);
    *sure = *sure && !rc && alike(like, *out);
    bl_dnnl_primitive_close(&like);
    return rc;
}
