#include "graph/source.h"

#include "core/checked.h"

uint64_t bl_source_part_bytes(const bl_source *source, const bl_weight *w, int part) {
    if (source->bytes) {
        return source->bytes(source->payload, w, part);
    }
    const uint64_t elements =
        (uint64_t)bl_weight_elements(w) / (uint64_t)w->parts; /* parts are equal shares */
    return elements * bl_dtype_size(source->dtype(source->payload, w, part));
}

uint64_t bl_source_bytes(const bl_source *source, const bl_weight *w) {
    uint64_t bytes = 0;
    for (int i = 0; i < w->parts; i++) {
        bytes += bl_source_part_bytes(source, w, i);
    }
    return bytes;
}

bool bl_source_small(bl_small_weight *out, const bl_source *source, const bl_weight *w) {
    *out = (bl_small_weight){.bytes = 0};
    const int64_t rows = w->shape[0] / w->parts, columns = bl_weight_elements(w) / w->shape[0];
    bool small = source->small && w->kind != BL_W_VECTOR;
    for (int i = 0; i < w->parts && small; i++) {
        small = source->small(source->payload, w, i, &out->form[i]);
        out->codes[i] = out->bytes;
        out->scales[i] =
            out->codes[i] +
            bl_align_up((uint64_t)rows * (small ? bl_small_row_bytes(&out->form[i], columns) : 0), BL_ALIGN);
        out->bytes = out->scales[i] +
                     (out->form[i].scaled ? bl_align_up((uint64_t)rows * sizeof(float), BL_ALIGN) : 0);
    }
    return small && out->bytes < (uint64_t)bl_weight_elements(w) * bl_dtype_size(BL_BF16);
}

/* The rows of one part among those of the whole. */
typedef struct share {
    int part;
    int64_t begin, end; /* of the part */
} share;

static share share_of(const bl_weight *w, int64_t begin, int64_t end) {
    const int64_t rows = w->shape[0] / w->parts, part = begin / rows;
    const int64_t stop = (part + 1) * rows < end ? (part + 1) * rows : end;
    return (share){(int)part, begin - part * rows, stop - part * rows};
}

void bl_small_widen(float *dst, const bl_small_weight *form, const bl_weight *w, const void *small,
                    int64_t begin, int64_t end) {
    const int64_t columns = bl_weight_elements(w) / w->shape[0];
    const unsigned char *at = small;
    while (begin < end) {
        const share s = share_of(w, begin, end);
        const bl_small *f = &form->form[s.part];
        const unsigned char *scales = at + form->scales[s.part] + (uint64_t)s.begin * sizeof(float);
        bl_widen_rows(dst, f, at + form->codes[s.part] + (uint64_t)s.begin * bl_small_row_bytes(f, columns),
                      (const float *)(const void *)scales, s.end - s.begin, columns);
        dst += (s.end - s.begin) * columns;
        begin += s.end - s.begin;
    }
}

const void *bl_small_row(const bl_small_weight *form, const bl_weight *w, const void *small, int64_t row) {
    const share s = share_of(w, row, row + 1);
    const uint64_t bytes = bl_small_row_bytes(&form->form[s.part], bl_weight_elements(w) / w->shape[0]);
    return (const unsigned char *)small + form->codes[s.part] + (uint64_t)s.begin * bytes;
}

int bl_small_read(const bl_source *source, const bl_small_weight *form, const bl_weight *w, void *small,
                  int64_t begin, int64_t end, bl_error *err) {
    const int64_t columns = bl_weight_elements(w) / w->shape[0];
    unsigned char *at = small;
    int rc = 0;
    while (begin < end && !rc) {
        const share s = share_of(w, begin, end);
        unsigned char *scales = at + form->scales[s.part] + (uint64_t)s.begin * sizeof(float);
        rc = source->read_small(source->payload, w, s.part, s.begin, s.end,
                                at + form->codes[s.part] +
                                    (uint64_t)s.begin * bl_small_row_bytes(&form->form[s.part], columns),
                                (float *)(void *)scales, err);
        begin += s.end - s.begin;
    }
    return rc;
}
