#include "pipeline/eval_zimage.h"

#include <stdlib.h>
#include <string.h>

/* The tables of one row, for each of the batch. */
static int make_tables(float *out, const bl_tensor *input, const bl_zimage *arch, const bl_zimage_shape *s,
                       bl_error *err) {
    const size_t head = (size_t)input->c, images = (size_t)bl_zimage_image_tokens(s) * head,
                 captions = (size_t)bl_zimage_caption_tokens(s) * head;
    float *both = malloc((images + captions) * sizeof *both);
    if (!both) {
        return bl_fail_memory(err, "the rotary embedding", (images + captions) * sizeof *both);
    }
    bl_zimage_rope(both, both + images, arch, s);
    const float *from = strcmp(input->name, "caption_rope") ? both : both + images;
    const size_t n = (size_t)input->h * head;
    for (int i = 0; i < s->batch; i++) {
        memcpy(out + (size_t)i * n, from, n * sizeof *out);
    }
    free(both);
    return 0;
}

int bl_eval_zimage_made(void **out, const bl_tensor *input, const bl_zimage *arch,
                        const bl_zimage_shape *shape, bl_error *err) {
    const bool rows = !strcmp(input->name, "caption_rows"), fill = !strcmp(input->name, "image_fill");
    const char *rope = strstr(input->name, "rope");
    *out = NULL;
    if (!rows && !fill && !rope) {
        return 0;
    }
    void *made = calloc(1, (size_t)bl_tensor_bytes(input));
    int result = made ? 0 : bl_fail_memory(err, input->name, bl_tensor_bytes(input));
    for (int64_t i = 0; rows && !result && i < bl_tensor_elements(input); i++) {
        ((int32_t *)made)[i] = i % input->h >= shape->caption;
    }
    result = result || !rope ? result : make_tables(made, input, arch, shape, err);
    if (result) {
        free(made);
        return result;
    }
    *out = made;
    return 0;
}

int bl_eval_zimage_fit(void **data, const bl_tensor *input, const bl_zimage_shape *shape, bl_error *err) {
    if (!strcmp(input->name, "t")) {
        for (int i = 0; i < shape->batch; i++) {
            ((float *)*data)[i] *= 1000;
        }
    }
    if (strcmp(input->name, "caption") != 0 || input->h == shape->caption) {
        return 0;
    }
    const size_t own = (size_t)shape->caption * (size_t)input->c, all = (size_t)input->h * (size_t)input->c;
    float *filled = calloc((size_t)shape->batch * all, sizeof *filled);
    if (!filled) {
        return bl_fail_memory(err, "captions", bl_tensor_bytes(input));
    }
    for (size_t i = 0; i < (size_t)shape->batch; i++) {
        memcpy(filled + i * all, (const float *)*data + i * own, own * sizeof *filled);
    }
    free(*data);
    *data = filled;
    return 0;
}
