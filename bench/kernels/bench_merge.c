/* What merging an adapter adds to packing a network's weights, at full size on made-up ones:
 *     bench_merge sd15|sdxl f32|bf16 [RANK [THREADS [SIDE]]]
 * An adapter in F16 on every layer of the text encoders and the UNet is written to $TMPDIR, and each block
 * packed without and with it, in turn. With SIDE, of a picture in pixels: the UNet alone, each block run
 * after it was packed, as a guided step behind its prologue does that streams all of them. Processor seconds,
 * since whatever else the machine does stretches the others. */
#include "adapter/merge.h"
#include "device/cpu/cpu.h"
#include "kernels/made_up.h"
#include "model/clip_text.h"
#include "model/published.h"
#include "model/unet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME 192

typedef struct spent {
    double processor, wall;
} spent;

static spent now(void) {
    struct timespec cpu, wall;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    clock_gettime(CLOCK_MONOTONIC, &wall);
    return (spent){(double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec,
                   (double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec};
}

static void add_since(spent *sum, spent begin) {
    spent end = now();
    sum->processor += end.processor - begin.processor;
    sum->wall += end.wall - begin.wall;
}

/* ---- the adapter */

static int write_adapter(const char *path, const bl_layers *layers, int rank, bl_error *err) {
    const int count = bl_layers_count(layers);
    bl_tensor_data *tensors = calloc(2 * (size_t)count + 1, sizeof *tensors);
    char(*names)[NAME] = calloc(2 * (size_t)count + 1, sizeof *names);
    int64_t most = 1;
    int n = 0;
    for (int i = 0; i < count && tensors && names; i++) {
        const bl_layer *l = bl_layers_at(layers, i);
        int64_t inner = l->inner * l->positions;
        if (!l->weight || inner == 1) {
            continue;
        }
        most = inner > most ? inner : most;
        most = l->rows > most ? l->rows : most;
        for (int up = 0; up < 2; up++, n++) {
            snprintf(names[n], NAME, "%s.%s.lora_%s.weight", bl_module_name(l->module), l->name,
                     up ? "B" : "A");
            tensors[n] = (bl_tensor_data){.name = names[n], .dtype = BL_F16, .rank = 2};
            tensors[n].shape[0] = up ? l->rows : rank;
            tensors[n].shape[1] = up ? rank : inner;
        }
    }
    uint16_t *values = malloc((size_t)(most * rank) * sizeof *values);
    int rc = tensors && names && values ? 0 : bl_fail_memory(err, "an adapter", (uint64_t)most);
    for (int64_t i = 0; i < most * rank && !rc; i++) {
        float v = made_up_value(i * 7) * 0.01f;
        bl_convert(values + i, BL_F16, &v, BL_F32, 1);
    }
    for (int i = 0; i < n; i++) {
        tensors[i].data = values;
    }
    rc = rc ? rc : bl_safetensors_write(path, tensors, n, NULL, 0, err);
    free(values);
    free(names);
    free(tensors);
    return rc;
}

/* ---- packing */

typedef struct packed {
    bl_device_module *plain, *merged;
    bl_graph *graph;
    bl_merge *merge;
} packed;

static int open_network(packed *x, bl_device *d, const bl_architecture *arch, bl_module module,
                        bl_unet_shape shape, bl_dtype dtype, bl_adapter *adapter, bl_error *err) {
    const int second = module == BL_TEXT_ENCODER_2;
    const bl_source base = {.dtype = made_up_dtype, .read = made_up_read};
    bl_clip_text_outputs want = {.last_hidden_state = true, .text_embeds = arch->text[second].projection > 0};
    bl_wanted wanted = {.adapter = adapter, .text = 0.7, .denoiser = 0.7};
    int rc = module == BL_UNET
                 ? bl_unet_graph(&x->graph, &arch->unet, shape, dtype, NULL, err)
                 : bl_clip_text_graph(&x->graph, module, &arch->text[second], 1, 77, want, dtype, NULL, err);
    rc = rc ? rc : bl_merge_new(&x->merge, x->graph, &base, err);
    rc = rc ? rc : bl_merge_set(x->merge, &(bl_changes){&wanted, 1, NULL}, err);
    rc = rc ? rc : bl_device_module_open(&x->plain, d, x->graph, &base, err);
    if (!rc) {
        bl_source source = bl_merge_source(x->merge);
        rc = bl_device_module_open(&x->merged, d, x->graph, &source, err);
    }
    return rc;
}

/* Each block to the region's begin, without and with the adapter. */
static int pack_all(spent *plain, spent *merged, bl_device *d, const packed *x, bl_error *err) {
    uint64_t most = 0;
    bl_region *region = NULL;
    for (int b = 0; b < x->graph->block_count; b++) {
        uint64_t bytes = bl_device_module_costs(d, x->plain)[b].packed_bytes;
        most = bytes > most ? bytes : most;
    }
    int rc = bl_device_region_open(&region, d, most, err);
    for (int b = 0; b < x->graph->block_count && !rc; b++) {
        for (int which = -1; which < 2 && !rc; which++) { /* once before, for pages that are not there yet */
            spent begin = now();
            rc = bl_device_pack(d, which > 0 ? x->merged : x->plain, b, bl_device_region_host(d, region), 0,
                                BL_STREAM_COPY, err);
            if (which >= 0) {
                add_since(which ? merged : plain, begin);
            }
        }
    }
    if (region) {
        bl_device_region_close(d, region);
    }
    return rc;
}

static void close_network(bl_device *d, packed *x) {
    if (x->plain) {
        bl_device_module_close(d, x->plain);
    }
    if (x->merged) {
        bl_device_module_close(d, x->merged);
    }
    bl_merge_free(&x->merge);
    bl_graph_free(&x->graph);
}

static int measure(bl_device *d, const bl_architecture *arch, bl_dtype dtype, bl_adapter *adapter,
                   bl_error *err) {
    static const bl_module modules[] = {BL_TEXT_ENCODER, BL_TEXT_ENCODER_2, BL_UNET};
    spent plain = {0}, merged = {0};
    double flops = 0, merging = 0;
    int rc = 0;
    for (int i = 0; i < 3 && !rc; i++) {
        packed x = {0};
        if (modules[i] == BL_TEXT_ENCODER_2 && arch->family->encoders < 2) {
            continue;
        }
        rc = open_network(&x, d, arch, modules[i], (bl_unet_shape){1, 8, 8, .tokens = 77}, dtype, adapter,
                          err);
        rc = rc ? rc : pack_all(&plain, &merged, d, &x, err);
        if (x.merge) {
            double seconds, work;
            bl_merge_spent(x.merge, &seconds, &work);
            flops += work;
            merging += seconds;
        }
        close_network(d, &x);
    }
    if (!rc) {
        printf("packed in %.2f s of processors (%.2f s), with the adapter %.2f s (%.2f s): %+.2f s; %.3f "
               "TFLOP in %.2f s of threads, %.0f GF/s\n",
               plain.processor, plain.wall, merged.processor, merged.wall, merged.processor - plain.processor,
               flops * 1e-12, merging, flops / merging * 1e-9);
    }
    return rc;
}

/* ---- a step */

/* Each block to the region's begin, without and with the adapter, and run there. */
static int run_streamed(spent *plain, spent *merged, spent *computed, bl_device *d, const packed *x,
                        bl_executable *step, bl_error *err) {
    const bl_graph *g = x->graph;
    const bl_exec_info info = bl_device_executable_info(d, step);
    uint64_t most = 0, *offsets = calloc((size_t)g->block_count, sizeof *offsets);
    void *inputs[8] = {0}, *output = calloc(1, bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, 0)));
    bl_region *region = NULL;
    int rc = offsets && output && g->input_count <= 8 ? 0 : bl_fail_memory(err, "a step", 0);
    for (int b = 0; b < g->block_count; b++) {
        uint64_t bytes = bl_device_module_costs(d, x->plain)[b].packed_bytes;
        most = bytes > most ? bytes : most;
    }
    for (int i = 0; i < g->input_count && !rc; i++) {
        inputs[i] = made_up_input(g, i);
        rc = inputs[i] ? 0 : bl_fail_memory(err, "a step's inputs", 0);
    }
    rc = rc ? rc : bl_device_region_open(&region, d, most + info.arena_bytes, err);
    const bl_binding binding = {region, most, offsets, (const void *const *)inputs, &output};
    for (int b = 0; b < g->block_count && !rc; b++) {
        for (int which = -1; which < 2 && !rc; which++) { /* once before, for pages that are not there yet */
            spent begin = now();
            rc = bl_device_pack(d, which > 0 ? x->merged : x->plain, b, bl_device_region_host(d, region), 0,
                                BL_STREAM_COPY, err);
            if (which >= 0) {
                add_since(which ? merged : plain, begin);
            }
        }
        spent begin = now();
        rc = rc ? rc : bl_device_run(d, step, b, &binding, BL_STREAM_COMPUTE, err);
        add_since(computed, begin);
    }
    if (region) {
        bl_device_region_close(d, region);
    }
    for (int i = 0; i < 8; i++) {
        free(inputs[i]);
    }
    free(output);
    free(offsets);
    return rc;
}

static int measure_step(bl_device *d, const bl_architecture *arch, bl_dtype dtype, bl_adapter *adapter,
                        int side, bl_error *err) {
    const bl_unet_shape shape = {2, side / 8, side / 8, .tokens = 77, .form = BL_UNET_STEP};
    spent plain = {0}, merged = {0}, computed = {0};
    bl_executable *step = NULL;
    packed x = {0};
    int rc = open_network(&x, d, arch, BL_UNET, shape, dtype, adapter, err);
    rc = rc ? rc : bl_device_prepare(&step, d, x.plain, x.graph, &(bl_prepare_options){0}, err);
    rc = rc ? rc : run_streamed(&plain, &merged, &computed, d, &x, step, err);
    if (!rc) {
        double whole = plain.processor + computed.processor, more = merged.processor - plain.processor;
        printf("a step of %d x %d: packs in %.2f s of processors (%.2f s), computes %.2f s (%.2f s); the "
               "adapter adds %+.2f s (%+.2f s): %.1f%% of the step\n",
               side, side, plain.processor, plain.wall, computed.processor, computed.wall, more,
               merged.wall - plain.wall, 100 * more / whole);
    }
    bl_device_executable_close(d, step);
    close_network(d, &x);
    return rc;
}

int main(int argc, char **argv) {
    const bool sdxl = argc > 1 && !strcmp(argv[1], "sdxl");
    if (argc < 3) {
        fprintf(stderr, "usage: bench_merge sd15|sdxl f32|bf16 [RANK [THREADS [SIDE]]]\n");
        return 2;
    }
    bl_error err = {0};
    bl_device *d = NULL;
    bl_layers *layers = NULL;
    bl_adapter *adapter = NULL;
    bl_cpu_options options = {.threads = argc > 4 ? atoi(argv[4]) : 0};
    bl_architecture arch = {.family = sdxl ? &bl_sdxl : &bl_sd1,
                            .unet = sdxl ? published_sdxl_unet : published_sd15_unet,
                            .text = {sdxl ? published_clip_l_sdxl : published_clip_l, published_clip_g}};
    char path[512];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/bench_merge.%d.safetensors", folder ? folder : "/tmp", (int)getpid());
    made_up_begin();
    int rc = bl_layers_new(&layers, &arch, &err);
    rc = rc ? rc : write_adapter(path, layers, argc > 3 ? atoi(argv[3]) : 32, &err);
    rc = rc ? rc : bl_adapter_open(&adapter, path, layers, &err);
    rc = rc ? rc : bl_cpu_open(&d, &options, &err);
    const bl_dtype dtype = strcmp(argv[2], "bf16") ? BL_F32 : BL_BF16;
    const int side = argc > 5 ? atoi(argv[5]) : 0;
    rc = rc     ? rc
         : side ? measure_step(d, &arch, dtype, adapter, side, &err)
                : measure(d, &arch, dtype, adapter, &err);
    if (rc) {
        fprintf(stderr, "%s\n", err.message);
    }
    unlink(path);
    if (d) {
        bl_device_close(&d);
    }
    bl_adapter_drop(&adapter);
    bl_layers_free(&layers);
    return rc ? 1 : 0;
}
