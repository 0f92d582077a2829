/* Elements of a tensor out of its file, widened where they are stored small. */
#include "checkpoint/tensor_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (64 << 10) /* values widened at a time: they and their codes stay in a core's cache */

bl_dtype bl_tensor_dtype(const bl_file_tensor *t) {
    return t->storage == BL_STORED_PLAIN ? t->dtype : BL_F32;
}

static int64_t row_of(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

/* Whole blocks, which hold the values from `first` on; of those `skip` are left out at the front. */
typedef struct span {
    int64_t block, blocks, skip;
} span;

static span span_of(const bl_storage_form *f, int64_t first, int64_t count) {
    const int64_t begin = first / f->values, end = (first + count + f->values - 1) / f->values;
    return (span){begin, end - begin, first - begin * f->values};
}

/* Codes to values, in place. `values`: `count` of them from `first` on. */
static void scale_rows(const bl_file_tensor *t, float *values, int64_t first, int64_t count) {
    const int64_t row = row_of(t);
    for (int64_t at = 0; at < count;) {
        const int64_t index = (first + at) / row, n = row - (first + at) % row;
        const int64_t here = n < count - at ? n : count - at;
        const float scale = t->scales[t->scale_count == 1 ? 0 : index];
        bl_scale_codes(values + at, (size_t)here, t->rotation, scale);
        at += here;
    }
}

static int check_numbers(const bl_safetensors *file, const bl_file_tensor *t, const float *values,
                         int64_t count, bl_error *err) {
    bool fine = true;
    for (int64_t i = 0; i < count; i++) {
        fine &= isfinite(values[i]) != 0;
    }
    return fine ? 0
                : bl_fail_tensor(err, bl_safetensors_path(file), t->name,
                                 "holds a code or a scale that is not a finite number: the file is damaged");
}

int bl_tensor_read(const bl_safetensors *file, const bl_file_tensor *t, int64_t first, int64_t count,
                   void *dst, bl_error *err) {
    if (t->storage == BL_STORED_PLAIN) {
        const uint64_t size = bl_dtype_size(t->dtype);
        return bl_safetensors_read(file, t->offset + (uint64_t)first * size, (uint64_t)count * size, dst,
                                   err);
    }
    const bl_storage_form *f = bl_storage_of(t->storage);
    const int64_t row = t->rotation ? row_of(t) : 1; /* a rotated row is widened whole */
    int64_t step = PIECE / row * row;
    step = step < row ? row : step;
    step = step < count ? step : count;
    const span most = span_of(f, 1, step); /* at worst it begins within a block */
    const size_t room = (size_t)(most.blocks + 1) * (size_t)f->bytes;
    const size_t wide = (size_t)(most.blocks + 1) * (size_t)f->values * sizeof(float);
    uint8_t *codes = malloc(room);
    float *values = malloc(wide);
    int rc = codes && values ? 0 : bl_fail_memory(err, "a piece of a tensor", room + wide);
    for (int64_t at = 0; at < count && !rc; at += step) {
        const int64_t n = count - at < step ? count - at : step;
        const span s = span_of(f, first + at, n);
        rc = bl_safetensors_read(file, t->offset + (uint64_t)s.block * (uint64_t)f->bytes,
                                 (uint64_t)s.blocks * (uint64_t)f->bytes, codes, err);
        if (rc) {
            break;
        }
        bl_widen(values, t->storage, codes, (size_t)s.blocks);
        if (t->scales) {
            scale_rows(t, values + s.skip, first + at, n);
        }
        rc = check_numbers(file, t, values + s.skip, n, err);
        if (!rc) {
            memcpy((float *)dst + at, values + s.skip, (size_t)n * sizeof(float));
        }
    }
    free(codes);
    free(values);
    return rc;
}

bool bl_tensor_small(bl_small *form, const bl_file_tensor *t, int64_t columns) {
    const bool small = t->storage != BL_STORED_PLAIN && columns > 0 && columns == row_of(t) &&
                       columns % bl_storage_of(t->storage)->values == 0;
    if (small) {
        *form = (bl_small){.storage = t->storage, .rotation = t->rotation, .scaled = t->scales != NULL};
    }
    return small;
}

int bl_tensor_read_small(const bl_safetensors *file, const bl_file_tensor *t, int64_t begin, int64_t end,
                         int64_t columns, void *codes, float *scales, bl_error *err) {
    const bl_small form = {.storage = t->storage, .rotation = t->rotation, .scaled = t->scales != NULL};
    const uint64_t row = bl_small_row_bytes(&form, columns);
    int64_t step = PIECE / columns < 1 ? 1 : PIECE / columns;
    step = step < end - begin ? step : end - begin;
    float *values = malloc((size_t)(step * columns) * sizeof *values + 1);
    int rc = values ? bl_safetensors_read(file, t->offset + (uint64_t)begin * row,
                                          (uint64_t)(end - begin) * row, codes, err)
                    : bl_fail_memory(err, "a piece of a tensor", (size_t)(step * columns) * sizeof *values);
    for (int64_t i = begin; i < end && form.scaled && !rc; i++) {
        scales[i - begin] = t->scales[t->scale_count == 1 ? 0 : i];
    }
    for (int64_t at = 0; at < end - begin && !rc; at += step) {
        const int64_t n = end - begin - at < step ? end - begin - at : step;
        bl_widen_rows(values, &form, (const uint8_t *)codes + (uint64_t)at * row, scales + at, n, columns);
        rc = check_numbers(file, t, values, n * columns, err);
    }
    free(values);
    return rc;
}
