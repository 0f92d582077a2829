/* Writes the file of the first card (device/card_file.h): of SD 1.5, SDXL and the VAE every shape, with the
 * fastest of the libraries' proposals, what copies reach and slow down, and whether CUDA's graphs pay:
 *     cuda_card [SECONDS [FILE [tiny]]]
 * A FILE is written twice, before and after proposals are timed, so that who has no patience has one, too.
 * tiny: of a small network alone. */
#include "device/card_file.h"
#include "device/cuda/cuda.h"
#include "device/cuda/internal.h"
#include "device/rig.h"

#include <stdio.h>
#include <string.h>

enum { NETWORKS = 5, SMALL_ONES = 2, PASSES = 5 };

static const struct network {
    const char *what;
    bl_dtype dtype;
    int size, batch;
} networks[NETWORKS] = {{"sdxl", BL_BF16, 1024, 2},
                        {"unet", BL_BF16, 512, 2},
                        {"vae", BL_BF16, 1024, 1},
                        {"vae", BL_BF16, 512, 1},
                        {"unet", BL_F32, 512, 2}},
  small_ones[SMALL_ONES] = {{"tiny", BL_BF16, 64, 2}, {"tiny", BL_F32, 64, 1}};

/* The shortest pass, alone. */
static int time_passes(double *best, bench *b, bl_error *err) {
    void *inputs[BENCH_PORTS] = {NULL}, *outputs[BENCH_PORTS] = {NULL};
    int rc = bench_make_values(inputs, outputs, b->g, err);
    *best = 1e9;
    for (int i = 0; i < PASSES && !rc; i++) {
        double seconds = 0;
        rc = bench_pass(b, (const void *const *)inputs, outputs, &seconds, NULL, err);
        *best = seconds < *best ? seconds : *best;
    }
    bench_free_values(inputs, outputs, b->g);
    return rc;
}

/* Passes with and without CUDA's graphs, and the rates of SDXL's pass and of its copies. */
static int measure(json_t *card, bl_device *d, const bl_graph *const *graphs, bl_error *err) {
    double all[2] = {0, 0};
    int rc = 0;
    for (int i = 0; i < 2 && !rc; i++) {
        bench b;
        rc = bench_open(&b, d, graphs[i], !i, true, err);
        for (int graphs_on = 0; graphs_on < 2 && !rc; graphs_on++) {
            double best = 0;
            ((bl_cuda *)d)->card.graphs = graphs_on;
            rc = time_passes(&best, &b, err);
            all[graphs_on] += best;
            if (!rc && !i && !graphs_on) {
                bl_exec_info info = bl_device_executable_info(d, b.x);
                double flops = 0;
                for (int k = 0; k < info.block_count; k++) {
                    flops += info.block_flops[k];
                }
                json_object_set_new(json_object_get(card, "flops"), "bf16", json_real(flops / best));
                json_object_set_new(card, "copy_rate", json_real((double)b.weight_bytes / b.copy_seconds));
            }
        }
        if (!rc && !i && b.store) {
            double alone = 0, beside = 0, slowdown = 0;
            rc = bench_beside(&b, &alone, &beside, &slowdown, err);
            json_object_set_new(card, "copy_slowdown", json_real(slowdown < 10 ? slowdown : 0));
        }
        bench_close(&b);
    }
    json_object_set_new(card, "graphs", json_boolean(all[1] < all[0] * 0.99));
    if (!rc) {
        fprintf(stderr, "passes %.2f ms, as CUDA's graphs %.2f ms\n", all[0] * 1e3, all[1] * 1e3);
    }
    return rc;
}

/* The file as it is known after `seconds` of trying proposals; 0: none. NULL: to stdout. */
static int write_card(const char *path, bl_device *d, const bl_graph *const *graphs, int count,
                      double seconds, bool measured, bl_error *err) {
    json_t *card = NULL;
    char text[4096];
    int rc = card_file_make(&card, d, graphs, count, seconds, err);
    rc = rc || !measured ? rc : measure(card, d, graphs, err);
    if (card && path) {
        snprintf(text, sizeof text, "%.4000s.new", path);
        if (json_dump_file(card, text, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) || rename(text, path)) {
            rc = rc ? rc : bl_fail(err, BL_E_IO, "cannot write %.400s", path);
        }
    } else if (card) {
        json_dumpf(card, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(card);
    return rc;
}

int main(int argc, char **argv) {
    const bl_cuda_libs *libs = NULL;
    bl_error err = {0};
    bl_device *d = NULL;
    bl_graph *graphs[NETWORKS] = {NULL};
    const char *path = argc > 2 ? argv[2] : NULL;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0;
    bool small = argc > 3 && !strcmp(argv[3], "tiny");
    int count = small ? SMALL_ONES : NETWORKS;
    made_up_begin();
    int rc = bl_cuda_libs_open(&libs, &err);
    rc = rc ? rc : bl_cuda_open(&d, libs, "", NULL, &err);
    for (int i = 0; i < count && !rc; i++) {
        const struct network *n = small ? &small_ones[i] : &networks[i];
        rc = made_up_graph(&graphs[i], n->what, n->dtype, n->size, n->batch, &err);
    }
    const bl_graph *const *borrowed = (const bl_graph *const *)graphs;
    if (!rc && path) {
        rc = write_card(path, d, borrowed, count, 0, false, &err);
    }
    rc = rc ? rc : write_card(path, d, borrowed, count, seconds, seconds > 0, &err);
    if (rc) {
        fprintf(stderr, "cuda_card: %s\n", err.message);
    }
    for (int i = 0; i < NETWORKS; i++) {
        bl_graph_free(&graphs[i]);
    }
    bl_device_close(&d);
    return rc != 0;
}
