#include "graph/source.h"

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
