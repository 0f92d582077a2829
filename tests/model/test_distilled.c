/* UNets with less in them, as distilled models have it: one resnet a level, no middle or half of one, fewer
 * transformer blocks. Such a network computes what the whole one computes whose other layers do nothing:
 * those end in zeros, so that what they are added to passes by. */
#include "rig.h"

#include "model/unet.h"
#include "support/files.h"

#include <math.h>
#include <unistd.h>

#define UNET "model.diffusion_model."
#define RULES 24
#define MOST_ELEMENTS (1 << 18)

/* What happens to names that begin so: another beginning, or NULL: they are left out. */
typedef struct rule {
    const char *start, *becomes;
} rule;

typedef struct distilled {
    const char *what, *family;
    rule rules[RULES]; /* of CompVis' names */
} distilled;

static const distilled models[] = {
    {"KOALA",
     "sdxl",
     {{"input_blocks.2.", NULL},
      {"input_blocks.3.", "input_blocks.2."},
      {"input_blocks.4.", "input_blocks.3."},
      {"input_blocks.5.", NULL},
      {"input_blocks.6.", "input_blocks.4."},
      {"input_blocks.7.", "input_blocks.5."},
      {"input_blocks.8.", NULL},
      {"middle_block.", NULL},
      {"output_blocks.1.", NULL},
      {"output_blocks.2.", "output_blocks.1."},
      {"output_blocks.3.", "output_blocks.2."},
      {"output_blocks.4.", NULL},
      {"output_blocks.5.", "output_blocks.3."},
      {"output_blocks.6.", "output_blocks.4."},
      {"output_blocks.7.", NULL},
      {"output_blocks.8.", "output_blocks.5."}}},
    {"BK-SDM",
     "sd15",
     {{"input_blocks.2.", NULL},
      {"input_blocks.3.", "input_blocks.2."},
      {"input_blocks.4.", "input_blocks.3."},
      {"input_blocks.5.", NULL},
      {"input_blocks.6.", "input_blocks.4."},
      {"input_blocks.7.", "input_blocks.5."},
      {"input_blocks.8.", NULL},
      {"input_blocks.9.", "input_blocks.6."},
      {"input_blocks.10.", "input_blocks.7."},
      {"input_blocks.11.", NULL},
      {"middle_block.", NULL},
      {"output_blocks.1.", NULL},
      {"output_blocks.2.", "output_blocks.1."},
      {"output_blocks.3.", "output_blocks.2."},
      {"output_blocks.4.", NULL},
      {"output_blocks.5.", "output_blocks.3."},
      {"output_blocks.6.", "output_blocks.4."},
      {"output_blocks.7.", NULL},
      {"output_blocks.8.", "output_blocks.5."},
      {"output_blocks.9.", "output_blocks.6."},
      {"output_blocks.10.", NULL},
      {"output_blocks.11.", "output_blocks.7."}}},
    {"SSD-1B",
     "sdxl",
     {{"middle_block.1.", NULL},
      {"middle_block.2.", NULL},
      {"input_blocks.7.1.transformer_blocks.3.", NULL},
      {"input_blocks.8.1.transformer_blocks.2.", NULL},
      {"input_blocks.8.1.transformer_blocks.3.", NULL},
      {"output_blocks.0.1.transformer_blocks.2.", NULL},
      {"output_blocks.0.1.transformer_blocks.3.", NULL},
      {"output_blocks.4.1.transformer_blocks.1.", NULL}}},
};
#define MODELS (int)(sizeof models / sizeof *models)

static const rule *rule_of(const distilled *d, const char *name) {
    const char *rest = strncmp(name, UNET, strlen(UNET)) == 0 ? name + strlen(UNET) : "";
    for (int i = 0; i < RULES && d->rules[i].start; i++) {
        if (strncmp(rest, d->rules[i].start, strlen(d->rules[i].start)) == 0) {
            return &d->rules[i];
        }
    }
    return NULL;
}

static bool leave_out(void *context, char *name, bl_tensor_data *t) {
    const rule *r = rule_of(context, name);
    (void)t;
    if (r && r->becomes) {
        char rest[256];
        snprintf(rest, sizeof rest, "%s", name + strlen(UNET) + strlen(r->start));
        int n = snprintf(name, 256, UNET "%s%s", r->becomes, rest);
        assert_true(n < 256);
    }
    return !r || r->becomes;
}

/* Layers that would be left out add nothing; where a resnet on the way up projects what it adds to, it takes
 * the first half, which is not the skip. */
static bool silence(void *context, char *name, bl_tensor_data *t) {
    static const char *const last[] = {".out_layers.3.", ".proj_out.", ".to_out.0.", ".ff.net.2."};
    static float zeros[MOST_ELEMENTS], identity[MOST_ELEMENTS];
    const rule *r = rule_of(context, name);
    if (!r || r->becomes) {
        return true;
    }
    bool shortcut = strstr(name, ".skip_connection.") != NULL, ends = shortcut;
    for (int i = 0; i < 4; i++) {
        ends = ends || strstr(name, last[i]);
    }
    if (ends) {
        int64_t n = 1, outs = t->shape[0], ins = t->rank > 1 ? t->shape[1] : 0;
        for (int i = 0; i < t->rank; i++) {
            n *= t->shape[i];
        }
        assert_true(n <= MOST_ELEMENTS);
        t->data = zeros;
        if (shortcut && t->rank > 1) {
            memset(identity, 0, sizeof identity);
            for (int64_t i = 0; i < outs; i++) {
                identity[i * ins + i] = 1;
            }
            t->data = identity;
        }
    }
    return true;
}

/* The values, in ascending order of the outputs' elements. Owner: the caller. */
static float *denoised(const char *path, int level, int64_t *count) {
    rig r = {.device = NULL};
    bl_error err = {0};
    bl_graph *g = NULL;
    void *inputs[RIG_PORTS];
    rig_ok(bl_checkpoint_open(&r.ckpt, path, NULL, &err), &err);
    rig_ok(bl_architecture_detect(&r.arch, r.ckpt, &err), &err);
    rig_ok(bl_cpu_open(&r.device, &(bl_cpu_options){.threads = 1}, &err), &err);
    bl_unet_shape shape = {.batch = 2, .height = 16, .width = 24, .tokens = 77};
    rig_ok(bl_unet_graph(&g, &r.arch.unet, shape, BL_F32, NULL, &err), &err);
    for (int i = 0; i < g->input_count; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_INPUT, i);
        int64_t n = bl_tensor_elements(t);
        float *x = malloc((size_t)n * sizeof *x);
        assert_non_null(x);
        for (int64_t k = 0; k < n; k++) {
            x[k] = strcmp(t->name, "timestep") == 0 ? 500 : (float)(k * 7919 % 2003) / 1001.5f - 1;
        }
        inputs[i] = x;
    }
    *count = bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, 0));
    float *out = malloc((size_t)*count * sizeof *out);
    assert_non_null(out);
    bl_model_weights weights;
    rig_ok(bl_model_weights_open(&weights, g, r.ckpt, &err), &err);
    bl_source source = bl_model_source(&weights);
    rig_ok(bl_run_once(r.device, g, &source, &(bl_prepare_options){.arena_level = level},
                       (const void *const *)(const void *)inputs, (void *[]){out}, &err),
           &err);
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    bl_model_weights_close(&weights);
    bl_graph_free(&g);
    bl_device_close(&r.device);
    bl_checkpoint_close(&r.ckpt);
    return out;
}

static void small_ones_are_large_ones_that_do_less(void **state) {
    char folder[BL_TEST_PATH], from[BL_TEST_PATH], small[BL_TEST_PATH], large[BL_TEST_PATH];
    (void)state;
    bl_test_folder(folder);
    for (int i = 0; i < MODELS; i++) {
        distilled d = models[i];
        int64_t n, wanted_n;
        bl_synth_checkpoint(from, d.family, BL_SYNTH_SINGLE);
        bl_test_join(small, folder, "small.safetensors");
        bl_test_join(large, folder, "large.safetensors");
        bl_test_rewrite(small, from, leave_out, &d, NULL, 0);
        bl_test_rewrite(large, from, silence, &d, NULL, 0);
        float *got = denoised(small, 0, &n), *wanted = denoised(large, 0, &wanted_n);
        double peak = 0, worst = 0;
        assert_int_equal(n, wanted_n);
        for (int64_t k = 0; k < n; k++) {
            double off = fabs((double)got[k] - (double)wanted[k]);
            peak = fabs((double)wanted[k]) > peak ? fabs((double)wanted[k]) : peak;
            worst = off > worst || isnan(off) ? off : worst;
        }
        if (!(peak > 0.01 && worst <= 2e-6 * peak)) {
            fail_msg("%s: off by %.3g of %.3g", d.what, worst, peak);
        }
        for (int level = 1; level < 4; level++) {
            float *again = denoised(small, level, &n);
            assert_memory_equal(again, got, (size_t)n * sizeof *got);
            free(again);
        }
        free(got);
        free(wanted);
    }
    bl_test_folder_remove(folder);
}

/* diffusers' names: the second resnet of each level and the middle go; on the way up the third follows. */
static bool leave_out_of_folder(void *context, char *name, bl_tensor_data *t) {
    static const char *const kinds[] = {".resnets.", ".attentions."};
    (void)context, (void)t;
    if (strncmp(name, "mid_block.", 10) == 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        char *at = strstr(name, kinds[i]);
        char *number = at ? at + strlen(kinds[i]) : NULL;
        if (number && *number == '1') {
            return false;
        }
        if (number && *number == '2') {
            *number = '1';
        }
    }
    return true;
}

static void link_module(const char *folder, const char *from, const char *name) {
    char file[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_test_join(file, from, name);
    bl_test_join(to, folder, name);
    char *real = realpath(file, NULL);
    assert_true(real && symlink(real, to) == 0);
    free(real);
}

/* Writes the folder's configuration, with this middle. Takes it over. */
static void set_middle(const char *folder, json_t *middle) {
    char to[BL_TEST_PATH];
    json_t *config = bl_test_json("sdxl/diffusers/unet/config.json");
    json_object_set_new(config, "layers_per_block", json_integer(1));
    json_object_set_new(config, "mid_block_type", middle);
    bl_test_join(to, folder, "unet/config.json");
    assert_int_equal(json_dump_file(config, to, 0), 0);
    json_decref(config);
}

/* Weights without a middle, of which the configuration says otherwise: a file that lost some. */
static void check_other_middles(const char *folder) {
    static const char *const others[] = {"UNetMidBlock2D", "UNetMidBlock2DCrossAttn"};
    for (int i = 0; i < 2; i++) {
        bl_checkpoint *c;
        bl_architecture a;
        bl_error err = {0};
        set_middle(folder, json_string(others[i]));
        rig_ok(bl_checkpoint_open(&c, folder, NULL, &err), &err);
        assert_true(bl_architecture_detect(&a, c, &err) != 0);
        assert_non_null(strstr(err.message, "mid_block_type"));
        bl_checkpoint_close(&c);
    }
}

static void folders_and_files_are_one(void **state) {
    static const char weights[] = "unet/diffusion_pytorch_model.safetensors";
    static const char *const modules[] = {"vae", "scheduler", "text_encoder", "text_encoder_2"};
    char folder[BL_TEST_PATH], from[BL_TEST_PATH], file[BL_TEST_PATH], to[BL_TEST_PATH];
    (void)state;
    distilled koala = models[0];
    bl_test_folder(folder);
    bl_synth_checkpoint(from, "sdxl", BL_SYNTH_FOLDER);
    for (int i = 0; i < 4; i++) {
        link_module(folder, from, modules[i]);
    }
    bl_test_join(file, from, weights);
    bl_test_join(to, folder, weights);
    bl_test_rewrite(to, file, leave_out_of_folder, NULL, NULL, 0);
    check_other_middles(folder);
    set_middle(folder, json_null());
    bl_synth_checkpoint(from, "sdxl", BL_SYNTH_SINGLE);
    bl_test_join(to, folder, "small.safetensors");
    bl_test_rewrite(to, from, leave_out, &koala, NULL, 0);
    int64_t n, wanted_n;
    float *got = denoised(folder, 0, &n), *wanted = denoised(to, 0, &wanted_n);
    assert_int_equal(n, wanted_n);
    assert_memory_equal(got, wanted, (size_t)n * sizeof *got);
    free(got);
    free(wanted);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_ones_are_large_ones_that_do_less),
        cmocka_unit_test(folders_and_files_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
