#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void bl_test_data(char path[BL_TEST_PATH], const char *name) {
    const char *folder = getenv("BALLAST_TEST_DATA");
    if (!folder) {
        fail_msg("the environment must name the folder tests/data as BALLAST_TEST_DATA");
    }
    int n = snprintf(path, BL_TEST_PATH, "%s/%s", folder, name);
    assert_true(n < BL_TEST_PATH);
}

json_t *bl_test_json(const char *name) {
    char path[BL_TEST_PATH];
    bl_test_data(path, name);
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    if (!root) {
        fail_msg("%s: line %d: %s", path, why.line, why.text);
    }
    return root;
}

/* The tolerances for `name` ("sd15/golden/pipeline/txt2img.safetensors"), which are kept by the file's last
 * name. */
static json_t *load_tolerances(const char *name) {
    char file[BL_TEST_PATH];
    const char *last = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    for (int up = 0; up < 2; up++) {
        char path[BL_TEST_PATH];
        int n =
            snprintf(file, sizeof file, "%.*s%stolerances.json", (int)(last - name), name, up ? "../" : "");
        assert_true(n < BL_TEST_PATH);
        bl_test_data(path, file);
        if (access(path, F_OK) == 0) {
            json_t *all = bl_test_json(file), *mine = json_incref(json_object_get(all, last));
            json_decref(all);
            return mine;
        }
    }
    return NULL;
}

void bl_golden_open(bl_golden *out, const char *name) {
    char path[BL_TEST_PATH];
    bl_error err;
    bl_test_data(path, name);
    if (bl_safetensors_open(&out->file, path, &err)) {
        fail_msg("%s", err.message);
    }
    out->tolerances = load_tolerances(name);
}

void bl_golden_close(bl_golden *golden) {
    json_decref(golden->tolerances);
    golden->tolerances = NULL;
    bl_safetensors_close(&golden->file);
}

const bl_file_tensor *bl_golden_tensor(const bl_golden *golden, const char *name) {
    const bl_file_tensor *t = bl_safetensors_find(golden->file, name);
    if (!t) {
        fail_msg("%s has no tensor \"%s\"", bl_safetensors_path(golden->file), name);
    }
    return t;
}

void *bl_golden_bytes(const bl_golden *golden, const char *name) {
    const bl_file_tensor *t = bl_golden_tensor(golden, name);
    void *data = malloc(t->bytes + 1);
    bl_error err;
    assert_non_null(data);
    if (bl_safetensors_read(golden->file, t->offset, t->bytes, data, &err)) {
        fail_msg("%s", err.message);
    }
    return data;
}

float *bl_golden_f32(const bl_golden *golden, const char *name) {
    if (bl_golden_tensor(golden, name)->dtype != BL_F32) {
        fail_msg("\"%s\" is not F32", name);
    }
    return bl_golden_bytes(golden, name);
}

int64_t *bl_golden_i64(const bl_golden *golden, const char *name) {
    if (bl_golden_tensor(golden, name)->dtype != BL_I64) {
        fail_msg("\"%s\" is not I64", name);
    }
    return bl_golden_bytes(golden, name);
}

double bl_peak(const float *gold, int64_t count) {
    double peak = 0;
    for (int64_t i = 0; i < count; i++) {
        peak = fmax(peak, fabs((double)gold[i]));
    }
    return peak;
}

double bl_max_abs_error(const float *gold, const float *mine, int64_t count, int64_t *where) {
    double worst = 0;
    *where = 0;
    for (int64_t i = 0; i < count; i++) {
        double e = isfinite(mine[i]) ? fabs((double)gold[i] - (double)mine[i]) : INFINITY;
        if (e > worst) {
            worst = e;
            *where = i;
        }
    }
    return worst;
}

void bl_check_close(const char *name, const float *gold, const float *mine, int64_t count, double tolerance) {
    int64_t at;
    double e = bl_max_abs_error(gold, mine, count, &at);
    if (!(e <= tolerance)) {
        fail_msg("%s: largest error %.3g at %lld (%.9g, should be %.9g), tolerance %.3g, peak %.3g", name, e,
                 (long long)at, (double)mine[at], (double)gold[at], tolerance, bl_peak(gold, count));
    }
}

static double recorded(const json_t *tolerances, const char *name, const char *key, double otherwise) {
    json_t *v = json_object_get(json_object_get(tolerances, name), key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

double bl_golden_tolerance(const bl_golden *golden, const char *name, bl_dtype precision) {
    const bl_file_tensor *t = bl_golden_tensor(golden, name);
    double peak = recorded(golden->tolerances, name, "peak", -1);
    if (peak < 0) {
        float *gold = bl_golden_f32(golden, name);
        peak = bl_peak(gold, (int64_t)(t->bytes / 4));
        free(gold);
    }
    double tolerance = recorded(golden->tolerances, name, "tol_abs", 1e-5 * peak);
    if (precision == BL_F32) {
        return tolerance;
    }
    bool half = precision == BL_F16;
    return fmax(tolerance, 4 * recorded(golden->tolerances, name, half ? "f16_abs" : "bf16_abs",
                                        (half ? 2e-3 : 2e-2) * peak));
}

static double measured_off(const json_t *pictures, const char *name) {
    json_t *off = json_object_get(json_object_get(pictures, name), "off");
    if (!off) {
        fail_msg("the tolerances have no picture \"%s\"", name);
    }
    return json_number_value(off);
}

double bl_golden_share_off(const char *family, const char *picture, const char *before) {
    char name[BL_TEST_PATH];
    snprintf(name, sizeof name, "%s/golden/tolerances.json", family);
    json_t *all = bl_test_json(name), *pictures = json_object_get(all, "png");
    double off = measured_off(pictures, picture) + (before ? measured_off(pictures, before) : 0);
    json_decref(all);
    return fmax(0.005, 16 * off);
}

double bl_golden_bf16_share(const bl_golden *golden, const char *name, const float *mine) {
    double torch = recorded(golden->tolerances, name, "bf16_rms", 0), sum = 0;
    assert_true(torch > 0);
    float *gold = bl_golden_f32(golden, name);
    int64_t count = (int64_t)(bl_golden_tensor(golden, name)->bytes / 4);
    for (int64_t i = 0; i < count; i++) {
        double e = (double)mine[i] - (double)gold[i];
        sum += e * e;
    }
    free(gold);
    return sqrt(sum / (double)count) / torch;
}

void bl_golden_check(const bl_golden *golden, const char *name, const float *mine, int64_t count,
                     bl_dtype precision) {
    const bl_file_tensor *t = bl_golden_tensor(golden, name);
    if ((int64_t)(t->bytes / 4) != count) {
        fail_msg("%s: %lld values, should be %lld", name, (long long)count, (long long)(t->bytes / 4));
    }
    float *gold = bl_golden_f32(golden, name);
    int64_t at;
    double e = bl_max_abs_error(gold, mine, count, &at),
           tolerance = bl_golden_tolerance(golden, name, precision);
    if (e <= tolerance) { /* what is only freed here is lost when a test fails, and that is all right */
        free(gold);
        return;
    }
    bl_check_close(name, gold, mine, count, tolerance);
}
