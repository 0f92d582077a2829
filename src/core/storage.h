/* How a file holds the values of a tensor: each in a type of its own, or stored small: codes of a few bits
 * that share scales. Formats of GGUF (ggml-org/ggml, docs/gguf.md, and the layouts that gguf-py decodes),
 * eight-bit floats (Micikevicius et al., "FP8 Formats for Deep Learning", 2022) and eight-bit integers with
 * scales.
 *
 * Every widening here is exact or rounded once: an f16 scale has 11 bits, its product with a code at most 24.
 * So the values are the same in whatever order or pieces they are made. */
#ifndef BALLAST_CORE_STORAGE_H
#define BALLAST_CORE_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum bl_storage {
    BL_STORED_PLAIN = 0, /* elements of the tensor's own type */
    BL_STORED_Q4_0,
    BL_STORED_Q4_1,
    BL_STORED_Q5_0,
    BL_STORED_Q5_1,
    BL_STORED_Q8_0,
    BL_STORED_Q4_K,
    BL_STORED_Q5_K,
    BL_STORED_Q6_K,
    BL_STORED_F8_E4M3,
    BL_STORED_F8_E5M2,
    BL_STORED_I8,
    BL_STORAGE_COUNT
} bl_storage;

/* Of a storage other than BL_STORED_PLAIN: its name ("Q8_0"), and that many values in that many bytes make a
 * block, the least that can be widened. */
typedef struct bl_storage_form {
    const char *name;
    int values, bytes;
} bl_storage_form;

const bl_storage_form *bl_storage_of(bl_storage s);

/* Widens `blocks` blocks at `src` to blocks * values floats. Codes without their scales: those of F8_E4M3,
 * F8_E5M2 and I8 are values of one byte each. Source and destination must not overlap. */
void bl_widen(float *dst, bl_storage s, const void *src, size_t blocks);

/* Undoes ConvRot in place: `values` whole codes of the rotated row, in groups of `group` (a power of four),
 * become those of the row. The rotation is the Kronecker power of H4 =
 * [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],[-1,1,1,1]] over sqrt(group), which is its own inverse
 * (stable-diffusion.cpp, docs/int8_convrot.md). Exact for codes of eight bits. */
void bl_unrotate(float *row, size_t values, int group);

/* Whole codes to values, in place: undoes ConvRot where `rotation` is not 0, then multiplies. */
void bl_scale_codes(float *values, size_t count, int rotation, float scale);

/* How the rows of a matrix lie where they stay small: each a whole number of the storage's blocks. */
typedef struct bl_small {
    bl_storage storage;
    int rotation; /* the group of ConvRot, or 0 */
    bool scaled;  /* each row has a factor beside its codes */
} bl_small;

/* Bytes of the codes of a row of `columns` values. */
uint64_t bl_small_row_bytes(const bl_small *form, int64_t columns);

/* Widens rows to dst [rows, columns]: the bits that reading them wide gives. `scales`: [rows], or NULL where
 * rows have none. */
void bl_widen_rows(float *dst, const bl_small *form, const void *codes, const float *scales, int64_t rows,
                   int64_t columns);

#endif
