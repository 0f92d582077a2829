/* Any bytes as GGUF, or as weights stored small in safetensors: opening them and widening every tensor ends
 * in values or in an error. */
#include "fuzz.h"

#include "checkpoint/safetensors.h"

#define MAX_VALUES (1 << 20)

static void read_tensor(const bl_safetensors *f, const bl_file_tensor *t) {
    const bl_dtype dtype = bl_tensor_dtype(t);
    int64_t values = 1;
    for (int i = 0; i < t->rank; i++) {
        values *= t->shape[i];
    }
    if (dtype == BL_DTYPE_COUNT || values > MAX_VALUES) {
        return;
    }
    void *out = malloc((size_t)values * bl_dtype_size(dtype) + 1);
    bl_error err = {.code = 0};
    const int rc = out ? bl_tensor_read(f, t, 0, values, out, &err) : 0;
    MUST(!rc || (rc == BL_E_FORMAT && err.message[0]));
    free(out);
}

/* Its codes, as memory keeps them. */
static void read_small(const bl_safetensors *f, const bl_file_tensor *t) {
    bl_small form;
    int64_t values = 1;
    for (int i = 0; i < t->rank; i++) {
        values *= t->shape[i];
    }
    if (!t->rank || !values || values > MAX_VALUES || !bl_tensor_small(&form, t, values / t->shape[0])) {
        return;
    }
    const int64_t rows = t->shape[0], row = values / rows;
    void *codes = malloc((size_t)rows * (size_t)bl_small_row_bytes(&form, row));
    float *scales = malloc((size_t)rows * sizeof *scales);
    bl_error err = {.code = 0};
    const int rc = codes && scales ? bl_tensor_read_small(f, t, 0, rows, row, codes, scales, &err) : 0;
    MUST(!rc || (rc == BL_E_FORMAT && err.message[0]));
    free(scales);
    free(codes);
}

/* Each has its NUL behind it. */
static void walk_words(const bl_safetensors *f) {
    uint64_t count;
    const char *words = bl_safetensors_words(f, &count);
    for (uint64_t i = 0; words && i < count; i++) {
        words += strlen(words) + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = file_of(path, data, size);
    bl_error err = {.code = 0};
    bl_safetensors *f = NULL;
    if (bl_safetensors_open(&f, path, &err) == 0) {
        int count;
        const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
        for (int i = 0; i < count; i++) {
            read_tensor(f, &t[i]);
            read_small(f, &t[i]);
        }
        walk_words(f);
        bl_safetensors_close(&f);
    } else {
        MUST(err.message[0] && !f);
    }
    close(fd);
    return 0;
}
