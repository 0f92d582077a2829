/* Runs small graphs on the cpu device with made-up weights. Weights are a function of their name and index,
 * so that a test's reference can ask for the same values. */
#ifndef BALLAST_TESTS_DEVICE_CPU_RIG_H
#define BALLAST_TESTS_DEVICE_CPU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/dtype.h"
#include "device/cpu/cpu.h"
#include "graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY 4096 /* bytes before and after the arena that nothing may touch */

/* A number in [-1, 1), the same for the same seed and index. */
static inline float noise(uint64_t seed, uint64_t index) {
    uint64_t v = seed * 0x9e3779b97f4a7c15u + index + 1;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    v ^= v >> 31;
    return (float)(int32_t)(uint32_t)v * 0x1p-31f;
}

static inline uint64_t seed_of(const char *name) {
    uint64_t h = 14695981039346656037u;
    for (; *name; name++) {
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    }
    return h;
}

typedef struct rig {
    bl_device *device;
    bl_dtype graph;  /* F32 or BF16 */
    bl_dtype stored; /* what the source holds: F32, F16, BF16 */
} rig;

/* The value of a weight as stored and then packed. `vector`: packed as F32. */
static inline float rounded(float v, const rig *g, bool vector) {
    v = g->stored == BL_F16    ? bl_f16_to_f32(bl_f32_to_f16(v))
        : g->stored == BL_BF16 ? bl_bf16_to_f32(bl_f32_to_bf16(v))
                               : v;
    return g->graph == BL_BF16 && !vector ? bl_bf16_to_f32(bl_f32_to_bf16(v)) : v;
}

/* Element of the weight of this name; weights are scaled down so that sums stay near 1. */
static inline float weight_value(const rig *g, const char *name, int64_t index, int64_t fan_in, bool vector) {
    return rounded(noise(seed_of(name), (uint64_t)index) * (vector ? 1.0f : 1.7f / sqrtf((float)fan_in)), g,
                   vector);
}

static inline float activation_value(const rig *g, uint64_t seed, int64_t index) {
    float v = noise(seed, (uint64_t)index) * 1.7f;
    return g->graph == BL_BF16 ? bl_bf16_to_f32(bl_f32_to_bf16(v)) : v;
}

static inline bl_dtype source_dtype(void *payload, const bl_weight *w, int part) {
    (void)w;
    (void)part;
    return ((const rig *)payload)->stored;
}

static inline int source_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                              void *dst, bl_error *err) {
    const rig *g = payload;
    (void)err;
    int64_t row = bl_weight_elements(w) / w->shape[0];
    bool vector = w->kind == BL_W_VECTOR;
    for (int64_t i = begin * row; i < end * row; i++) {
        float v = noise(seed_of(w->name[part]), (uint64_t)i) * (vector ? 1.0f : 1.7f / sqrtf((float)row));
        bl_convert((char *)dst + (size_t)(i - begin * row) * bl_dtype_size(g->stored), g->stored, &v, BL_F32,
                   1);
    }
    return 0;
}

/* Runs a finished graph prepared in this way. `inputs` as declared; outputs are written. Checks that nothing
 * outside the arena is touched and that the arena's old bytes do not matter. Returns the arena's bytes. */
static inline uint64_t run_prepared(rig *r, const bl_graph *g, const bl_prepare_options *options,
                                    const void *const *inputs, void *const *outputs) {
    bl_error err = {0};
    bl_device_module *m = NULL;
    bl_executable *x = NULL;
    bl_region *region = NULL;
    bl_source source = {.payload = r, .dtype = source_dtype, .read = source_read};
    if (bl_device_module_open(&m, r->device, g, &source, &err) ||
        bl_device_prepare(&x, r->device, m, g, options, &err)) {
        fail_msg("%s", err.message);
    }
    bl_exec_info info = bl_device_executable_info(r->device, x);
    uint64_t offsets[64], at = 0;
    assert_true(g->block_count <= 64);
    for (int b = 0; b < g->block_count; b++) {
        offsets[b] = at;
        at += bl_device_module_costs(r->device, m)[b].packed_bytes;
    }
    uint64_t arena = at + CANARY, all = arena + info.arena_bytes + CANARY;
    if (bl_device_region_open(&region, r->device, all, &err)) {
        fail_msg("%s", err.message);
    }
    unsigned char *base = *(unsigned char **)(void *)region; /* the region begins with its address */
    memset(base + at, 0xff, (size_t)(all - at));             /* NaN in every type */
    for (int b = 0; b < g->block_count; b++) {
        if (bl_device_pack(r->device, m, b, bl_device_region_host(r->device, region), offsets[b],
                           BL_STREAM_COPY, &err)) {
            fail_msg("%s", err.message);
        }
    }
    bl_binding binding = {region, arena, offsets, inputs, outputs};
    for (int b = 0; b < g->block_count; b++) {
        if (bl_device_run(r->device, x, b, &binding, BL_STREAM_COMPUTE, &err)) {
            fail_msg("%s", err.message);
        }
    }
    for (int i = 0; i < CANARY; i++) {
        assert_int_equal(base[at + (uint64_t)i], 0xff);
        assert_int_equal(base[arena + info.arena_bytes + (uint64_t)i], 0xff);
    }
    bl_device_region_close(r->device, region);
    bl_device_executable_close(r->device, x);
    bl_device_module_close(r->device, m);
    return info.arena_bytes;
}

/* The same at an arena level. */
static inline uint64_t run_level(rig *r, const bl_graph *g, int level, const void *const *inputs,
                                 void *const *outputs) {
    return run_prepared(r, g, &(bl_prepare_options){.arena_level = level}, inputs, outputs);
}

/* Finishes a graph, runs it as it is and frees it. */
static inline void run_graph(rig *r, bl_graph *g, const void *const *inputs, void *const *outputs) {
    bl_error err = {0};
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    run_level(r, g, 0, inputs, outputs);
    bl_graph_free(&g);
}

/* Largest difference over the largest reference value. */
static inline double error_of(const float *got, const double *want, int64_t n) {
    double worst = 0, peak = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(got[i] - want[i]);
        worst = e > worst || isnan(got[i]) ? (isnan(got[i]) ? INFINITY : e) : worst;
        peak = fabs(want[i]) > peak ? fabs(want[i]) : peak;
    }
    return worst / peak;
}

static inline double tolerance(const rig *r) {
    return r->graph == BL_BF16 ? 6e-3 : 4e-6;
}

#define CHECK_CLOSE(r, got, want, n, ...)                                                                  \
    do {                                                                                                   \
        double check_error = error_of(got, want, n);                                                       \
        if (!(check_error <= tolerance(r))) {                                                              \
            char check_text[256];                                                                          \
            snprintf(check_text, sizeof check_text, __VA_ARGS__);                                          \
            fail_msg("%s %s: error %.3g of the peak", check_text, bl_dtype_name((r)->graph), check_error); \
        }                                                                                                  \
    } while (0)

#endif
