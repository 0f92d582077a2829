/* The UNet in two graphs, a prologue and the step that reads what it kept, gives the bits of the whole: at
 * every arena level of either, in every pass, and though all else in the arena is overwritten between them.
 */
#include "rig.h"

#include "core/checked.h"
#include "model/unet.h"
#include "support/slow.h"

enum { TOKENS = 21, HEIGHT = 9, WIDTH = 6, PASSES = 2 };

/* A module with all of its blocks in the region. */
typedef struct loaded {
    bl_graph *g;
    bl_device_module *module;
    bl_executable *x;
    bl_model_weights *weights;
    uint64_t *offsets, arena, bytes; /* bytes: of the blocks */
} loaded;

static bl_graph *graph_of(const rig *r, bl_dtype dtype, int batch, bl_unet_form form) {
    bl_graph *g = NULL;
    bl_error err = {0};
    bl_unet_shape s = {.batch = batch,
                       .height = HEIGHT,
                       .width = WIDTH,
                       .tokens = TOKENS,
                       .own_lengths = true,
                       .form = form};
    rig_ok(bl_unet_graph(&g, &r->arch.unet, s, dtype, NULL, &err), &err);
    return g;
}

static loaded load(const rig *r, bl_dtype dtype, int batch, bl_unet_form form, int level) {
    bl_error err = {0};
    loaded m = {.g = graph_of(r, dtype, batch, form)};
    m.weights = calloc(1, sizeof *m.weights);
    assert_non_null(m.weights);
    rig_ok(bl_model_weights_open(m.weights, m.g, r->ckpt, &err), &err);
    bl_source source = bl_model_source(m.weights);
    rig_ok(bl_device_module_open(&m.module, r->device, m.g, &source, &err), &err);
    rig_ok(
        bl_device_prepare(&m.x, r->device, m.module, m.g, &(bl_prepare_options){.arena_level = level}, &err),
        &err);
    m.arena = bl_device_executable_info(r->device, m.x).arena_bytes;
    m.offsets = calloc((size_t)m.g->block_count, sizeof *m.offsets);
    assert_non_null(m.offsets);
    for (int b = 0; b < m.g->block_count; b++) {
        m.bytes += bl_device_module_costs(r->device, m.module)[b].packed_bytes;
    }
    return m;
}

static void close_loaded(const rig *r, loaded *m) {
    bl_device_executable_close(r->device, m->x);
    bl_device_module_close(r->device, m->module);
    bl_model_weights_close(m->weights);
    free(m->weights);
    bl_graph_free(&m->g);
    free(m->offsets);
}

/* Packs its blocks from `at` on, and runs it. */
static void run(const rig *r, loaded *m, bl_region *region, uint64_t at, void *const *inputs, float *output) {
    bl_error err = {0};
    const void *in[RIG_PORTS];
    void *out[1] = {output};
    for (int b = 0; b < m->g->block_count; b++) {
        m->offsets[b] = at;
        at += bl_device_module_costs(r->device, m->module)[b].packed_bytes;
        rig_ok(bl_device_pack(r->device, m->module, b, bl_device_region_host(r->device, region),
                              m->offsets[b], BL_STREAM_COMPUTE, &err),
               &err);
    }
    for (int i = 0; i < m->g->input_count; i++) {
        in[i] = inputs[i];
    }
    bl_binding binding = {.region = region, .block_offset = m->offsets, .inputs = in, .outputs = out};
    for (int b = 0; b < m->g->block_count; b++) {
        rig_ok(bl_device_run(r->device, m->x, b, &binding, BL_STREAM_COMPUTE, &err), &err);
    }
}

/* Numbers in -1 .. 1; those of `pass` differ where the input is called so that they may. */
static float *values(const bl_tensor *t, int pass) {
    int64_t n = bl_tensor_elements(t);
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; t->dtype == BL_I32 && i < n; i++) { /* how many rows each context has */
        ((int32_t *)(void *)x)[i] = (int32_t)(TOKENS - i % 3 * 5);
    }
    if (t->dtype == BL_I32) {
        return x;
    }
    int64_t from = !strcmp(t->name, "sample") || !strcmp(t->name, "timestep") ? 31 * pass : 0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)((i + from) * 7919 % 2003) / 1001.5f - 1.0f;
    }
    return x;
}

static void make_inputs(void *inputs[RIG_PORTS], const bl_graph *g, int pass) {
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = values(bl_graph_port(g, BL_INPUT, i), pass);
    }
}

static void free_inputs(void *inputs[RIG_PORTS], const bl_graph *g) {
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
}

/* `wanted`: of each pass. */
static void check_levels(const rig *r, bl_dtype dtype, int batch, int first, int second,
                         float *const wanted[PASSES], size_t bytes) {
    loaded prologue = load(r, dtype, batch, BL_UNET_PROLOGUE, first);
    loaded step = load(r, dtype, batch, BL_UNET_STEP, second);
    bl_region *region = NULL;
    bl_error err = {0};
    void *inputs[RIG_PORTS];
    assert_int_equal(prologue.g->kept_bytes, step.g->kept_bytes);
    uint64_t kept = step.g->kept_bytes, arena = prologue.arena > step.arena ? prologue.arena : step.arena;
    assert_true(kept > 0 && prologue.arena > kept && step.arena > kept);
    arena = bl_align_up(arena, BL_ALIGN);
    rig_ok(bl_device_region_open(&region, r->device, arena + prologue.bytes + step.bytes, &err), &err);
    unsigned char *base = *(unsigned char **)(void *)region; /* the region begins with its address */
    float *got = malloc(bytes);
    assert_non_null(got);
    make_inputs(inputs, prologue.g, 0);
    run(r, &prologue, region, arena, inputs, NULL);
    free_inputs(inputs, prologue.g);
    for (int pass = 0; pass < PASSES; pass++) {
        memset(base + kept, 0xff, (size_t)(arena + prologue.bytes + step.bytes - kept));
        make_inputs(inputs, step.g, pass);
        run(r, &step, region, arena, inputs, got);
        free_inputs(inputs, step.g);
        if (memcmp(got, wanted[pass], bytes) != 0) {
            fail_msg("%s, batch %d, levels %d and %d, pass %d: other bits", bl_dtype_name(dtype), batch,
                     first, second, pass);
        }
    }
    free(got);
    bl_device_region_close(r->device, region);
    close_loaded(r, &prologue);
    close_loaded(r, &step);
}

static void check_batch(const rig *r, bl_dtype dtype, int batch, bool all_levels) {
    loaded whole = load(r, dtype, batch, BL_UNET_WHOLE, 0);
    size_t bytes = (size_t)bl_tensor_bytes(bl_graph_port(whole.g, BL_OUTPUT, 0));
    bl_region *region = NULL;
    bl_error err = {0};
    float *wanted[PASSES];
    rig_ok(bl_device_region_open(&region, r->device, whole.arena + whole.bytes, &err), &err);
    for (int pass = 0; pass < PASSES; pass++) {
        void *inputs[RIG_PORTS];
        wanted[pass] = malloc(bytes);
        assert_non_null(wanted[pass]);
        make_inputs(inputs, whole.g, pass);
        run(r, &whole, region, whole.arena, inputs, wanted[pass]);
        free_inputs(inputs, whole.g);
    }
    assert_memory_not_equal(wanted[0], wanted[1], bytes);
    int levels = all_levels ? bl_device_caps_of(r->device).arena_levels : 1;
    for (int first = 0; first < levels; first++) {
        check_levels(r, dtype, batch, first, levels - 1 - first, wanted, bytes);
        check_levels(r, dtype, batch, first, first, wanted, bytes);
    }
    for (int pass = 0; pass < PASSES; pass++) {
        free(wanted[pass]);
    }
    bl_device_region_close(r->device, region);
    close_loaded(r, &whole);
}

/* At all levels in one type, at the first in the other. */
static void check_family(const char *family, bl_dtype all_levels) {
    rig r;
    if (bl_test_slow() && strcmp(family, "sdxl") != 0) {
        skip();
    }
    rig_open(&r, family, BL_SYNTH_SINGLE, "unet", 1);
    for (int bf16 = 0; bf16 <= rig_has_bf16(&r); bf16++) {
        bl_dtype dtype = bf16 ? BL_BF16 : BL_F32;
        check_batch(&r, dtype, 1, false);
        check_batch(&r, dtype, 5, dtype == all_levels); /* shares of 2, 2 and 1 */
    }
    rig_close(&r);
}

static void sd15(void **state) {
    (void)state;
    check_family("sd15", BL_F32);
}

static void sdxl(void **state) {
    (void)state;
    check_family("sdxl", BL_BF16);
}

/* Weights of the two are those of the whole, each once, and what they compute is no more than the whole. */
static void nothing_is_done_twice(void **state) {
    (void)state;
    rig r;
    rig_open(&r, "sdxl", BL_SYNTH_SINGLE, "unet", 1);
    bl_graph *forms[3];
    int64_t elements[3] = {0};
    double flops[3] = {0};
    for (int f = 0; f < 3; f++) {
        forms[f] = graph_of(&r, BL_F32, 2, (bl_unet_form)f);
        for (int i = 0; i < forms[f]->weight_count; i++) {
            elements[f] += bl_weight_elements(&forms[f]->weights[i]);
        }
        for (int i = 0; i < forms[f]->op_count; i++) {
            flops[f] += bl_op_flops(forms[f], &forms[f]->ops[i]);
        }
    }
    assert_int_equal(elements[BL_UNET_WHOLE], elements[BL_UNET_PROLOGUE] + elements[BL_UNET_STEP]);
    assert_true(flops[BL_UNET_WHOLE] == flops[BL_UNET_PROLOGUE] + flops[BL_UNET_STEP]);
    assert_true(elements[BL_UNET_PROLOGUE] > 0);
    assert_int_equal(bl_graph_input(forms[BL_UNET_STEP], "context"), -1);
    assert_int_equal(forms[BL_UNET_PROLOGUE]->input_count, 1);
    for (int f = 0; f < 3; f++) {
        bl_graph_free(&forms[f]);
    }
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd15),
        cmocka_unit_test(sdxl),
        cmocka_unit_test(nothing_is_done_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
