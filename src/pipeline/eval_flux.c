#include "pipeline/eval_flux.h"

#include <stdlib.h>
#include <string.h>

/* Room for the rotary embedding, where the input is that one. *one: floats of a picture's. */
static int make_room(void **out, size_t *one, const bl_tensor *input, bl_error *err) {
    *out = NULL;
    *one = (size_t)input->h * (size_t)input->c;
    if (strcmp(input->name, "rope") != 0) {
        return 0;
    }
    *out = malloc((size_t)bl_tensor_bytes(input));
    return *out ? 0 : bl_fail_memory(err, "the rotary embedding", bl_tensor_bytes(input));
}

int bl_eval_flux1_made(void **out, const bl_tensor *input, const bl_flux1 *arch, const bl_flux1_shape *shape,
                       bl_error *err) {
    size_t one;
    int result = make_room(out, &one, input, err);
    for (int i = 0; *out && i < shape->batch; i++) {
        bl_flux1_rope((float *)*out + (size_t)i * one, arch, shape);
    }
    return result;
}

int bl_eval_flux2_made(void **out, const bl_tensor *input, const bl_flux2 *arch, const bl_flux2_shape *shape,
                       bl_error *err) {
    size_t one;
    int result = make_room(out, &one, input, err);
    for (int i = 0; *out && i < shape->batch; i++) {
        bl_flux2_rope((float *)*out + (size_t)i * one, arch, shape);
    }
    return result;
}

void bl_eval_flux_fit(float *data, const bl_tensor *input) {
    const bool scaled = !strcmp(input->name, "t") || !strcmp(input->name, "guidance");
    for (int64_t i = 0; scaled && i < bl_tensor_elements(input); i++) {
        data[i] *= 1000;
    }
}
