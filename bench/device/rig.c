#include "device/rig.h"

#include "core/clock.h"

void bench_close(bench *b) {
    for (int i = 0; b->events && i <= b->g->block_count; i++) {
        bl_device_event_close(b->d, b->events[i]);
    }
    bl_device_host_close(b->d, b->store);
    bl_device_region_close(b->d, b->region);
    bl_device_executable_close(b->d, b->x);
    bl_device_module_close(b->d, b->m);
    free(b->events);
    free(b->offset);
    free(b->stored);
    *b = (bench){0};
}

int bench_sync(bench *b, bl_error *err) {
    bool lost;
    return bl_device_sync(b->d, &lost, err);
}

int bench_copy_all(bench *b, uint64_t shift, bl_error *err) {
    int rc = bl_device_event_record(b->d, b->events[0], BL_STREAM_COPY, err);
    for (int i = 0; i < b->g->block_count && !rc; i++) {
        rc = bl_device_copy(b->d, b->m, i, b->store, b->stored[i], b->region, b->offset[i] + shift,
                            BL_STREAM_COPY, err);
    }
    return rc ? rc : bl_device_event_record(b->d, b->events[1], BL_STREAM_COPY, err);
}

static int bring_in(bench *b, bl_error *err) {
    int rc = 0;
    double t = bl_now();
    for (int i = 0; i < b->g->block_count && !rc; i++) {
        rc = b->store ? bl_device_pack(b->d, b->m, i, b->store, b->stored[i], BL_STREAM_LOAD, err)
                      : bl_device_pack(b->d, b->m, i, bl_device_region_host(b->d, b->region), b->offset[i],
                                       BL_STREAM_COPY, err);
    }
    rc = rc ? rc : bench_sync(b, err);
    b->load_seconds = bl_now() - t;
    if (!rc && b->store) {
        rc = bench_copy_all(b, 0, err);
        rc = rc ? rc : bench_sync(b, err);
        b->copy_seconds =
            rc ? 0
               : bl_device_event_seconds(b->d, b->events[1]) - bl_device_event_seconds(b->d, b->events[0]);
    }
    return rc;
}

int bench_open(bench *b, bl_device *d, const bl_graph *g, bool twice, bool pinned, bl_error *err) {
    bl_source source = {.dtype = made_up_dtype, .read = made_up_read};
    size_t count = (size_t)g->block_count + 2;
    bl_device_caps caps = bl_device_caps_of(d);
    *b = (bench){.d = d, .g = g};
    b->offset = calloc(count, sizeof *b->offset);
    b->stored = calloc(count, sizeof *b->stored);
    b->events = calloc(count, sizeof(bl_event *));
    if (!b->offset || !b->stored || !b->events) {
        return bl_fail_memory(err, "a bench", count * sizeof *b->offset);
    }
    int rc = bl_device_module_open(&b->m, d, g, &source, err);
    rc = rc ? rc : bl_device_prepare(&b->x, d, b->m, g, &(bl_prepare_options){0}, err);
    if (rc) {
        return rc;
    }
    b->arena_bytes = bl_device_executable_info(d, b->x).arena_bytes;
    for (int i = 0; i < g->block_count; i++) {
        b->stored[i] = b->weight_bytes;
        b->offset[i] = b->arena_bytes + b->weight_bytes;
        b->weight_bytes += bl_device_module_costs(d, b->m)[i].packed_bytes;
    }
    rc = bl_device_region_open(&b->region, d,
                               b->arena_bytes + b->weight_bytes + (twice ? b->weight_bytes : 0), err);
    double t = bl_now();
    rc = rc || !caps.host_store ? rc : bl_device_host_open(&b->store, d, b->weight_bytes, pinned, err);
    b->pin_seconds = bl_now() - t;
    for (int i = 0; i <= g->block_count && !rc; i++) {
        rc = bl_device_event_open(&b->events[i], d, err);
    }
    return rc ? rc : bring_in(b, err);
}

int bench_pass(bench *b, const void *const *inputs, void *const *outputs, double *seconds, double *each,
               bl_error *err) {
    bl_binding binding = {
        .region = b->region, .block_offset = b->offset, .inputs = inputs, .outputs = outputs};
    int count = b->g->block_count, rc = bl_device_event_record(b->d, b->events[0], BL_STREAM_COMPUTE, err);
    for (int i = 0; i < count && !rc; i++) {
        rc = bl_device_run(b->d, b->x, i, &binding, BL_STREAM_COMPUTE, err);
        rc = rc ? rc : bl_device_event_record(b->d, b->events[i + 1], BL_STREAM_COMPUTE, err);
    }
    rc = rc ? rc : bl_device_event_wait(b->d, b->events[count], err);
    for (int i = 0; each && i < count && !rc; i++) {
        each[i] =
            bl_device_event_seconds(b->d, b->events[i + 1]) - bl_device_event_seconds(b->d, b->events[i]);
    }
    *seconds =
        rc ? 0
           : bl_device_event_seconds(b->d, b->events[count]) - bl_device_event_seconds(b->d, b->events[0]);
    return rc;
}

int bench_make_values(void **inputs, void **outputs, const bl_graph *g, bl_error *err) {
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = made_up_input(g, i);
    }
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = calloc(1, bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, i)));
    }
    return g->input_count <= BENCH_PORTS && g->output_count <= BENCH_PORTS
               ? 0
               : bl_fail(err, BL_E_INTERNAL, "more ports than a bench has");
}

void bench_free_values(void **inputs, void **outputs, const bl_graph *g) {
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    for (int i = 0; i < g->output_count; i++) {
        free(outputs[i]);
    }
}

int bench_beside(bench *b, double *alone, double *beside, double *slowdown, bl_error *err) {
    void *inputs[BENCH_PORTS] = {NULL}, *outputs[BENCH_PORTS] = {NULL};
    int rc = bench_make_values(inputs, outputs, b->g, err);
    for (int i = 0; i < 3 && !rc; i++) {
        rc = bench_pass(b, (const void *const *)inputs, outputs, alone, NULL, err);
    }
    rc = rc ? rc : bench_copy_all(b, b->weight_bytes, err);
    rc = rc ? rc : bench_pass(b, (const void *const *)inputs, outputs, beside, NULL, err);
    rc = rc ? rc : bench_sync(b, err);
    if (!rc) { /* as long as both went on */
        double both = b->copy_seconds < *beside ? b->copy_seconds : *beside, lost = *beside - *alone;
        *slowdown = lost > 0 && lost < both ? lost / (both - lost) : 0;
    }
    bench_free_values(inputs, outputs, b->g);
    return rc;
}
