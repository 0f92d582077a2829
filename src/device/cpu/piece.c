/* Products of a piece: of a band, a slice of rows, a share of a batch. */
#include "device/cpu/internal.h"

#include <string.h>

bool bl_cpu_is_general(const bl_dnnl_primitive *p) {
    return !strncmp(bl_dnnl_implementation(p), "gemm", 4);
}

bool bl_cpu_is_reference(const bl_dnnl_primitive *p) {
    return !strncmp(bl_dnnl_implementation(p), "ref", 3);
}

int bl_cpu_piece_conv(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p,
                      const bl_dnnl_conv *piece, const bl_dnnl_conv *whole, bool *sure, bl_error *err) {
    int rc = bl_dnnl_conv_open(out, cpu->dnnl, piece, p->layout, err);
    bool all = piece->n == whole->n && piece->h == whole->h && piece->oh == whole->oh;
    return rc || all || !*sure ? rc : bl_cpu_try_conv(sure, cpu, p->layout, piece, whole, err);
}

int bl_cpu_piece_linear(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p, bl_dnnl_linear piece,
                        int64_t whole_rows, bool *sure, bl_error *err) {
    int rc = bl_dnnl_linear_open(out, cpu->dnnl, &piece, p->layout, err);
    bool all = piece.rows == whole_rows;
    return rc || all || !*sure ? rc : bl_cpu_try_linear(sure, cpu, p->layout, piece, whole_rows, err);
}
