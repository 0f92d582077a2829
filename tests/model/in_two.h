/* A network in two on a device: a prologue, and the step that reads what it kept. */
#ifndef BALLAST_TESTS_MODEL_IN_TWO_H
#define BALLAST_TESTS_MODEL_IN_TWO_H

#include "model/transformers.h"

/* A graph's blocks, from `at` on in a region. */
typedef struct part {
    bl_graph *g;
    bl_device_module *module;
    bl_executable *x;
    uint64_t offset[8], arena, bytes;
} part;

/* Takes the graph. */
static inline void load(part *p, const bench *b, bl_graph *g) {
    bl_source source = {.payload = b->weights, .dtype = file_dtype, .read = file_read};
    bl_error err;
    *p = (part){.g = g};
    rig_ok(bl_device_module_open(&p->module, b->device, p->g, &source, &err), &err);
    rig_ok(bl_device_prepare(&p->x, b->device, p->module, p->g, &(bl_prepare_options){0}, &err), &err);
    p->arena = bl_device_executable_info(b->device, p->x).arena_bytes;
    assert_true(p->g->block_count <= 8);
    for (int i = 0; i < p->g->block_count; i++) {
        p->offset[i] = p->bytes;
        p->bytes += bl_device_module_costs(b->device, p->module)[i].packed_bytes;
    }
}

static inline void run_part(part *p, const bench *b, bl_region *region, uint64_t at, void *const *inputs,
                            float *output) {
    void *out[1] = {output};
    bl_error err;
    for (int i = 0; i < p->g->block_count; i++) {
        p->offset[i] += at;
        rig_ok(bl_device_pack(b->device, p->module, i, bl_device_region_host(b->device, region), p->offset[i],
                              BL_STREAM_COMPUTE, &err),
               &err);
    }
    bl_binding binding = {
        .region = region, .block_offset = p->offset, .inputs = (const void *const *)inputs, .outputs = out};
    for (int i = 0; i < p->g->block_count; i++) {
        rig_ok(bl_device_run(b->device, p->x, i, &binding, BL_STREAM_COMPUTE, &err), &err);
    }
    bool lost;
    rig_ok(bl_device_sync(b->device, &lost, &err), &err);
}

static inline void close_part(part *p, const bench *b) {
    bl_device_executable_close(b->device, p->x);
    bl_device_module_close(b->device, p->module);
    bl_graph_free(&p->g);
}

static inline void free_inputs(void *const *inputs, const bl_graph *g) {
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
}

/* The prologue of `first`, then the step of `second`, whose output is `out`. Frees graphs and inputs. */
static inline void run_in_two(const bench *b, part *prologue, void *const *first, part *step,
                              void *const *second, float *out) {
    bl_region *region;
    bl_error err;
    assert_true(prologue->g->kept_bytes && prologue->g->kept_bytes == step->g->kept_bytes);
    const uint64_t most = prologue->arena > step->arena ? prologue->arena : step->arena,
                   arena = (most + 4095) / 4096 * 4096, rest = (prologue->bytes + 4095) / 4096 * 4096;
    rig_ok(bl_device_region_open(&region, b->device, arena + rest + step->bytes, &err), &err);
    run_part(prologue, b, region, arena, first, NULL);
    run_part(step, b, region, arena + rest, second, out);
    bl_device_region_close(b->device, region);
    free_inputs(first, prologue->g);
    free_inputs(second, step->g);
    close_part(prologue, b);
    close_part(step, b);
}

#endif
