/* One network on a device against its golden: what tests of transformers share. On the cpu device or the one
 * that BALLAST_TEST_DEVICE names. */
#ifndef BALLAST_TESTS_MODEL_TRANSFORMERS_H
#define BALLAST_TESTS_MODEL_TRANSFORMERS_H

#include "model/rig.h"

#include "device/open/open.h"

#define MOST_PORTS 16

typedef struct bench {
    bl_device *device;
    bl_safetensors *weights;
    bl_golden golden;
} bench;

static inline void bench_open(bench *b, const char *family, const char *component, const char *golden) {
    char path[BL_TEST_PATH], name[RIG_NAME];
    bl_error err;
    bl_cpu_options options = {.threads = 1};
    const char *device = getenv("BALLAST_TEST_DEVICE");
    *b = (bench){0};
    bl_synth_component(path, family, component);
    rig_ok(bl_safetensors_open(&b->weights, path, &err), &err);
    rig_ok(bl_device_open(&b->device, device ? device : "cpu", &options, &err), &err);
    rig_name(name, "%s/golden/%s.safetensors", family, golden);
    bl_golden_open(&b->golden, name);
}

static inline void bench_close(bench *b) {
    bl_golden_close(&b->golden);
    bl_device_close(&b->device);
    bl_safetensors_close(&b->weights);
}

/* ---- weights by the graph's own names */

static inline bl_dtype file_dtype(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return BL_F32;
}

static inline int file_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                            void *dst, bl_error *err) {
    const bl_file_tensor *t = bl_safetensors_find(payload, w->name[part]);
    const int64_t row = bl_weight_elements(w) / w->shape[0];
    if (!t || t->bytes != (uint64_t)(bl_weight_elements(w) / w->parts) * sizeof(float)) {
        return bl_fail(err, BL_E_FORMAT, "%s is not there, or of another shape", w->name[part]);
    }
    return bl_tensor_read(payload, t, begin * row, (end - begin) * row, dst, err);
}

static inline void *input_named(const bl_graph *g, void *const *inputs, const char *name) {
    const int port = bl_graph_input(g, name);
    return port < 0 ? NULL : inputs[port];
}

static inline void make_inputs(const bl_graph *g, void **inputs) {
    assert_true(g->input_count <= MOST_PORTS && g->output_count <= MOST_PORTS);
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = calloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_INPUT, i)), sizeof(float));
        assert_non_null(inputs[i]);
    }
}

/* The golden's values, as often as the input has place for them. */
static inline void take(const bench *b, const bl_graph *g, void *const *inputs, const char *input,
                        const char *golden) {
    const bl_tensor *t = bl_graph_port(g, BL_INPUT, bl_graph_input(g, input));
    float *values = bl_golden_f32(&b->golden, golden);
    const int64_t given = (int64_t)bl_golden_tensor(&b->golden, golden)->bytes / (int64_t)sizeof *values;
    assert_true(bl_tensor_elements(t) == given);
    memcpy(input_named(g, inputs, input), values, (size_t)given * sizeof *values);
    free(values);
}

/* The same where the input is longer: zeros stay behind them. */
static inline void take_first(const bench *b, const bl_graph *g, void *const *inputs, const char *input,
                              const char *golden) {
    float *values = bl_golden_f32(&b->golden, golden);
    memcpy(input_named(g, inputs, input), values, (size_t)bl_golden_tensor(&b->golden, golden)->bytes);
    free(values);
}

/* Runs the graph at every level and compares each output with CASE.NAME or CASE.at.NAME. Frees graph and
 * inputs. */
static inline void check(const bench *b, bl_graph *g, void **inputs, const char *which, const char *alias) {
    bl_source source = {.payload = b->weights, .dtype = file_dtype, .read = file_read};
    bl_device_caps caps = bl_device_caps_of(b->device);
    bl_error err;
    for (int level = 0; level < caps.arena_levels; level++) {
        void *outputs[MOST_PORTS];
        for (int i = 0; i < g->output_count; i++) {
            outputs[i] = malloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i)) * sizeof(float));
            assert_non_null(outputs[i]);
        }
        bl_prepare_options options = {.arena_level = level};
        rig_ok(bl_run_once(b->device, g, &source, &options, (const void *const *)inputs, outputs, &err),
               &err);
        for (int i = 0; i < g->output_count; i++) {
            const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
            char name[RIG_NAME];
            rig_name(name, "%s.%s", which, i + 1 < g->output_count ? t->name : alias);
            if (!bl_safetensors_find(b->golden.file, name)) {
                rig_name(name, "%s.at.%s", which, t->name);
            }
            bl_golden_check(&b->golden, name, outputs[i], bl_tensor_elements(t), g->dtype);
            free(outputs[i]);
        }
    }
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    bl_graph_free(&g);
}

#endif
