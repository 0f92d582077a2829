/* Safetensors files of eight-bit weights that tests make of other checkpoints. What goes wrong in here fails
 * the running test. */
#ifndef BALLAST_TESTS_SUPPORT_SMALL_FILES_H
#define BALLAST_TESTS_SUPPORT_SMALL_FILES_H

typedef enum bl_test_small {
    BL_TEST_FP8,      /* F8_E4M3 with a scale_weight a tensor, as in older files */
    BL_TEST_FP8_ROWS, /* the same with a weight_scale a row */
    BL_TEST_INT8,     /* I8 with a weight_scale a row and a comfy_quant */
    BL_TEST_CONVROT,  /* the same, rotated in groups of 64, where rows are whole groups */
    BL_TEST_SAID,     /* BL_TEST_INT8 that the header's _quantization_metadata describes */
    BL_TEST_ALL       /* each matrix in another of these, in turn */
} bl_test_small;

/* Writes the F32 matrices of a safetensors file that are called X.weight so, all else as it is. Codes are
 * those nearest to the value; of rotated ones, to what is not rotated back: other weights. */
void bl_test_write_small(const char *to, const char *from, bl_test_small kind);

#endif
