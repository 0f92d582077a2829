#include "pipeline/eval_flux2.h"

#include <stdlib.h>
#include <string.h>

int bl_eval_flux2_made(void **out, const bl_tensor *input, const bl_flux2 *arch, const bl_flux2_shape *shape,
                       bl_error *err) {
    *out = NULL;
    if (strcmp(input->name, "rope") != 0) {
        return 0;
    }
    const size_t one = (size_t)input->h * (size_t)input->c; /* of a picture */
    float *made = malloc((size_t)bl_tensor_bytes(input));
    if (!made) {
        return bl_fail_memory(err, "the rotary embedding", bl_tensor_bytes(input));
    }
    for (int i = 0; i < shape->batch; i++) {
        bl_flux2_rope(made + (size_t)i * one, arch, shape);
    }
    *out = made;
    return 0;
}

void bl_eval_flux2_fit(float *data, const bl_tensor *input) {
    const bool scaled = !strcmp(input->name, "t") || !strcmp(input->name, "guidance");
    for (int64_t i = 0; scaled && i < bl_tensor_elements(input); i++) {
        data[i] *= 1000;
    }
}
