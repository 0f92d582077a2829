/* The planned arena is the memory that a run touches: nothing beyond it, and it up to its end. */
#include "rig.h"

#include "core/checked.h"
#include "device/cpu/internal.h"
#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "support/slow.h"

#define GUARD 65536 /* bytes behind the arena that nothing may touch */
#define MARK 0xc5
/* Bytes at the end of a kernel's scratch that may stay untouched: those of a thread with less work than the
 * others, and what oneDNN's matrix products without AVX-512 ask for to align what they take. */
#define SHARE 4096
#define ROUNDING 256

/* A block's bytes are written up to their end, as the device says, and not beyond. */
static void check_onload(const rig *r, bl_region *region, uint64_t offset, uint64_t packed) {
    bl_region_use use = bl_device_region_used(r->device, region);
    uint64_t end = offset + packed;
    while (end > offset && region->base[end - 1] == MARK) {
        end--;
    }
    assert_true(use.arena == 0 && use.end == offset + packed && bl_align_up(end, BL_ALIGN) == use.end);
    for (uint64_t i = 0; i < BL_ALIGN; i++) {
        assert_int_equal(region->base[offset + packed + i], MARK);
    }
}

/* Runs the graph at a level in a region full of marks. Returns how many bytes from the arena's start to the
 * last one that changed. */
static uint64_t high_water(const rig *r, const bl_graph *g, int level, uint64_t *planned) {
    bl_error err = {0};
    bl_model_weights weights;
    rig_ok(bl_model_weights_open(&weights, g, r->ckpt, &err), &err);
    bl_source source = bl_model_source(&weights);
    bl_device_module *module = NULL;
    bl_executable *x = NULL;
    bl_region *region = NULL;
    bl_exec_info info;
    bl_prepare_options options = {.arena_level = level};
    rig_ok(bl_device_module_open(&module, r->device, g, &source, &err), &err);
    rig_ok(bl_device_prepare(&x, r->device, module, g, &options, &err), &err);
    info = bl_device_executable_info(r->device, x);
    uint64_t *offsets = test_calloc((size_t)g->block_count, sizeof *offsets), arena = 0;
    for (int i = 0; i < g->block_count; i++) {
        offsets[i] = arena;
        arena += bl_device_module_costs(r->device, module)[i].packed_bytes;
    }
    rig_ok(bl_device_region_open(&region, r->device, arena + info.arena_bytes + GUARD, &err), &err);
    memset(region->base, MARK, arena + info.arena_bytes + GUARD);
    void *inputs[RIG_PORTS], *outputs[RIG_PORTS];
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = test_calloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_INPUT, i)), sizeof(float));
    }
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = test_calloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i)), sizeof(float));
    }
    bl_binding binding = {region, arena, offsets, (const void *const *)inputs, outputs};
    for (int i = 0; i < g->block_count; i++) {
        rig_ok(bl_device_pack(r->device, module, i, bl_device_region_host(r->device, region), offsets[i],
                              BL_STREAM_COMPUTE, &err),
               &err);
        check_onload(r, region, offsets[i], bl_device_module_costs(r->device, module)[i].packed_bytes);
    }
    for (int i = 0; i < g->block_count; i++) {
        rig_ok(bl_device_run(r->device, x, i, &binding, BL_STREAM_COMPUTE, &err), &err);
    }
    uint64_t end = info.arena_bytes + GUARD;
    while (end && region->base[arena + end - 1] == MARK) {
        end--;
    }
    bl_region_use use; /* what the device noted */
    use = bl_device_region_used(r->device, region);
    assert_true(use.arena == info.arena_bytes && use.end == arena + info.arena_bytes);
    use = bl_device_region_used(r->device, region);
    assert_true(use.arena == 0 && use.end == 0);
    for (int i = 0; i < g->input_count; i++) {
        test_free(inputs[i]);
    }
    for (int i = 0; i < g->output_count; i++) {
        test_free(outputs[i]);
    }
    *planned = info.arena_bytes;
    bl_device_region_close(r->device, region);
    bl_device_executable_close(r->device, x);
    bl_device_module_close(r->device, module);
    bl_model_weights_close(&weights);
    test_free(offsets);
    return end;
}

/* Frees the graph. */
static void check(const rig *r, bl_graph *g, int threads) {
    bl_device_caps caps = bl_device_caps_of(r->device);
    for (int level = 0; level < caps.arena_levels; level++) {
        uint64_t planned, measured = high_water(r, g, level, &planned);
        /* The last tensor may end inside the last unit of alignment. */
        measured = bl_align_up(measured, BL_ALIGN);
        if (measured > planned || measured + (threads > 1 ? SHARE : ROUNDING) < planned) {
            fail_msg("%s, level %d: planned %llu bytes, touched %llu", bl_module_name(g->module), level,
                     (unsigned long long)planned, (unsigned long long)measured);
        }
    }
    bl_graph_free(&g);
}

static void check_modules(const rig *r, int threads, bl_dtype dtype, int batch, int height, int width) {
    bl_graph *g = NULL;
    bl_error err = {0};
    bl_unet_shape unet = {.batch = batch, .height = height, .width = width, .tokens = 77};
    bl_vae_shape vae = {batch, height, width};
    bl_clip_text_outputs want = {.context = true, .text_embeds = r->arch.family == &bl_sdxl};
    rig_ok(bl_unet_graph(&g, &r->arch.unet, unet, dtype, NULL, &err), &err);
    check(r, g, threads);
    rig_ok(bl_vae_decoder_graph(&g, &r->arch.vae, vae, dtype, NULL, &err), &err);
    check(r, g, threads);
    rig_ok(bl_vae_encoder_graph(&g, &r->arch.vae, vae, dtype, NULL, &err), &err);
    check(r, g, threads);
    for (int i = 0; i < 2 && r->arch.text[i].present; i++) {
        want.text_embeds = i == 1;
        rig_ok(bl_clip_text_graph(&g, i ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, &r->arch.text[i], batch, 77,
                                  want, dtype, NULL, &err),
               &err);
        check(r, g, threads);
    }
}

static void check_family(const char *family, int threads) {
    rig r;
    rig_open(&r, family, BL_SYNTH_SINGLE, "text", threads);
    const bl_dtype dtypes[] = {BL_F32, BL_BF16};
    for (int i = 0; i < (rig_has_bf16(&r) ? 2 : 1); i++) {
        check_modules(&r, threads, dtypes[i], 1, 8, 8);
        check_modules(&r, threads, dtypes[i], 2, 9, 6);
        check_modules(&r, threads, dtypes[i], 1, 4, 12);
    }
    rig_close(&r);
}

static void test_one_thread(void **state) {
    (void)state;
    for (int i = bl_test_slow() ? RIG_FAMILIES - 1 : 0; i < RIG_FAMILIES; i++) {
        check_family(rig_families[i], 1);
    }
}

static void test_two_threads(void **state) {
    (void)state;
    check_family("sd15", 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
