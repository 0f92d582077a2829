/* Weights stored small: the values are those of the formats' definitions, bit for bit, and damaged files are
 * refused. */
#include "checkpoint/checkpoint.h"
#include "support/files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bl_safetensors *open_stored(const char *name) {
    char relative[512], path[BL_TEST_PATH];
    bl_safetensors *f;
    bl_error err;
    snprintf(relative, sizeof relative, "stored/%s", name);
    bl_test_data(path, relative);
    if (bl_safetensors_open(&f, path, &err)) {
        fail_msg("%s", err.message);
    }
    return f;
}

static int64_t values_of(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

/* Any stretch of a tensor that may be asked for, as floats. */
static float *read_stretch(const bl_safetensors *f, const bl_file_tensor *t, int64_t first, int64_t count) {
    const bl_dtype dtype = bl_tensor_dtype(t);
    char *raw = malloc((size_t)count * bl_dtype_size(dtype) + 1);
    float *values = malloc((size_t)count * sizeof *values + 1);
    bl_error err;
    assert_true(raw && values);
    if (bl_tensor_read(f, t, first, count, raw, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_convert(values, BL_F32, raw, dtype, (size_t)count), 0);
    free(raw);
    return values;
}

static void check_bits(const char *name, const float *gold, const float *mine, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&gold[i], &mine[i], sizeof *gold) != 0) {
            fail_msg("%s: value %lld is %a, not %a", name, (long long)i, (double)mine[i], (double)gold[i]);
        }
    }
}

/* The codes of some rows, as they stay in memory, give the same values. Counts tensors whose rows are whole
 * blocks of codes. */
static void check_small(const bl_safetensors *f, const bl_file_tensor *t, const float *gold, int *small) {
    bl_small form;
    bl_error err;
    const int64_t rows = t->shape[0], row = values_of(t) / rows, first = rows / 3;
    if (!bl_tensor_small(&form, t, row)) {
        return;
    }
    const size_t bytes = (size_t)(rows - first) * (size_t)bl_small_row_bytes(&form, row);
    char *codes = malloc(bytes);
    float *scales = calloc((size_t)rows, sizeof *scales);
    float *values = malloc((size_t)((rows - first) * row) * sizeof *values);
    assert_true(codes && scales && values);
    if (bl_tensor_read_small(f, t, first, rows, row, codes, scales, &err)) {
        fail_msg("%s", err.message);
    }
    bl_widen_rows(values, &form, codes, scales, rows - first, row);
    check_bits(t->name, gold + first * row, values, (rows - first) * row);
    free(codes);
    free(scales);
    free(values);
    ++*small;
}

/* A vector with a factor for each value is no row of values with one: where a network reads it as one, it is
 * made wide. */
static void rows_are_those_of_the_file(void **state) {
    (void)state;
    float scales[64];
    bl_small form;
    const bl_file_tensor vector = {.name = "v",
                                   .storage = BL_STORED_F8_E4M3,
                                   .rank = 1,
                                   .shape = {64},
                                   .scales = scales,
                                   .scale_count = 64};
    const bl_file_tensor row = {.name = "r",
                                .storage = BL_STORED_F8_E4M3,
                                .rank = 2,
                                .shape = {1, 64},
                                .scales = scales,
                                .scale_count = 1};
    assert_false(bl_view_small(&form, &(bl_view){.stored = &vector, .rank = 2, .shape = {1, 64}}));
    assert_true(bl_view_small(&form, &(bl_view){.stored = &vector, .rank = 1, .shape = {64}}));
    assert_true(bl_view_small(&form, &(bl_view){.stored = &row, .rank = 2, .shape = {1, 64}}));
}

/* As a whole, then row by row, as packing reads them. */
static void check_tensor(const char *file, const char *name, const float *gold, int64_t count, int *small) {
    bl_safetensors *f = open_stored(file);
    const bl_file_tensor *t = bl_safetensors_find(f, name);
    assert_non_null(t);
    assert_int_equal(values_of(t), count);
    float *all = read_stretch(f, t, 0, count);
    check_bits(name, gold, all, count);
    free(all);
    check_small(f, t, gold, small);
    const int64_t rows = t->shape[0], row = count / rows;
    for (int64_t i = 0; i < rows; i++) {
        float *one = read_stretch(f, t, i * row, row);
        check_bits(name, gold + i * row, one, row);
        free(one);
    }
    if (!t->scales) { /* neither at a block's beginning nor at its end */
        float *middle = read_stretch(f, t, count / 5, count / 2);
        check_bits(name, gold + count / 5, middle, count / 2);
        free(middle);
    }
    bl_safetensors_close(&f);
}

static void values_are_those_of_the_definitions(void **state) {
    static const char *const ends[] = {".gguf", ".safetensors"};
    (void)state;
    bl_golden g;
    bl_golden_open(&g, "stored/values.safetensors");
    int count, gguf = 0, other = 0, small = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(g.file, &count);
    for (int i = 0; i < count; i++) {
        const char *slash = strchr(all[i].name, '/');
        assert_non_null(slash);
        for (int e = 0; e < 2; e++) {
            char file[256], relative[512], path[BL_TEST_PATH];
            snprintf(file, sizeof file, "%.*s%s", (int)(slash - all[i].name), all[i].name, ends[e]);
            snprintf(relative, sizeof relative, "stored/%s", file);
            bl_test_data(path, relative);
            if (access(path, F_OK) == 0) {
                float *gold = bl_golden_f32(&g, all[i].name);
                check_tensor(file, slash + 1, gold, values_of(&all[i]), &small);
                free(gold);
                gguf += e == 0;
                other += e == 1;
            }
        }
    }
    assert_int_equal(gguf + other, count);
    assert_true(gguf > 20 && other > 10);
    printf("%d of %d stay small\n", small, count);
    assert_true(small > 20);
    bl_golden_close(&g);
}

/* As files.json has it: names, shapes outermost first, types. */
static void tensors_are_as_listed(void **state) {
    (void)state;
    char listed[BL_TEST_PATH];
    bl_test_data(listed, "stored/files.json");
    /* One of its whole numbers needs 64 bits and no sign. */
    json_t *files = json_load_file(listed, JSON_DECODE_INT_AS_REAL, NULL), *file, *tensor;
    assert_non_null(files);
    const char *name, *key;
    json_object_foreach(files, name, file) {
        if (!json_object_get(file, "tensors")) {
            continue;
        }
        bl_safetensors *f = open_stored(name);
        json_object_foreach(json_object_get(file, "tensors"), key, tensor) {
            const bl_file_tensor *t = bl_safetensors_find(f, key);
            json_t *shape = json_object_get(tensor, "shape_numpy");
            char reshaped[256];
            snprintf(reshaped, sizeof reshaped, "comfy.gguf.orig_shape.%s", key);
            json_t *were = json_object_get(json_object_get(file, "keys"), reshaped);
            shape = were ? were : shape;
            assert_non_null(t);
            assert_string_equal(t->dtype_name, json_string_value(json_object_get(tensor, "type")));
            assert_int_equal(t->bytes, (int64_t)json_number_value(json_object_get(tensor, "bytes")));
            assert_int_equal(t->offset,
                             (int64_t)json_number_value(json_object_get(tensor, "offset_in_file")));
            assert_int_equal(t->rank, json_array_size(shape));
            for (int i = 0; i < t->rank; i++) {
                assert_int_equal(t->shape[i], (int64_t)json_number_value(json_array_get(shape, (size_t)i)));
            }
        }
        json_t *keys = json_object_get(file, "keys");
        assert_string_equal(bl_safetensors_metadata(f, "general.architecture"),
                            json_string_value(json_object_get(keys, "general.architecture")));
        assert_string_equal(bl_safetensors_metadata(f, "test.string"),
                            json_string_value(json_object_get(keys, "test.string")));
        bl_safetensors_close(&f);
    }
    json_decref(files);
}

/* Opens the file and reads all that is in it as weights. 0, or the first error. */
static int read_all(const char *path, bl_error *err) {
    bl_safetensors *f;
    int rc = bl_safetensors_open(&f, path, err), count = 0;
    const bl_file_tensor *all = rc ? NULL : bl_safetensors_tensors(f, &count);
    for (int i = 0; i < count && !rc; i++) {
        const bl_dtype dtype = bl_tensor_dtype(&all[i]);
        if (dtype == BL_DTYPE_COUNT) {
            rc = bl_fail(err, BL_E_UNSUPPORTED, "%s: type %s", all[i].name, all[i].dtype_name);
            break;
        }
        char *raw = malloc((size_t)values_of(&all[i]) * bl_dtype_size(dtype) + 1);
        assert_non_null(raw);
        rc = bl_tensor_read(f, &all[i], 0, values_of(&all[i]), raw, err);
        free(raw);
    }
    if (!rc || count) {
        bl_safetensors_close(&f);
    }
    return rc;
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    json_t *expect = bl_test_json("stored/refuse/expect.json"), *why, *name;
    const char *key;
    char relative[512], path[BL_TEST_PATH];
    size_t i;
    json_object_foreach(json_object_get(expect, "must_refuse"), key, why) {
        bl_error err = {.code = 0};
        snprintf(relative, sizeof relative, "stored/refuse/%s", key);
        bl_test_data(path, relative);
        if (!read_all(path, &err)) {
            fail_msg("%s was read: %s", key, json_string_value(json_object_get(why, "why")));
        }
        assert_true(err.message[0] && !strchr(err.message, '\n'));
        if (getenv("BALLAST_TEST_SHOW")) {
            printf("%-34s %s\n", key, strstr(err.message, key) ? strstr(err.message, key) : err.message);
        }
    }
    json_array_foreach(json_object_get(expect, "must_read"), i, name) {
        bl_error err;
        snprintf(relative, sizeof relative, "stored/refuse/%s", json_string_value(name));
        bl_test_data(path, relative);
        if (read_all(path, &err)) {
            fail_msg("%s", err.message);
        }
    }
    json_decref(expect);
}

/* What its shape needs must be there, in types too that have no elements of their own here. */
static void eight_bit_floats_have_the_bytes_of_their_shape(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_error err = {0};
    bl_test_folder(folder);
    bl_test_join(path, folder, "short.safetensors");
    bl_test_write_header(
        path, "{\"x.weight\":{\"dtype\":\"F8_E5M2\",\"shape\":[9,31],\"data_offsets\":[0,248]}}", 248);
    assert_int_equal(read_all(path, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "another number of bytes"));
    bl_test_folder_remove(folder);
}

/* Files in which everything was cast have no scales, and biases in eight bits. */
static void codes_without_scales_are_values(void **state) {
    (void)state;
    static const uint8_t one[8] = {0x38, 0xb8, 0x38, 0xb8, 0x38, 0xb8, 0x38, 0xb8}; /* 1 and -1 */
    char folder[BL_TEST_PATH], path[BL_TEST_PATH], file[256];
    static const char header[] =
        "{\"x.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4]},"
        "\"x.bias\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[4,8]}}";
    const uint64_t length = sizeof header - 1;
    bl_test_folder(folder);
    bl_test_join(path, folder, "cast.safetensors");
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, length);
    memcpy(file + sizeof length + length, one, sizeof one);
    bl_test_write(path, file, sizeof length + length + sizeof one);
    bl_safetensors *f;
    bl_error err;
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    static const char *const names[] = {"x.weight", "x.bias"};
    for (int i = 0; i < 2; i++) {
        float values[4];
        assert_int_equal(bl_tensor_read(f, bl_safetensors_find(f, names[i]), 0, 4, values, &err), 0);
        for (int k = 0; k < 4; k++) {
            assert_true(values[k] == (k % 2 ? -1 : 1));
        }
    }
    bl_safetensors_close(&f);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_bit_floats_have_the_bytes_of_their_shape),
        cmocka_unit_test(codes_without_scales_are_values),
        cmocka_unit_test(values_are_those_of_the_definitions),
        cmocka_unit_test(rows_are_those_of_the_file),
        cmocka_unit_test(tensors_are_as_listed),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
