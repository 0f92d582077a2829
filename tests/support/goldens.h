/* Reference outputs of tests/data, and the comparison with them. What goes wrong in here fails the running
 * test. */
#ifndef BALLAST_TESTS_SUPPORT_GOLDENS_H
#define BALLAST_TESTS_SUPPORT_GOLDENS_H

#include "checkpoint/safetensors.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define BL_TEST_PATH 4096

/* The path of a file of tests/data: the folder that the environment calls BALLAST_TEST_DATA. */
void bl_test_data(char path[BL_TEST_PATH], const char *name);

/* A JSON file of tests/data. Owner: the caller; json_decref. */
json_t *bl_test_json(const char *name);

/* A golden file and the tolerances beside it (or one folder up). */
typedef struct bl_golden {
    bl_safetensors *file;
    json_t *tolerances; /* of this file: {tensor: {"tol_abs": ...}}; NULL where there are none */
} bl_golden;

/* `name`: "sd15/golden/unet.safetensors". */
void bl_golden_open(bl_golden *out, const char *name);
void bl_golden_close(bl_golden *golden);

/* The tensor of this name, which must be there. Borrowed. */
const bl_file_tensor *bl_golden_tensor(const bl_golden *golden, const char *name);

/* Its elements: F32; I64; or any type as bytes. Owner: the caller; free(). */
float *bl_golden_f32(const bl_golden *golden, const char *name);
int64_t *bl_golden_i64(const bl_golden *golden, const char *name);
void *bl_golden_bytes(const bl_golden *golden, const char *name);

/* How far from the golden values a computation in `precision` may be. F32: tol_abs, or 1e-5 of the peak where
 * nothing is recorded. F16, BF16: four times what torch's own error at that precision is (or 2e-3, 2e-2 of
 * the peak). */
double bl_golden_tolerance(const bl_golden *golden, const char *name, bl_dtype precision);

/* Compares [count] values with the golden tensor, which must have as many; fails the test with name, largest
 * error, where it is, tolerance and peak. */
void bl_golden_check(const bl_golden *golden, const char *name, const float *mine, int64_t count,
                     bl_dtype precision);

/* What a computation in BF16 errs against the golden tensor, in torch's own errors at that type (root mean
 * square over root mean square). Fails the test if torch's is not recorded. */
double bl_golden_bf16_share(const bl_golden *golden, const char *name, const float *mine);

/* The share of a picture's bytes that may be off by one: 0.5%, or, as tolerances are 16 times the golden's
 * own error, 16 times the share in which the golden was measured to miss the exact picture. `before`: the
 * picture whose latents it was made from, which has its own; or NULL. */
double bl_golden_share_off(const char *family, const char *picture, const char *before);

/* The comparison alone: the largest |gold - mine|, infinity if a value of mine is not finite. *where: its
 * index. */
double bl_max_abs_error(const float *gold, const float *mine, int64_t count, int64_t *where);

/* The largest |gold|. */
double bl_peak(const float *gold, int64_t count);

/* Fails the test if the largest error is above `tolerance`. */
void bl_check_close(const char *name, const float *gold, const float *mine, int64_t count, double tolerance);

#endif
