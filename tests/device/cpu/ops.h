/* Graphs of one op in F32 and BF16, with weights stored as F32, F16 and BF16, on each of the instruction
 * sets: in processes of their own, because oneDNN takes its limit once in a process. */
#ifndef BALLAST_TESTS_DEVICE_CPU_OPS_H
#define BALLAST_TESTS_DEVICE_CPU_OPS_H

#include "device/cpu/rig.h"

#include "core/parallel.h"
#include "support/again.h"

static bl_cpu_isa isa_max;
static bl_device *device;

static const struct {
    bl_dtype graph, stored;
} types[] = {{BL_F32, BL_F32}, {BL_F32, BL_BF16}, {BL_BF16, BL_F16}, {BL_BF16, BL_F32}};
static int type_count = 4; /* 2 where there is no bf16 */

static inline rig rig_of(int i) {
    return (rig){.device = device, .graph = types[i].graph, .stored = types[i].stored};
}

static inline bl_weight_id weight(bl_graph *g, bl_weight_kind kind, const char *name, int64_t a, int64_t b,
                                  int64_t c, int64_t d) {
    int64_t shape[4] = {a, b, c, d};
    int rank = kind == BL_W_CONV ? 4 : kind == BL_W_VECTOR ? 1 : 2;
    return bl_weight_new(g, kind, shape, rank, &name, 1);
}

static inline float *filled(const rig *r, uint64_t seed, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = activation_value(r, seed, i);
    }
    return x;
}

static inline bl_graph *graph_of(const rig *r) {
    bl_graph *g = bl_graph_new(BL_UNET, r->graph, NULL);
    bl_graph_block(g, "all");
    return g;
}

static inline bl_tensor_id input(bl_graph *g, const char *name, int n, int h, int w, int c) {
    return bl_import(g, bl_input(g, name, BL_F32, BL_CHANNELS_LAST, n, h, w, c));
}

static inline int open_device(void **state) {
    (void)state;
    bl_error err;
    bl_cpu_options o = {.isa_max = isa_max};
    if (bl_cpu_open(&device, &o, &err)) {
        fail_msg("%s", err.message);
    }
    bl_device_caps caps = bl_device_caps_of(device);
    type_count = caps.bf16 ? 4 : 2;
    return 0;
}

static inline int close_device(void **state) {
    (void)state;
    bl_device_close(&device);
    return 0;
}

/* Takes the instruction set that the argument names; without an argument the best one, and runs the program
 * again for each lower one. How many of those failed. */
static inline int on_lower_isas(int argc, char **argv) {
    isa_max = argc > 1 ? (bl_cpu_isa)atoi(argv[1]) : BL_ISA_BEST;
    return argc > 1 ? 0 : bl_test_again("2") + bl_test_again("3") + bl_test_again("1");
}

#endif
