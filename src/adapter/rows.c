/* Rows of a table that are replaced. */
#include "adapter/merge.h"

#include <stdlib.h>
#include <string.h>

void bl_rows_clear(bl_rows *rows) {
    free(rows->row);
    free(rows->values[0]);
    free(rows->values[1]);
    *rows = (bl_rows){0};
}

int bl_rows_copy(bl_rows *out, const bl_rows *rows, bl_error *err) {
    *out = (bl_rows){0};
    if (!rows || !rows->count) {
        return 0;
    }
    bl_rows copy = {.count = rows->count, .width = {rows->width[0], rows->width[1]}};
    size_t n = (size_t)rows->count;
    copy.row = malloc(n * sizeof *copy.row);
    bool good = copy.row != NULL;
    for (int i = 0; i < 2 && rows->values[i]; i++) {
        size_t bytes = n * (size_t)rows->width[i] * sizeof(float);
        copy.values[i] = malloc(bytes + 1);
        good = good && copy.values[i];
        if (copy.values[i]) {
            memcpy(copy.values[i], rows->values[i], bytes);
        }
    }
    if (!good) {
        bl_rows_clear(&copy);
        return bl_fail_memory(err, "embeddings", n * sizeof *copy.row);
    }
    memcpy(copy.row, rows->row, n * sizeof *copy.row);
    *out = copy;
    return 0;
}
