#include "checkpoint/safetensors.h"

#include "checkpoint/file_kind.h"
#include "checkpoint/json.h"
#include "checkpoint/tensor_file.h"
#include "core/json_text.h"
#include "core/checked.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000u /* the reference implementation's limit */
#define LENGTH_BYTES 8

/* ---- header to tensors */

static bl_dtype dtype_of(const char *name) {
    int t = 0;
    while (t < BL_DTYPE_COUNT && strcmp(name, bl_dtype_name((bl_dtype)t)) != 0) {
        t++;
    }
    return (bl_dtype)t;
}

/* Copies a string to *at and moves *at behind it. */
static const char *keep_string(char **at, const char *s) {
    size_t n = strlen(s) + 1;
    char *copy = memcpy(*at, s, n);
    *at += n;
    return copy;
}

/* Checks one entry of the header and fills *t, its offset still relative to the end of the header. */
static int parse_tensor(bl_file_tensor *t, const char *path, json_t *entry, uint64_t data_bytes,
                        bl_error *err) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    if (!dtype || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2) {
        return bl_fail_tensor(err, path, t->name,
                              "its entry must hold \"dtype\", \"shape\" and two \"data_offsets\"");
    }
    if (json_array_size(shape) > BL_FILE_RANK) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: tensor \"%.200s\" has %zu dimensions; at most %d are supported", path,
                       t->name, json_array_size(shape), BL_FILE_RANK);
    }
    t->dtype_name = dtype;
    t->dtype = dtype_of(dtype);
    t->rank = (int)json_array_size(shape);
    uint64_t bytes = t->dtype < BL_DTYPE_COUNT ? bl_dtype_size(t->dtype) : 1;
    bool empty = false;
    for (int i = 0; i < t->rank; i++) {
        json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0) {
            return bl_fail_tensor(err, path, t->name,
                                  "its shape holds something else than whole numbers from 0 up");
        }
        t->shape[i] = json_integer_value(d);
        empty |= t->shape[i] == 0;
        /* Zeros are left out of the product: that of any part of the shape must fit as well. */
        if (!bl_mul_u64(bytes, t->shape[i] ? (uint64_t)t->shape[i] : 1, &bytes) || bytes > INT64_MAX) {
            return bl_fail_tensor(err, path, t->name, "its shape is too large for any memory");
        }
    }
    bytes = empty ? 0 : bytes;
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (!json_is_integer(first) || !json_is_integer(last) || json_integer_value(first) < 0 ||
        json_integer_value(last) < json_integer_value(first)) {
        return bl_fail_tensor(err, path, t->name,
                              "its data_offsets must be two whole numbers, the first not above the second");
    }
    t->offset = (uint64_t)json_integer_value(first);
    t->bytes = (uint64_t)json_integer_value(last) - t->offset;
    if ((uint64_t)json_integer_value(last) > data_bytes) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: tensor \"%.200s\" ends at byte %" PRIu64
                       " of the data, but the file holds only %" PRIu64
                       ": it was cut short, or its header is damaged",
                       path, t->name, (uint64_t)json_integer_value(last), data_bytes);
    }
    if (t->dtype < BL_DTYPE_COUNT && t->bytes != bytes) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: tensor \"%.200s\" has %" PRIu64
                       " bytes of data, but its shape and type %s need %" PRIu64,
                       path, t->name, t->bytes, dtype, bytes);
    }
    return 0;
}

static int by_offset(const void *a, const void *b) {
    const bl_file_tensor *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Tensors must follow each other from the first byte of the data to its last: an overlap is a way to hide
 * data in two tensors, a hole a way to hide it in none. */
static int check_layout(bl_safetensors *f, uint64_t data_bytes, bl_error *err) {
    qsort(f->tensors, (size_t)f->tensor_count, sizeof *f->tensors, by_offset);
    uint64_t at = 0;
    const char *before = "the header";
    for (int i = 0; i < f->tensor_count; i++) {
        const bl_file_tensor *t = &f->tensors[i];
        if (t->offset != at) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: tensor \"%.150s\" starts at byte %" PRIu64
                           " of the data, %s the end (%" PRIu64
                           ") of \"%.150s\": tensors must follow each other without %s",
                           f->path, t->name, t->offset, t->offset < at ? "before" : "behind", at, before,
                           t->offset < at ? "overlap" : "hole");
        }
        at = t->offset + t->bytes;
        before = t->name;
    }
    if (at != data_bytes) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: %" PRIu64 " bytes follow the last tensor; the header names no owner of them",
                       f->path, data_bytes - at);
    }
    return 0;
}

static int take_metadata(bl_safetensors *f, json_t *metadata, char **strings, bl_error *err) {
    const char *key;
    json_t *value;
    if (json_is_null(metadata)) {
        return 0; /* the reference implementation's way to say that there is none */
    }
    if (!json_is_object(metadata)) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: \"__metadata__\" must be an object of strings", f->path);
    }
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: \"__metadata__\" holds something else than a string at \"%.200s\"",
                           f->path, key);
        }
        f->metadata[f->metadata_count].key = keep_string(strings, key);
        f->metadata[f->metadata_count++].value = keep_string(strings, json_string_value(value));
    }
    return 0;
}

/* Bytes of all strings that are kept, and how many entries the metadata has. */
static size_t string_bytes(json_t *root, size_t *metadata_count) {
    size_t total = 1;
    const char *key, *inner;
    json_t *entry, *value;
    *metadata_count = 0;
    json_object_foreach(root, key, entry) {
        const char *dtype = json_string_value(json_object_get(entry, "dtype"));
        total += strlen(key) + 1 + (dtype ? strlen(dtype) + 1 : 0);
        if (strcmp(key, "__metadata__") == 0) {
            *metadata_count = json_object_size(entry);
            json_object_foreach(entry, inner, value) {
                total +=
                    strlen(inner) + 1 + (json_is_string(value) ? strlen(json_string_value(value)) + 1 : 0);
            }
        }
    }
    return total;
}

static int take_header(bl_safetensors *f, json_t *root, uint64_t data_start, bl_error *err) {
    uint64_t data_bytes = (uint64_t)f->opened.st_size - data_start;
    size_t entries = json_object_size(root), metadata_count;
    size_t bytes = string_bytes(root, &metadata_count);
    f->strings = malloc(bytes);
    f->tensors = calloc(entries + 1, sizeof *f->tensors);
    f->metadata = calloc(metadata_count + 1, sizeof *f->metadata);
    if (!f->strings || !f->tensors || !f->metadata) {
        return bl_fail_memory(err, "the list of tensors", bytes + entries * sizeof *f->tensors);
    }
    char *at = f->strings;
    const char *key;
    json_t *entry;
    json_object_foreach(root, key, entry) {
        int rc;
        if (strcmp(key, "__metadata__") == 0) {
            rc = take_metadata(f, entry, &at, err);
        } else {
            bl_file_tensor *t = &f->tensors[f->tensor_count];
            t->name = keep_string(&at, key);
            rc = parse_tensor(t, f->path, entry, data_bytes, err);
            if (!rc) {
                t->dtype_name = keep_string(&at, t->dtype_name);
                f->tensor_count++;
            }
        }
        if (rc) {
            return rc;
        }
    }
    int rc = check_layout(f, data_bytes, err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < f->tensor_count; i++) {
        f->tensors[i].offset += data_start;
    }
    bl_tensor_file_sort(f);
    return 0;
}

int bl_safetensors_parse(bl_safetensors *f, bl_error *err) {
    unsigned char start[512];
    uint64_t size = (uint64_t)f->opened.st_size;
    size_t n = size < sizeof start ? (size_t)size : sizeof start;
    int rc = bl_safetensors_read(f, 0, n, start, err);
    if (rc) {
        return rc;
    }
    rc = bl_refuse_other_formats(f->path, start, n, err);
    if (rc) {
        return rc;
    }
    if (n < LENGTH_BYTES) {
        return bl_fail(err, BL_E_FORMAT, "%.400s is not a safetensors file: it has only %zu bytes", f->path,
                       n);
    }
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        length = length << 8 | start[i];
    }
    if (length > MAX_HEADER) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s is not a safetensors file, or damaged: its first 8 bytes give a header of %" PRIu64
            " bytes; at most %u are allowed",
            f->path, length, MAX_HEADER);
    }
    if (length > size - LENGTH_BYTES) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s was cut short, or is not a safetensors file: the header should have %" PRIu64
                       " bytes, but the file has only %" PRIu64,
                       f->path, length, size);
    }
    char *text = malloc((size_t)length + 1);
    if (!text) {
        return bl_fail_memory(err, "the header", length);
    }
    json_t *root = NULL;
    json_error_t why = {0};
    rc = bl_safetensors_read(f, LENGTH_BYTES, length, text, err);
    if (rc) {
        goto done;
    }
    bl_json_show_nuls(text, (size_t)length);
    root = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!root && bl_json_lacked_memory(&why, text, (size_t)length)) {
        rc = bl_fail_memory(err, "the header", length);
        goto done;
    }
    if (!json_is_object(root)) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s is not a safetensors file, or damaged: header byte %d: %s",
                     f->path, root ? 0 : why.position, root ? "an object was expected" : why.text);
        goto done;
    }
    rc = take_header(f, root, LENGTH_BYTES + length, err);
done:
    json_decref(root);
    free(text);
    return rc;
}
