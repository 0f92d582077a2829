/* A device against the cpu device, and against the clock, on networks of full size with made-up weights:
 *     bench_device DEVICE ops NETWORK DTYPE SIZE [SECONDS]
 *     bench_device DEVICE network NETWORK DTYPE SIZE BATCH [RUNS]
 *     bench_device DEVICE rates NETWORK DTYPE SIZE
 * ops: each distinct op, the dearest first, as far as the time goes: its error, the bits of a second run,
 * those of one picture alone. rates: memory pinned or not, alone and beside a pass. NETWORK: unet (SD 1.5),
 * sdxl, vae, zimage, klein, qwen3 or tiny. Exit code 1 where an op is wrong. */
#include "core/clock.h"
#include "device/open/open.h"
#include "device/rig.h"
#include "graph/building.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RUNS 5

static bl_device *device, *cpu;

/* ---- ops */

typedef struct tally {
    int ops, wrong, unlike, alone;
    double worst[BL_OP_KIND_COUNT];
    int count[BL_OP_KIND_COUNT];
} tally;

static void describe(char *text, size_t bytes, const bl_graph *g, const bl_op *op) {
    const bl_tensor *x = &g->tensors[op->in[0]], *y = &g->tensors[op->out];
    snprintf(text, bytes, "%s %dx%dx%d -> %dx%dx%d kernel %d stride %d act %d%s%s%s keys %d",
             bl_op_name(op->kind), x->h, x->w, x->c, y->h, y->w, y->c,
             op->kind == BL_OP_CONV ? op->u.conv.kh : 0, op->kind == BL_OP_CONV ? op->u.conv.stride : 0,
             (int)op->act, op->in[1] != BL_NONE ? " +1" : "", op->in[2] != BL_NONE ? " +2" : "",
             op->weight2 != BL_NONE ? " bias" : "",
             op->kind == BL_OP_ATTENTION ? g->tensors[op->in[1]].h * g->tensors[op->in[1]].w : 0);
}

/* A graph of this op alone, for `n` pictures. */
static int single(bl_graph **out, const bl_graph *from, const bl_op *op, int n, bl_error *err) {
    bl_op copy = *op;
    bl_graph *g = bl_graph_new(from->module, from->dtype, NULL);
    *out = g;
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    bl_graph_block(g, "op");
    for (int i = 0; i < BL_OP_INPUTS; i++) {
        if (op->in[i] == BL_NONE) {
            continue;
        }
        const bl_tensor *t = &from->tensors[op->in[i]];
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        bool host = t->place == BL_INPUT;
        copy.in[i] = bl_input(g, name, host ? t->dtype : BL_F32, host ? t->layout : BL_CHANNELS_LAST, n, t->h,
                              t->w, t->c);
        copy.in[i] = host ? copy.in[i] : bl_import(g, copy.in[i]);
    }
    bl_weight_id *weights[] = {&copy.weight, &copy.weight2, &copy.weight3, &copy.weight4};
    for (int i = 0; i < 4; i++) {
        if (*weights[i] != BL_NONE) {
            const bl_weight *w = &from->weights[*weights[i]];
            const char *names[BL_WEIGHT_PARTS] = {w->name[0], w->name[1], w->name[2]};
            *weights[i] = bl_weight_new(g, w->kind, w->shape, w->rank, names, w->parts);
        }
    }
    bl_tensor y = from->tensors[op->out];
    y.n = n;
    y.kept = false;
    bl_export(g, bl_graph_add_op(g, copy, y), "y", BL_CHANNELS_LAST);
    return bl_graph_finish(g, err);
}

static int run_once(bl_device *d, const bl_graph *g, const void *const *inputs, void *const *outputs,
                    bl_error *err) {
    bench b;
    double seconds;
    int rc = bench_open(&b, d, g, false, true, err);
    rc = rc ? rc : bench_pass(&b, inputs, outputs, &seconds, NULL, err);
    rc = rc ? rc : bench_sync(&b, err);
    bench_close(&b);
    return rc;
}

static double error_of(const float *got, const float *want, int64_t n) {
    double worst = 0, peak = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        worst = isnan(got[i]) ? INFINITY : e > worst ? e : worst;
        peak = fabs((double)want[i]) > peak ? fabs((double)want[i]) : peak;
    }
    return worst / peak;
}

/* Two pictures on both devices, then again, then the first alone. */
static int check_op(tally *t, const bl_graph *from, const bl_op *op, const char *text, bl_error *err) {
    bl_graph *two = NULL, *one = NULL;
    void *inputs[BENCH_PORTS] = {NULL}, *got[BENCH_PORTS] = {NULL}, *want = NULL, *again = NULL;
    int rc = single(&two, from, op, 2, err);
    rc = rc ? rc : single(&one, from, op, 1, err);
    rc = rc ? rc : bench_make_values(inputs, got, two, err);
    int64_t n = rc ? 0 : bl_tensor_elements(bl_graph_port(two, BL_OUTPUT, 0));
    want = calloc((size_t)n + 1, 4);
    again = calloc((size_t)n + 1, 4);
    rc = rc ? rc : run_once(cpu, two, (const void *const *)inputs, &want, err);
    rc = rc ? rc : run_once(device, two, (const void *const *)inputs, got, err);
    rc = rc ? rc : run_once(device, two, (const void *const *)inputs, &again, err);
    if (!rc) {
        double error = error_of(got[0], want, n);
        t->worst[op->kind] = error > t->worst[op->kind] ? error : t->worst[op->kind];
        t->count[op->kind]++;
        t->ops++;
        if (!(error <= (from->dtype == BL_BF16 ? 1e-2 : 1e-4))) {
            printf("WRONG  %.3g of the peak: %s\n", error, text);
            t->wrong++;
        }
        if (memcmp(got[0], again, (size_t)n * 4)) {
            printf("UNLIKE other bits on a second run: %s\n", text);
            t->unlike++;
        }
        rc = run_once(device, one, (const void *const *)inputs, &again, err);
    }
    if (!rc && memcmp(got[0], again, (size_t)n / 2 * 4)) {
        printf("ALONE  other bits for one picture than for two: %s\n", text);
        t->alone++;
    }
    if (two) {
        bench_free_values(inputs, got, two);
    }
    free(want);
    free(again);
    bl_graph_free(&two);
    bl_graph_free(&one);
    return rc;
}

/* An op that no other one is like. */
typedef struct distinct {
    char text[192];
    const bl_op *op;
    double flops;
} distinct;

static int by_flops(const void *a, const void *b) {
    const distinct *x = a, *y = b;
    return (x->flops < y->flops) - (x->flops > y->flops);
}

static int find_distinct(distinct *out, const bl_graph *g) {
    int count = 0;
    for (int i = 0; i < g->op_count; i++) {
        const bl_op *op = &g->ops[i];
        bool known = op->kind == BL_OP_IMPORT || op->kind == BL_OP_EXPORT;
        out[count] = (distinct){.op = op, .flops = bl_op_flops(g, op)};
        describe(out[count].text, sizeof out->text, g, op);
        for (int k = 0; k < count; k++) {
            known = known || !strcmp(out[k].text, out[count].text);
        }
        count += !known;
    }
    qsort(out, (size_t)count, sizeof *out, by_flops);
    return count;
}

static int check_ops(const bl_graph *g, double limit, bl_error *err) {
    tally t = {0};
    double began = bl_now();
    distinct *list = calloc((size_t)g->op_count, sizeof *list);
    int rc = list ? 0 : bl_fail_memory(err, "the ops", (uint64_t)g->op_count * sizeof *list);
    int count = rc ? 0 : find_distinct(list, g);
    for (int i = 0; i < count && !rc && bl_now() - began < limit; i++) {
        rc = check_op(&t, g, list[i].op, list[i].text, err);
    }
    for (int k = 0; k < BL_OP_KIND_COUNT; k++) {
        if (t.count[k]) {
            printf("%-12s %3d shapes, worst error %.3g of the peak\n", bl_op_name((bl_op_kind)k), t.count[k],
                   t.worst[k]);
        }
    }
    printf("ops %d of %d, wrong %d, other bits again %d, other bits alone %d\n", t.ops, count, t.wrong,
           t.unlike, t.alone);
    free(list);
    return rc ? rc : t.wrong || t.unlike || t.alone ? BL_E_NUMERIC : 0;
}

/* ---- time */

static int time_network(const bl_graph *g, int runs, bl_error *err) {
    bench b;
    void *inputs[BENCH_PORTS] = {NULL}, *outputs[BENCH_PORTS] = {NULL};
    double best = 1e9, flops = 0, *each = calloc((size_t)g->block_count + 1, sizeof *each), t = bl_now();
    int rc = bench_open(&b, device, g, false, true, err);
    double opened = bl_now() - t;
    rc = rc ? rc : bench_make_values(inputs, outputs, g, err);
    for (int r = 0; r < runs && !rc; r++) {
        double seconds;
        rc = bench_pass(&b, (const void *const *)inputs, outputs, &seconds, each, err);
        printf("pass %d: %.2f ms\n", r + 1, seconds * 1e3);
        best = seconds < best ? seconds : best;
    }
    if (!rc) {
        bl_exec_info info = bl_device_executable_info(device, b.x);
        for (int i = 0; i < g->block_count; i++) {
            flops += info.block_flops[i];
            printf("%8.3f ms %7.1f TF/s  %s\n", each[i] * 1e3, info.block_flops[i] / each[i] * 1e-12,
                   g->blocks[i].name);
        }
        printf("opened in %.2f s, weights %.2f GB, arena %.0f MB\n", opened, (double)b.weight_bytes * 1e-9,
               (double)b.arena_bytes * 1e-6);
        printf("best of %d: %.2f ms, %.1f TF/s, checksum %08x\n", runs, best * 1e3, flops / best * 1e-12,
               *(unsigned *)outputs[0]);
    }
    bench_free_values(inputs, outputs, g);
    bench_close(&b);
    free(each);
    return rc;
}

static int time_rates(const bl_graph *g, bl_error *err) {
    int rc = 0;
    for (int pinned = 1; pinned >= 0 && !rc; pinned--) {
        bench b;
        double alone = 0, beside = 0, slowdown = 0;
        const char *what = pinned ? "pinned" : "not pinned";
        rc = bench_open(&b, device, g, pinned, pinned, err);
        if (!rc) {
            double bytes = (double)b.weight_bytes;
            printf("%s: %.2f GB had in %.2f s, packed in %.2f s (%.2f GB/s), copied at %.2f GB/s\n", what,
                   bytes * 1e-9, b.pin_seconds, b.load_seconds, bytes / b.load_seconds * 1e-9,
                   b.copy_seconds > 0 ? bytes / b.copy_seconds * 1e-9 : 0.0);
        }
        if (pinned && !rc && b.store) {
            rc = bench_beside(&b, &alone, &beside, &slowdown, err);
        }
        if (alone > 0 && !rc) {
            printf("%s: a pass alone %.2f ms, beside copies %.2f ms, %.3f times as long: %.1f%% slower\n",
                   what, alone * 1e3, beside * 1e3, beside / alone, 100 * slowdown);
        }
        bench_close(&b);
    }
    return rc;
}

int main(int argc, char **argv) {
    bl_error err = {0};
    bl_graph *g = NULL;
    bool ops = argc > 5 && !strcmp(argv[2], "ops"), network = argc > 6 && !strcmp(argv[2], "network");
    bool rates = argc > 5 && !strcmp(argv[2], "rates");
    if (!ops && !network && !rates) {
        fprintf(stderr, "usage: bench_device DEVICE ops|network|rates "
                        "unet|sdxl|vae|zimage|klein|qwen3|tiny f32|bf16 SIZE [BATCH [RUNS]]\n");
        return 2;
    }
    made_up_begin();
    bl_cpu_options options = {0};
    bl_dtype dtype = strcmp(argv[4], "bf16") ? BL_F32 : BL_BF16;
    int rc = bl_device_open(&device, argv[1], &options, &err);
    rc = rc ? rc : bl_device_open(&cpu, "cpu", &options, &err);
    rc = rc ? rc : made_up_graph(&g, argv[3], dtype, atoi(argv[5]), network ? atoi(argv[6]) : 2, &err);
    if (!rc) {
        bl_device_caps caps = bl_device_caps_of(device);
        printf("%s; %s %s %s\n", caps.name, argv[3], argv[4], argv[5]);
        rc = ops       ? check_ops(g, argc > 6 ? atof(argv[6]) : 1e9, &err)
             : network ? time_network(g, argc > 7 ? atoi(argv[7]) : RUNS, &err)
                       : time_rates(g, &err);
    }
    if (err.code) {
        fprintf(stderr, "bench_device: %s\n", err.message);
    }
    bl_graph_free(&g);
    bl_device_close(&cpu);
    bl_device_close(&device);
    return rc != 0;
}
