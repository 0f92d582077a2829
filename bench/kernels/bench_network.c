/* Seconds of one network at full size on made-up weights, and where they go:
 *     bench_network unet|sdxl|vae|zimage|klein|qwen3 f32|bf16 SIZE BATCH [RUNS [ISA [THREADS [STORED]]]]
 * STORED: Q8_0, F8_E4M3, ...: weights stay small. ISA: 1 plain, 2 AVX2, 3 AVX-512, 4 AVX512_BF16, 0 the best.
 * Prints the best run, and the ops by kind and shape. */
#include "core/clock.h"
#include "device/cpu/cpu.h"
#include "kernels/made_up.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct line {
    char text[128];
    double seconds, flops;
    int count;
} line;

static int by_seconds(const void *a, const void *b) {
    const line *p = a, *q = b;
    return (p->seconds < q->seconds) - (p->seconds > q->seconds);
}

static void add_line(line *lines, int *count, const char *text, double seconds, double flops) {
    int i = 0;
    while (i < *count && strcmp(lines[i].text, text) != 0) {
        i++;
    }
    if (i == *count) {
        lines[(*count)++] = (line){.seconds = 0};
        memcpy(lines[i].text, text, sizeof lines[i].text);
    }
    lines[i].seconds += seconds;
    lines[i].flops += flops;
    lines[i].count++;
}

/* `seconds` are sums over the runs. */
static void report(const bl_graph *g, const double *seconds, int runs) {
    line *lines = calloc((size_t)g->op_count + BL_OP_KIND_COUNT, sizeof *lines);
    double total = 0;
    for (int pass = 0; lines && pass < 2; pass++) {
        int count = 0;
        total = 0;
        memset(lines, 0, ((size_t)g->op_count + BL_OP_KIND_COUNT) * sizeof *lines);
        for (int i = 0; i < g->op_count; i++) {
            const bl_op *op = &g->ops[i];
            const bl_tensor *x = &g->tensors[op->in[0]], *y = &g->tensors[op->out];
            char text[128] = {0};
            if (pass == 0) {
                snprintf(text, sizeof text, "%s", bl_op_name(op->kind));
            } else {
                snprintf(text, sizeof text, "%s %dx%dx%dx%d -> %dx%dx%d k%d act%d%s%s", bl_op_name(op->kind),
                         x->n, x->h, x->w, x->c, y->h, y->w, y->c, op->kind == BL_OP_CONV ? op->u.conv.kh : 0,
                         (int)op->act, op->in[1] != BL_NONE && op->kind != BL_OP_ATTENTION ? " +res" : "",
                         op->kind == BL_OP_ATTENTION && g->tensors[op->in[1]].h != x->h ? " cross" : "");
            }
            add_line(lines, &count, text, seconds[i] / runs, bl_op_flops(g, op));
            total += seconds[i] / runs;
        }
        qsort(lines, (size_t)count, sizeof *lines, by_seconds);
        for (int i = 0; i < count && i < 30; i++) {
            printf("%6.2f%% %9.2f ms %3dx %7.0f GF/s  %s\n", 100 * lines[i].seconds / total,
                   lines[i].seconds * 1e3, lines[i].count, lines[i].flops / lines[i].seconds * 1e-9,
                   lines[i].text);
        }
        puts("");
    }
    free(lines);
}

static void run_all(bl_device *d, bl_device_module *m, bl_graph *g, int runs, bl_error *err) {
    bl_executable *x = NULL;
    bl_region *region = NULL;
    double t = bl_now();
    if (bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, err)) {
        return;
    }
    bl_exec_info info = bl_device_executable_info(d, x);
    uint64_t at = 0, source = 0, *offsets = calloc((size_t)g->block_count + 1, sizeof *offsets);
    double prepare = bl_now() - t, flops = 0;
    for (int b = 0; offsets && b < g->block_count; b++) {
        offsets[b] = at;
        at += bl_device_module_costs(d, m)[b].packed_bytes;
        source += bl_device_module_costs(d, m)[b].source_bytes;
        flops += info.block_flops[b];
    }
    if (offsets && !bl_device_region_open(&region, d, at + info.arena_bytes, err)) {
        t = bl_now();
        for (int b = 0; b < g->block_count; b++) {
            bl_device_pack(d, m, b, bl_device_region_host(d, region), offsets[b], BL_STREAM_COPY, err);
        }
        double load = bl_now() - t, best = 1e9;
        void *inputs[8], *outputs[1] = {calloc(1, bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, 0)))};
        for (int i = 0; i < g->input_count && i < 8; i++) {
            inputs[i] = made_up_input(g, i);
        }
        bl_binding binding = {region, at, offsets, (const void *const *)inputs, outputs};
        for (int r = 0; r < runs; r++) {
            t = bl_now();
            for (int b = 0; b < g->block_count; b++) {
                if (bl_device_run(d, x, b, &binding, BL_STREAM_COMPUTE, err)) {
                    return;
                }
            }
            t = bl_now() - t;
            best = t < best ? t : best;
        }
        report(g, bl_cpu_op_seconds(x), runs);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("prepare %.2f s, onload %.2f s (%.2f GB/s of source), packed %.2f GB, arena %.0f MB, peak RSS "
               "%.2f GB\n",
               prepare, load, (double)source / load * 1e-9, (double)at * 1e-9,
               (double)info.arena_bytes * 1e-6, (double)usage.ru_maxrss * 1024e-9);
        double widened = 0, widening = bl_device_executable_widened(d, x);
        for (int b = 0; info.block_widened && b < g->block_count; b++) {
            widened += info.block_widened[b];
        }
        if (widened > 0) {
            printf("widening %.3f s a run, %.2f G values a second\n", widening / runs,
                   widened * runs / widening * 1e-9);
        }
        printf("best of %d: %.3f s, %.0f GF/s, checksum %08x\n", runs, best, flops / best * 1e-9,
               *(unsigned *)outputs[0]);
        for (int i = 0; i < g->input_count && i < 8; i++) {
            free(inputs[i]);
        }
        free(outputs[0]);
        bl_device_region_close(d, region);
    }
    free(offsets);
    bl_device_executable_close(d, x);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: bench_network unet|sdxl|vae|zimage|klein|qwen3 f32|bf16 SIZE BATCH "
                        "[RUNS [ISA [THREADS [STORED]]]]\n");
        return 2;
    }
    made_up_begin();
    bl_error err = {0};
    bl_device *d = NULL;
    bl_graph *g = NULL;
    bl_device_module *m = NULL;
    bl_storage stored = argc > 8 ? made_up_storage(argv[8]) : BL_STORED_PLAIN;
    bl_source source = {.payload = &stored, .dtype = made_up_dtype, .read = made_up_read};
    if (stored) {
        source.small = made_up_small;
        source.read_small = made_up_read_small;
    }
    bl_cpu_options options = {.isa_max = argc > 6 ? (bl_cpu_isa)atoi(argv[6]) : BL_ISA_BEST,
                              .threads = argc > 7 ? atoi(argv[7]) : 0};
    if (!bl_cpu_open(&d, &options, &err) &&
        !made_up_graph(&g, argv[1], strcmp(argv[2], "bf16") ? BL_F32 : BL_BF16, atoi(argv[3]), atoi(argv[4]),
                       &err) &&
        !bl_device_module_open(&m, d, g, &source, &err)) {
        run_all(d, m, g, argc > 5 ? atoi(argv[5]) : 2, &err);
    }
    if (err.code) {
        fprintf(stderr, "%s\n", err.message);
    }
    if (m) {
        bl_device_module_close(d, m);
    }
    bl_graph_free(&g);
    bl_device_close(&d);
    return err.code ? 1 : 0;
}
