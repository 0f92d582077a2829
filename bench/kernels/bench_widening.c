/* What a step pays for weights that are stored small:
 *     bench_widening zimage|klein|sdxl|unet SIZE STORED [PAIRS [THREADS]]
 * Runs one block of each kind of the network in bf16, from small and from wide weights in turn, PAIRS times,
 * so that both see what else the machine does. Kinds are blocks with the same work; those with less than a
 * fiftieth of it are left out. Prints a line a kind (medians), and the sum over all blocks: a step. STORED:
 * Q8_0, F8_E4M3, ... */
#include "core/clock.h"
#include "device/cpu/cpu.h"
#include "kernels/made_up.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KINDS 8
#define PAIRS 99
#define LEAST 0.02 /* of all work, in a kind that counts */

typedef struct side {
    bl_device_module *module;
    bl_executable *executable;
    uint64_t arena, block; /* bytes; the largest block that is run */
    uint64_t *offsets;     /* [block_count] */
} side;

typedef struct kind {
    int first, count; /* blocks */
    double flops;
} kind;

static int find_kinds(kind *kinds, const bl_graph *g, const double *flops) {
    int count = 0, kept = 0;
    double all = 0;
    for (int b = 0; b < g->block_count; b++) {
        int k = 0;
        while (k < count && kinds[k].flops != flops[b]) {
            k++;
        }
        if (k == count && count < KINDS) {
            kinds[count++] = (kind){.first = b, .flops = flops[b]};
        }
        if (k < KINDS) {
            kinds[k].count++;
        }
        all += flops[b];
    }
    for (int k = 0; k < count; k++) {
        if (kinds[k].flops * kinds[k].count >= LEAST * all) {
            kinds[kept++] = kinds[k];
        }
    }
    return kept;
}

static int open_side(side *s, bl_device *d, bl_graph *g, const bl_source *source, bl_error *err) {
    int rc = bl_device_module_open(&s->module, d, g, source, err);
    rc = rc ? rc : bl_device_prepare(&s->executable, d, s->module, g, &(bl_prepare_options){0}, err);
    if (!rc) {
        s->arena = bl_device_executable_info(d, s->executable).arena_bytes;
        s->offsets = calloc((size_t)g->block_count + 1, sizeof *s->offsets);
    }
    return rc ? rc : s->offsets ? 0 : bl_fail_memory(err, "offsets", (uint64_t)g->block_count);
}

static int by_value(const void *a, const void *b) {
    const double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* Seconds of the block: small, wide, and widening. */
static int measure(double out[3], bl_device *d, const side s[2], const bl_binding b[2], int block, int pairs,
                   bl_error *err) {
    double seconds[2][PAIRS] = {{0}}, before = bl_device_executable_widened(d, s[0].executable);
    for (int i = -1; i < pairs; i++) { /* the first is not counted */
        for (int k = 0; k < 2; k++) {
            double start = bl_now();
            int rc = bl_device_run(d, s[k].executable, block, &b[k], BL_STREAM_COMPUTE, err);
            if (rc) {
                return rc;
            }
            seconds[k][i < 0 ? 0 : i] = bl_now() - start;
        }
        before = i < 0 ? bl_device_executable_widened(d, s[0].executable) : before;
    }
    out[2] = (bl_device_executable_widened(d, s[0].executable) - before) / pairs;
    out[0] = median(seconds[0], pairs);
    out[1] = median(seconds[1], pairs);
    return 0;
}

static int run(bl_device *d, bl_graph *g, side s[2], int pairs, bl_error *err) {
    kind kinds[KINDS];
    const int count = find_kinds(kinds, g, bl_device_executable_info(d, s[0].executable).block_flops);
    const uint64_t arena = s[0].arena > s[1].arena ? s[0].arena : s[1].arena;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < count; i++) {
            uint64_t bytes = bl_device_module_costs(d, s[k].module)[kinds[i].first].packed_bytes;
            s[k].block = bytes > s[k].block ? bytes : s[k].block;
        }
    }
    void *inputs[8], *output = calloc(1, bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, 0)));
    for (int i = 0; i < g->input_count && i < 8; i++) {
        inputs[i] = made_up_input(g, i);
    }
    bl_region *region = NULL;
    int rc = bl_device_region_open(&region, d, arena + s[0].block + s[1].block, err);
    double step[3] = {0};
    for (int i = 0; i < count && !rc; i++) {
        const int block = kinds[i].first;
        bl_binding b[2];
        for (int k = 0; k < 2 && !rc; k++) {
            s[k].offsets[block] = arena + (k ? s[0].block : 0);
            b[k] = (bl_binding){region, 0, s[k].offsets, (const void *const *)inputs, &output};
            rc = bl_device_pack(d, s[k].module, block, bl_device_region_host(d, region), s[k].offsets[block],
                                BL_STREAM_COPY, err);
        }
        double t[3] = {0};
        rc = rc ? rc : measure(t, d, s, b, block, pairs, err);
        if (!rc) {
            printf("%2d blocks of %6.3f TFLOP: small %.3f s, wide %.3f s, widening %.4f s\n", kinds[i].count,
                   kinds[i].flops * 1e-12, t[0], t[1], t[2]);
        }
        for (int k = 0; k < 3; k++) {
            step[k] += t[k] * kinds[i].count;
        }
    }
    if (!rc) {
        printf("a step: small %.2f s, wide %.2f s, so %.2f%% more; widening %.3f s, %.2f%%\n", step[0],
               step[1], 100 * (step[0] / step[1] - 1), step[2], 100 * step[2] / step[1]);
    }
    if (region) {
        bl_device_region_close(d, region);
    }
    for (int i = 0; i < g->input_count && i < 8; i++) {
        free(inputs[i]);
    }
    free(output);
    return rc;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: bench_widening zimage|klein|sdxl|unet SIZE STORED [PAIRS [THREADS]]\n");
        return 2;
    }
    made_up_begin();
    bl_error err = {0};
    bl_device *d = NULL;
    bl_graph *g = NULL;
    side sides[2] = {{0}};
    bl_storage stored = made_up_storage(argv[3]);
    bl_source wide = {.payload = &stored, .dtype = made_up_dtype, .read = made_up_read}, small = wide;
    small.small = made_up_small;
    small.read_small = made_up_read_small;
    int pairs = argc > 4 ? atoi(argv[4]) : 3;
    pairs = pairs < 1 ? 1 : pairs > PAIRS ? PAIRS : pairs;
    bl_cpu_options options = {.threads = argc > 5 ? atoi(argv[5]) : 0};
    if (stored == BL_STORED_PLAIN) {
        fprintf(stderr, "bench_widening: no storage %s\n", argv[3]);
        return 2;
    }
    int rc = bl_cpu_open(&d, &options, &err);
    rc = rc ? rc : made_up_graph(&g, argv[1], BL_BF16, atoi(argv[2]), 1, &err);
    rc = rc ? rc : open_side(&sides[0], d, g, &small, &err);
    rc = rc ? rc : open_side(&sides[1], d, g, &wide, &err);
    rc = rc ? rc : run(d, g, sides, pairs, &err);
    if (rc) {
        fprintf(stderr, "bench_widening: %s\n", err.message);
    }
    for (int k = 0; k < 2; k++) {
        if (sides[k].executable) {
            bl_device_executable_close(d, sides[k].executable);
        }
        if (sides[k].module) {
            bl_device_module_close(d, sides[k].module);
        }
        free(sides[k].offsets);
    }
    bl_graph_free(&g);
    bl_device_close(&d);
    return rc ? 1 : 0;
}
