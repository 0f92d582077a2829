#include "checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>

int64_t bl_view_row_elements(const bl_view *view) {
    int64_t n = 1;
    for (int i = 1; i < view->rank; i++) {
        n *= view->shape[i]; /* fits: the whole was checked against the file's size */
    }
    return n;
}

int64_t bl_view_rows(const bl_view *view) {
    return view->rank ? view->shape[0] : 1;
}

uint64_t bl_view_stored_bytes(const bl_view *view) {
    const uint64_t elements = (uint64_t)(bl_view_rows(view) * bl_view_row_elements(view));
    if (view->stored->storage == BL_STORED_PLAIN) {
        return elements * bl_dtype_size(view->dtype);
    }
    const bl_storage_form *f = bl_storage_of(view->stored->storage);
    return elements / (uint64_t)f->values * (uint64_t)f->bytes;
}

/* A piece of a stored [columns, rows] matrix, and the view's rows [begin, end) of it: stored rows are read
 * whole, some at a time, because the disk likes that better than single elements. */
static int read_transposed(const bl_view *v, int64_t begin, int64_t end, char *dst, bl_error *err) {
    const size_t size = bl_dtype_size(v->dtype);
    const int64_t rows = v->shape[0], columns = bl_view_row_elements(v);
    const size_t stored_row = (size_t)rows * size;
    int64_t step = stored_row ? (1 << 20) / (int64_t)stored_row : 1;
    step = step < 1 ? 1 : step > columns ? columns : step;
    char *piece = malloc((size_t)step * stored_row + 1); /* [step][rows] elements */
    if (!piece) {
        return bl_fail_memory(err, "a matrix to transpose", (size_t)step * stored_row);
    }
    int rc = 0;
    for (int64_t c = 0; c < columns && !rc; c += step) {
        int64_t n = columns - c < step ? columns - c : step;
        rc = bl_tensor_read(v->file, v->stored, v->first + c * rows, n * rows, piece, err);
        for (int64_t i = 0; i < n && !rc; i++) {
            for (int64_t r = begin; r < end; r++) {
                memcpy(dst + (size_t)((r - begin) * columns + c + i) * size,
                       piece + (size_t)(i * rows + r) * size, size);
            }
        }
    }
    free(piece);
    return rc;
}

static int check_rows(const bl_view *view, int64_t begin, int64_t end, bl_error *err) {
    if (begin < 0 || end < begin || end > bl_view_rows(view)) {
        return bl_fail(err, BL_E_INTERNAL, "tensor \"%.200s\" has no rows %lld to %lld", view->stored->name,
                       (long long)begin, (long long)end);
    }
    return 0;
}

/* Rows from `begin` on that are stored one behind the other. */
typedef struct piece {
    int64_t stored, rows;
} piece;

static piece piece_of(const bl_view *view, int64_t begin, int64_t end) {
    const int64_t half = bl_view_rows(view) / 2;
    if (!view->swapped) {
        return (piece){begin, end - begin};
    }
    const int64_t last = begin < half && half < end ? half : end;
    return (piece){begin < half ? begin + half : begin - half, last - begin};
}

int bl_view_read(const bl_view *view, int64_t begin, int64_t end, void *dst, bl_error *err) {
    int rc = check_rows(view, begin, end, err);
    if (rc) {
        return rc;
    }
    if (view->transposed) {
        return read_transposed(view, begin, end, dst, err);
    }
    const int64_t row = bl_view_row_elements(view);
    while (begin < end && !rc) {
        const piece p = piece_of(view, begin, end);
        rc = bl_tensor_read(view->file, view->stored, view->first + p.stored * row, p.rows * row, dst, err);
        dst = (char *)dst + (size_t)(p.rows * row) * bl_dtype_size(view->dtype);
        begin += p.rows;
    }
    return rc;
}

bool bl_view_small(bl_small *form, const bl_view *view) {
    return !view->transposed && bl_tensor_small(form, view->stored, bl_view_row_elements(view));
}

int bl_view_read_small(const bl_view *view, int64_t begin, int64_t end, void *codes, float *scales,
                       bl_error *err) {
    const int64_t row = bl_view_row_elements(view), first = view->first / row;
    int rc = check_rows(view, begin, end, err);
    const bl_small form = {.storage = view->stored->storage};
    while (begin < end && !rc) {
        const piece p = piece_of(view, begin, end);
        rc = bl_tensor_read_small(view->file, view->stored, first + p.stored, first + p.stored + p.rows, row,
                                  codes, scales, err);
        codes = (char *)codes + (uint64_t)p.rows * bl_small_row_bytes(&form, row);
        scales = scales ? scales + p.rows : NULL;
        begin += p.rows;
    }
    return rc;
}
