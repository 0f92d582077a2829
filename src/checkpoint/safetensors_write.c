#include "checkpoint/safetensors.h"
#include "core/checked.h"
#include "core/json_text.h"
#include "core/new_file.h"
#include "core/utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_width_and_name(const void *a, const void *b) {
    const bl_tensor_data *x = *(const bl_tensor_data *const *)a, *y = *(const bl_tensor_data *const *)b;
    size_t wx = bl_dtype_size(x->dtype), wy = bl_dtype_size(y->dtype);
    return wx != wy ? (wx > wy ? -1 : 1) : strcmp(x->name, y->name);
}

/* JSON's strings are UTF-8. */
static int check_name(const char *name, bl_error *err) {
    return bl_utf8_valid(name)
               ? 0
               : bl_fail(err, BL_E_ARGUMENT, "the header cannot be written: a name is not UTF-8");
}

static int data_bytes(uint64_t *out, const bl_tensor_data *t, bl_error *err) {
    uint64_t bytes = bl_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || !bl_mul_u64(bytes, (uint64_t)t->shape[i], &bytes)) {
            return bl_fail(err, BL_E_ARGUMENT, "tensor \"%.200s\": no such shape can be written", t->name);
        }
    }
    *out = bytes;
    return 0;
}

/* The header's text, padded with blanks to a multiple of 8 bytes. Owner: the caller; free(). */
static int make_header(char **out, size_t *out_length, const bl_tensor_data *const *order, int count,
                       const char *const *metadata, int metadata_count, bl_error *err) {
    *out = NULL;
    json_t *root = json_object(), *meta = json_object();
    char *text = NULL;
    int rc = 0, bad = 0;
    for (int i = 0; i < metadata_count; i++) {
        rc = check_name(metadata[2 * i], err);
        rc = rc ? rc : check_name(metadata[2 * i + 1], err);
        if (rc) {
            goto done;
        }
        bad |= json_object_set_new(meta, metadata[2 * i], json_string(metadata[2 * i + 1]));
    }
    if (metadata_count) {
        bad |= json_object_set(root, "__metadata__", meta);
    }
    uint64_t at = 0;
    for (int i = 0; i < count && !bad; i++) {
        const bl_tensor_data *t = order[i];
        uint64_t bytes = 0, end;
        rc = check_name(t->name, err);
        rc = rc ? rc : data_bytes(&bytes, t, err);
        if (rc) {
            goto done;
        }
        if (!bl_add_u64(at, bytes, &end) || end > INT64_MAX || json_object_get(root, t->name)) {
            rc = bl_fail(err, BL_E_ARGUMENT,
                         "tensor \"%.200s\" is there twice, or the file would be too large", t->name);
            goto done;
        }
        json_t *shape = json_array();
        for (int d = 0; d < t->rank; d++) {
            bad |= json_array_append_new(shape, json_integer(t->shape[d]));
        }
        json_t *entry = json_pack("{s:s,s:o,s:[I,I]}", "dtype", bl_dtype_name(t->dtype), "shape", shape,
                                  "data_offsets", (json_int_t)at, (json_int_t)end);
        bad |= json_object_set_new(root, t->name, entry);
        at = end;
    }
    text = bad ? NULL : bl_json_dump(root, JSON_COMPACT);
    if (!text) {
        rc = bl_fail_memory(err, "the header", at);
        goto done;
    }
    size_t length = strlen(text), padded = (size_t)bl_align_up(length, 8);
    *out = realloc(text, padded + 1);
    if (!*out) {
        rc = bl_fail_memory(err, "the header", padded);
        goto done;
    }
    text = NULL;
    memset(*out + length, ' ', padded - length);
    *out_length = padded;
done:
    free(text);
    json_decref(meta);
    json_decref(root);
    return rc;
}

static void write_all(FILE *f, const char *header, size_t length, const bl_tensor_data *const *order,
                      int count) {
    unsigned char size[8];
    for (int i = 0; i < 8; i++) {
        size[i] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    fwrite(size, 1, 8, f);
    fwrite(header, 1, length, f);
    for (int i = 0; i < count; i++) {
        uint64_t bytes = 0;
        if (!data_bytes(&bytes, order[i], NULL)) { /* make_header has found that it can be told */
            fwrite(order[i]->data, 1, bytes, f);
        }
    }
}

int bl_safetensors_write(const char *path, const bl_tensor_data *tensors, int count,
                         const char *const *metadata, int metadata_count, bl_error *err) {
    char *header = NULL;
    size_t length = 0;
    const bl_tensor_data **order = malloc((size_t)(count + 1) * sizeof(bl_tensor_data *));
    if (!order) {
        return bl_fail_memory(err, "the list of tensors", (unsigned long long)count * sizeof *order);
    }
    for (int i = 0; i < count; i++) {
        order[i] = &tensors[i];
    }
    qsort(order, (size_t)count, sizeof *order, by_width_and_name);
    bl_new_file file;
    int rc = make_header(&header, &length, order, count, metadata, metadata_count, err);
    if (!rc) {
        rc = bl_new_file_begin(&file, path, err);
    }
    if (!rc) {
        write_all(file.f, header, length, order, count);
        rc = bl_new_file_end(&file, 0, true, err);
    }
    free(header);
    free(order);
    return rc;
}
