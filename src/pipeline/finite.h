/* NaN and infinity in what a module made: found, and told with what could help. */
#ifndef BALLAST_PIPELINE_FINITE_H
#define BALLAST_PIPELINE_FINITE_H

#include "pipeline/generation.h"

/* True unless some value is NaN or infinite. */
bool bl_all_finite(const float *x, size_t n);

/* bl_fail for a module's NaN; returns BL_E_NUMERIC. `where`: "in the picture". Suggests f32 only if that is
 * not what the module computes in already. */
int bl_fail_nan(const bl_generation *generation, bl_module module, const char *where, bl_error *err);

#endif
