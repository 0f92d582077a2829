#include "pipeline/finite.h"

#include <stdint.h>
#include <string.h>

bool bl_all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            return false;
        }
    }
    return true;
}

int bl_fail_nan(const bl_generation *generation, bl_module module, const char *where, bl_error *err) {
    bool vae = bl_module_is_vae(module);
    const char *name = bl_module_name(module), *flag = vae ? "--vae-dtype" : "--dtype";
    if (bl_generation_dtype(generation, module) != BL_F32) {
        return bl_fail(err, BL_E_NUMERIC, "%s: NaN %s; try %s f32", name, where, flag);
    }
    const char *way = module == BL_TAESD ? "try another copy of its file"
                      : vae              ? "try another VAE with --vae"
                                         : "try another copy of it";
    return bl_fail(err, BL_E_NUMERIC, "%s: NaN %s, and it runs in f32 already: the checkpoint is damaged; %s",
                   name, where, way);
}
