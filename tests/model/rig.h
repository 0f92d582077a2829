/* Runs graphs on the cpu device with the weights of a rebuilt checkpoint, and holds outputs against goldens.
 */
#ifndef BALLAST_TESTS_MODEL_RIG_H
#define BALLAST_TESTS_MODEL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/architecture.h"
#include "device/cpu/cpu.h"
#include "device/run_once.h"
#include "model/weights.h"
#include "support/goldens.h"
#include "support/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RIG_PORTS 32
#define RIG_NAME 256
#define RIG_SHARES 128

static const char *const rig_families[] = {"sd15", "sd21v", "sdxl"};
#define RIG_FAMILIES 3

typedef struct rig {
    bl_device *device;
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_golden golden;
} rig;

/* Of every tensor that this program compared in BF16: its error in torch's errors. */
static struct rig_shares {
    double of[RIG_SHARES];
    int count;
} rig_shares;

static inline void __attribute__((format(printf, 2, 3)))
rig_name(char name[RIG_NAME], const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(name, RIG_NAME, format, args);
    va_end(args);
    assert_true(n >= 0 && n < RIG_NAME);
}

/* Fails the test with the message if `rc` is not 0. */
static inline void rig_ok(int rc, const bl_error *err) {
    if (rc) {
        fail_msg("%s", err->message);
    }
}

/* `file`: the golden file's name without its ending, "unet". `threads`: 0 for all cores; tests mostly take
 * one, because threads of several programs that wait for each other on busy cores make small work slow. */
static inline void rig_open(rig *r, const char *family, bl_synth_layout layout, const char *file,
                            int threads) {
    char path[BL_TEST_PATH], name[RIG_NAME];
    bl_error err = {0};
    *r = (rig){0};
    bl_synth_checkpoint(path, family, layout);
    rig_ok(bl_checkpoint_open(&r->ckpt, path, NULL, &err), &err);
    rig_ok(bl_architecture_detect(&r->arch, r->ckpt, &err), &err);
    bl_cpu_options options = {.threads = threads};
    rig_ok(bl_cpu_open(&r->device, &options, &err), &err);
    rig_name(name, "%s/golden/%s.safetensors", family, file);
    bl_golden_open(&r->golden, name);
}

static inline void rig_close(rig *r) {
    bl_golden_close(&r->golden);
    bl_device_close(&r->device);
    bl_checkpoint_close(&r->ckpt);
}

static inline bool rig_has_bf16(const rig *r) {
    bl_device_caps caps = bl_device_caps_of(r->device);
    return caps.bf16;
}

/* One pass of the whole graph, all blocks resident. */
static inline void rig_run(const rig *r, const bl_graph *g, const void *const *inputs, void *const *outputs) {
    bl_error err = {0};
    bl_model_weights weights;
    rig_ok(bl_model_weights_open(&weights, g, r->ckpt, &err), &err);
    bl_source source = bl_model_source(&weights);
    rig_ok(bl_run_once(r->device, g, &source, NULL, inputs, outputs, &err), &err);
    bl_model_weights_close(&weights);
}

#define RIG_END_TOKEN 49407

/* Of each of the `batch` rows of "{which}.ids", where the first end token is. */
static inline void rig_ends(const rig *r, const char *which, int batch, int32_t *ends) {
    char name[RIG_NAME];
    rig_name(name, "%s.ids", which);
    int64_t *ids = bl_golden_i64(&r->golden, name), tokens = bl_golden_tensor(&r->golden, name)->shape[1];
    for (int i = 0; i < batch; i++) {
        for (ends[i] = 0; ends[i] < tokens && ids[i * tokens + ends[i]] != RIG_END_TOKEN; ends[i]++) {
        }
        assert_true(ends[i] < tokens);
    }
    free(ids);
}

/* The values of input `t` out of the golden "{which}.{t's name}"; one value is repeated for a batch. */
static inline void *rig_input(const rig *r, const bl_tensor *t, const char *which) {
    char name[RIG_NAME];
    if (!strcmp(t->name, "eos")) {
        int32_t *ends = malloc((size_t)t->n * sizeof *ends);
        assert_non_null(ends);
        rig_ends(r, which, t->n, ends);
        return ends;
    }
    rig_name(name, "%s.%s", which, t->name);
    const bl_file_tensor *gold = bl_golden_tensor(&r->golden, name);
    int64_t count = bl_tensor_elements(t), given = (int64_t)gold->bytes / (t->dtype == BL_I32 ? 8 : 4);
    assert_true(given == count || given == 1);
    void *data = malloc((size_t)count * 4);
    assert_non_null(data);
    if (t->dtype == BL_I32) {
        int64_t *ids = bl_golden_i64(&r->golden, name);
        for (int64_t i = 0; i < count; i++) {
            ((int32_t *)data)[i] = (int32_t)ids[i % given];
        }
        free(ids);
    } else {
        float *values = bl_golden_f32(&r->golden, name);
        for (int64_t i = 0; i < count; i++) {
            ((float *)data)[i] = values[i % given];
        }
        free(values);
    }
    return data;
}

/* Compares an output with the golden of this name. Inner tensors of the UNet's transformers are pictures here
 * and rows of tokens there. */
static inline void rig_compare(const rig *r, const bl_tensor *t, const char *name, float *values,
                               bl_dtype precision) {
    int64_t count = bl_tensor_elements(t), pixels = (int64_t)t->h * t->w;
    if (t->layout == BL_NCHW && bl_golden_tensor(&r->golden, name)->rank == 3) {
        float *rows = malloc((size_t)count * sizeof *rows);
        assert_non_null(rows);
        for (int64_t i = 0; i < count; i++) { /* [n, c, pixels] -> [n, pixels, c] */
            int64_t p = i % pixels, c = i / pixels % t->c, n = i / pixels / t->c;
            rows[(n * pixels + p) * t->c + c] = values[i];
        }
        memcpy(values, rows, (size_t)count * sizeof *rows);
        free(rows);
    }
    bl_golden_check(&r->golden, name, values, count, precision);
    if (precision == BL_BF16) {
        assert_true(rig_shares.count < RIG_SHARES);
        rig_shares.of[rig_shares.count++] = bl_golden_bf16_share(&r->golden, name, values);
    }
}

static inline int rig_by_size(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* In BF16 we err no more than torch does: in the median, because rounding is chance, and in pictures of 8 x 8
 * one digit can make three times the error, ours or torch's. */
static inline void rig_check_bf16(void) {
    qsort(rig_shares.of, (size_t)rig_shares.count, sizeof *rig_shares.of, rig_by_size);
    double median = rig_shares.count ? rig_shares.of[rig_shares.count / 2] : 0;
    if (median > 1) {
        fail_msg("in bf16 the median of %d tensors errs %.3f times as much as torch's", rig_shares.count,
                 median);
    }
}

/* Runs the graph on the inputs "{which}.{input}" and compares every output with "{which}.{output}", or, if
 * there is none, with the inner tensor "{which}.at.{output}". Frees the graph. */
static inline void rig_check(const rig *r, bl_graph *g, const char *which, bl_dtype precision) {
    void *inputs[RIG_PORTS], *outputs[RIG_PORTS];
    assert_true(g->input_count <= RIG_PORTS && g->output_count <= RIG_PORTS);
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = rig_input(r, bl_graph_port(g, BL_INPUT, i), which);
    }
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = malloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i)) * sizeof(float));
        assert_non_null(outputs[i]);
    }
    rig_run(r, g, (const void *const *)inputs, outputs);
    for (int i = 0; i < g->output_count; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
        char name[RIG_NAME];
        rig_name(name, "%s.%s", which, t->name);
        if (!bl_safetensors_find(r->golden.file, name)) {
            rig_name(name, "%s.at.%s", which, t->name);
        }
        rig_compare(r, t, name, outputs[i], precision);
        free(outputs[i]);
    }
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    bl_graph_free(&g);
}

/* Names behind "{which}.at." in the golden file, NULL at the end: at most RIG_PORTS - 1. Borrowed from the
 * file. Returns how many. */
static inline int rig_taps(const rig *r, const char *which, const char *taps[RIG_PORTS]) {
    char start[RIG_NAME];
    rig_name(start, "%s.at.", which);
    int count, found = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(r->golden.file, &count);
    for (int i = 0; i < count; i++) {
        if (!strncmp(all[i].name, start, strlen(start))) {
            assert_true(found < RIG_PORTS - 1);
            taps[found++] = all[i].name + strlen(start);
        }
    }
    taps[found] = NULL;
    return found;
}

/* Is `name` "{case}.{leaf}"? Then the case goes to `which`. */
static inline bool rig_case(char which[RIG_NAME], const char *name, const char *leaf) {
    const char *dot = strrchr(name, '.');
    if (!dot || strcmp(dot + 1, leaf) || strstr(name, ".at.")) {
        return false;
    }
    rig_name(which, "%.*s", (int)(dot - name), name);
    return true;
}

/* How a network is held against its goldens: `check` does so for one checkpoint in one type. RIG_WAYS are the
 * tests of one checker: every family from a single file and from a folder, weights stored in F16, work in
 * BF16. */
typedef struct rig_checker {
    void (*check)(const char *family, bl_synth_layout layout, bl_dtype dtype, int threads);
} rig_checker;

static inline void rig_families_of(void **state, bl_synth_layout layout, bl_dtype dtype) {
    const rig_checker *c = *state;
    for (int i = 0; i < RIG_FAMILIES; i++) {
        c->check(rig_families[i], layout, dtype, 1);
    }
}

static inline void test_single_file(void **state) {
    rig_families_of(state, BL_SYNTH_SINGLE, BL_F32);
}

static inline void test_folder(void **state) {
    rig_families_of(state, BL_SYNTH_FOLDER, BL_F32);
}

/* On all cores, for once. */
static inline void test_f16_file(void **state) {
    const rig_checker *c = *state;
    c->check("sd15", BL_SYNTH_SINGLE_F16, BL_F32, 0);
}

static inline void test_bf16(void **state) {
    rig_families_of(state, BL_SYNTH_SINGLE, BL_BF16);
    rig_check_bf16();
}

#define RIG_WAYS(checker)                                     \
    cmocka_unit_test_prestate(test_single_file, &(checker)),  \
        cmocka_unit_test_prestate(test_folder, &(checker)),   \
        cmocka_unit_test_prestate(test_f16_file, &(checker)), \
        cmocka_unit_test_prestate(test_bf16, &(checker))

#endif
