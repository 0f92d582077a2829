/* Small graphs on the device behind the fake, and on the cpu device to be held against. Weights are a
 * function of their name and index. */
#ifndef BALLAST_TESTS_DEVICE_CUDA_RIG_H
#define BALLAST_TESTS_DEVICE_CUDA_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/cpu/cpu.h"
#include "device/cuda/cuda.h"
#include "fake.h"
#include "graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BLOCKS 8

/* A number in [-1, 1), the same for the same seed and index. */
static inline float noise(uint64_t seed, uint64_t index) {
    uint64_t v = seed * 0x9e3779b97f4a7c15u + index + 1;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    v ^= v >> 31;
    return (float)(int32_t)(uint32_t)v * 0x1p-31f;
}

static inline bl_dtype source_dtype(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w;
    return part ? BL_F16 : BL_F32;
}

/* payload: a pointer to how many readings are left before one fails; NULL: none does. */
static inline int source_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                              void *dst, bl_error *err) {
    int *left = payload;
    int64_t row = bl_weight_elements(w) / w->shape[0];
    float scale = w->kind == BL_W_VECTOR ? 1.0f : 1.7f / sqrtf((float)row);
    uint64_t seed = (uint64_t)w->name[part][0] * 31 + (uint64_t)w->name[part][1];
    if (left && (*left)-- == 0) {
        return bl_fail(err, BL_E_IO, "the file ends here");
    }
    for (int64_t i = 0; i < (end - begin) * row; i++) {
        float v = noise(seed, (uint64_t)(begin * row + i)) * scale;
        bl_convert((char *)dst + (size_t)i * (part ? 2 : 4), part ? BL_F16 : BL_F32, &v, BL_F32, 1);
    }
    return 0;
}

static inline bl_weight_id weight(bl_graph *g, bl_weight_kind kind, const char *name, int64_t a, int64_t b,
                                  int64_t c, int64_t d) {
    int64_t shape[4] = {a, b, c, d};
    int rank = kind == BL_W_CONV ? 4 : kind == BL_W_VECTOR ? 1 : 2;
    return bl_weight_new(g, kind, shape, rank, &name, 1);
}

static inline float *filled(uint64_t seed, int64_t n, float scale) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = bl_bf16_to_f32(bl_f32_to_bf16(noise(seed, (uint64_t)i) * scale));
    }
    return x;
}

static inline bl_tensor_id input(bl_graph *g, const char *name, int n, int h, int w, int c) {
    return bl_import(g, bl_input(g, name, BL_F32, BL_CHANNELS_LAST, n, h, w, c));
}

/* How a graph is run. */
typedef struct how {
    bool store;              /* through host memory, on three streams; else straight into the region */
    bool unpinned;           /* that memory */
    int *reads_left;         /* of the source */
    const bl_source *source; /* another than the rig's own */
    double *widened;         /* gets the seconds that went into widening */
} how;

/* Runs a finished graph once. Everything that was opened is closed, whatever failed. */
static inline int run_on(bl_device *d, const bl_graph *g, how h, const void *const *inputs,
                         void *const *outputs, bl_error *err) {
    bl_source own = {.payload = h.reads_left, .dtype = source_dtype, .read = source_read};
    const bl_source *source = h.source ? h.source : &own;
    bl_device_module *m = NULL;
    bl_executable *x = NULL;
    bl_region *region = NULL;
    bl_host *host = NULL;
    bl_event *events[2 * MOST_BLOCKS + 1] = {NULL};
    uint64_t offsets[MOST_BLOCKS], stored[MOST_BLOCKS], all = 0, packed = 0;
    bool lost;
    int rc = bl_device_module_open(&m, d, g, source, err);
    rc = rc ? rc : bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, err);
    if (!rc) {
        all = bl_device_executable_info(d, x).arena_bytes;
        for (int b = 0; b < g->block_count; b++) {
            offsets[b] = all;
            stored[b] = packed;
            all += bl_device_module_costs(d, m)[b].packed_bytes;
            packed += bl_device_module_costs(d, m)[b].packed_bytes;
        }
        rc = bl_device_region_open(&region, d, all, err);
    }
    rc = rc || !h.store ? rc : bl_device_host_open(&host, d, packed, !h.unpinned, err);
    for (int i = 0; i < 2 * g->block_count + 1 && !rc; i++) {
        rc = bl_device_event_open(&events[i], d, err);
    }
    for (int b = 0; b < g->block_count && !rc; b++) {
        if (h.store) {
            rc = bl_device_pack(d, m, b, host, stored[b], BL_STREAM_LOAD, err);
            rc = rc ? rc : bl_device_event_record(d, events[2 * b], BL_STREAM_LOAD, err);
            rc = rc ? rc : bl_device_stream_wait(d, BL_STREAM_COPY, events[2 * b], err);
            rc = rc ? rc : bl_device_copy(d, m, b, host, stored[b], region, offsets[b], BL_STREAM_COPY, err);
        } else {
            rc = bl_device_pack(d, m, b, bl_device_region_host(d, region), offsets[b], BL_STREAM_COPY, err);
        }
        rc = rc ? rc : bl_device_event_record(d, events[2 * b + 1], BL_STREAM_COPY, err);
    }
    bl_binding binding = {.region = region, .block_offset = offsets, .inputs = inputs, .outputs = outputs};
    for (int b = 0; b < g->block_count && !rc; b++) {
        rc = bl_device_stream_wait(d, BL_STREAM_COMPUTE, events[2 * b + 1], err);
        rc = rc ? rc : bl_device_run(d, x, b, &binding, BL_STREAM_COMPUTE, err);
    }
    rc = rc ? rc : bl_device_event_record(d, events[2 * g->block_count], BL_STREAM_COMPUTE, err);
    rc = rc ? rc : bl_device_event_wait(d, events[2 * g->block_count], err);
    int late = bl_device_sync(d, &lost, rc ? NULL : err);
    if (region && !rc && !late) {
        bl_region_use use = bl_device_region_used(d, region);
        assert_int_equal(use.arena, bl_device_executable_info(d, x).arena_bytes);
        assert_true(use.end <= all);
        if (h.widened) {
            *h.widened = bl_device_executable_widened(d, x);
        }
    }
    for (int i = 0; i < 2 * g->block_count + 1; i++) {
        bl_device_event_close(d, events[i]);
    }
    bl_device_host_close(d, host);
    bl_device_region_close(d, region);
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    return rc ? rc : late;
}

static inline void run_well(bl_device *d, const bl_graph *g, how h, const void *const *inputs,
                            void *const *outputs) {
    bl_error err = {0};
    if (run_on(d, g, h, inputs, outputs, &err)) {
        fail_msg("%s", err.message);
    }
}

static inline bl_device *open_fake(const fake_script *script) {
    bl_device *d;
    bl_error err = {0};
    if (bl_cuda_open(&d, fake_begin(script), "", NULL, &err)) {
        fail_msg("%s", err.message);
    }
    return d;
}

static inline void close_fake(bl_device **d) {
    bl_device_close(d);
    const char *fault = fake_end();
    if (fault) {
        fail_msg("%s", fault);
    }
}

/* Largest difference over the largest value. */
static inline double error_of(const float *got, const float *want, int64_t n) {
    double worst = 0, peak = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        worst = isnan(got[i]) ? INFINITY : e > worst ? e : worst;
        peak = fabs((double)want[i]) > peak ? fabs((double)want[i]) : peak;
    }
    return worst / peak;
}

#endif
