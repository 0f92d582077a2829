/* FLUX.2 klein from files of weights stored small, in every form that is read, and with adapters on them: the
 * pictures of the same values stored wide, in some modes and budgets; with the argument "all" in each. */
#include "pipeline/flow_rig.h"

#include "support/flux2_files.h"
#include "support/gguf.h"
#include "support/other_names.h"
#include "support/small_files.h"

#define FAMILY "flux2/klein_2_2"

/* Transformer and encoder, and the same values wide; those of its VAE. */
typedef struct files {
    char transformer[BL_TEST_PATH], encoder[BL_TEST_PATH], wide[BL_TEST_PATH], wide_encoder[BL_TEST_PATH];
} files;

static char folder[BL_TEST_PATH], vae[BL_TEST_PATH];
static files safetensors, gguf;

static void widen(files *f, const char *name) {
    char file[64];
    snprintf(file, sizeof file, "wide_%s.safetensors", name);
    bl_test_join(f->wide, folder, file);
    snprintf(file, sizeof file, "wide_encoder_%s.safetensors", name);
    bl_test_join(f->wide_encoder, folder, file);
    bl_test_write_widened(f->wide, f->transformer);
    bl_test_write_widened(f->wide_encoder, f->encoder);
}

static int make_files(void **state) {
    char synth[BL_TEST_PATH], single[BL_TEST_PATH], llama[BL_TEST_PATH], encoder[BL_TEST_PATH];
    (void)state;
    bl_test_folder(folder);
    bl_synth_folder(synth, FAMILY);
    bl_test_join(vae, synth, "vae/diffusion_pytorch_model.safetensors");
    bl_test_join(encoder, synth, "text_encoder/model.safetensors");
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(llama, folder, "llama.safetensors");
    bl_test_flux2_single(single, "");
    bl_test_qwen_llama(llama, FAMILY);
    bl_test_join(safetensors.transformer, folder, "small.safetensors");
    bl_test_join(safetensors.encoder, folder, "small_encoder.safetensors");
    bl_test_write_small(safetensors.transformer, single, BL_TEST_ALL);
    bl_test_write_small(safetensors.encoder, encoder, BL_TEST_ALL);
    widen(&safetensors, "safetensors");
    bl_test_join(gguf.transformer, folder, "small.gguf");
    bl_test_join(gguf.encoder, folder, "small_encoder.gguf");
    bl_test_write_gguf_all(gguf.transformer, single);
    bl_test_write_gguf(gguf.encoder, llama);
    widen(&gguf, "gguf");
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

static ballast_generate_options request(flow_taken *t, const ballast_adapter *adapter) {
    ballast_generate_options o = flow_request(t);
    o.cfg = 1;
    o.steps = 1;
    o.adapters = adapter;
    o.adapter_count = adapter != NULL;
    return o;
}

static flow_taken taken(rig_studio *s, const ballast_adapter *adapter) {
    flow_taken t;
    ballast_generate_options o = request(&t, adapter);
    rig_make(s, &o);
    return t;
}

static flow_taken taken_of(const char *transformer, const char *encoder, const ballast_adapter *adapter) {
    rig_studio s;
    flow_open_files(&s, transformer, encoder, vae);
    flow_taken t = taken(&s, adapter);
    rig_close(&s);
    return t;
}

static bool every;

/* In every mode, in the least budget that works and in one between it and enough; or without a budget, in
 * sequential mode, and in the least. */
static void check_placements(rig_studio *s, const flow_taken *wanted, const ballast_adapter *adapter,
                             const char *what) {
    static const char *const modes[] = {"auto", "none", "balanced", "sequential", "model", "auto", "auto"};
    flow_taken t;
    ballast_generate_options o = request(&t, adapter);
    const uint64_t least = rig_planned(s, &o, "min_budget_bytes"),
                   enough = rig_planned(s, &o, "working_set_bytes");
    assert_true(least < enough);
    for (int i = 0; i < 7; i += every ? 1 : 3) {
        const rig_size budget = rig_bytes(i == 6 ? least : (least + enough) / 2);
        o = request(&t, adapter);
        o.offload = modes[i];
        o.budget = i < 5 ? NULL : budget.text;
        rig_make(s, &o);
        rig_same(&t.pictures, &wanted->pictures, what);
        assert_memory_equal(t.latents, wanted->latents, (size_t)t.count * sizeof *t.latents);
        flow_drop(&t);
    }
}

/* Every module's weights are of all these types in the file. */
static void check_types(rig_studio *s, const char *module, const char *types) {
    char *report = NULL;
    assert_int_equal(ballast_model_inspect(&report, s->model, 0, 0, NULL), 0);
    json_t *all = json_loads(report, 0, NULL);
    const json_t *m = json_object_get(json_object_get(all, "modules"), module);
    assert_string_equal(json_string_value(json_object_get(m, "dtypes")), types);
    json_decref(all);
    ballast_string_free(&report);
}

static void check_form(const files *f, const char *transformer, const char *encoder, const char *what) {
    rig_studio s;
    flow_taken wanted = taken_of(f->wide, f->wide_encoder, NULL), t;
    flow_open_files(&s, f->transformer, f->encoder, vae);
    check_types(&s, "transformer", transformer);
    check_types(&s, "text_encoder", encoder);
    ballast_generate_options o = request(&t, NULL);
    json_t *plan = rig_plan(&s, &o);
    assert_true(json_number_value(json_object_get(plan, "widen_seconds")) > 0); /* it stays small */
    json_decref(plan);
    check_placements(&s, &wanted, NULL, what);
    rig_close(&s);
    flow_drop(&wanted);
}

static void eight_bits_or_wide_the_same_picture(void **state) {
    (void)state;
    check_form(&safetensors, "F32, F8_E4M3, I8", "F32, F8_E4M3, I8", "safetensors");
}

static void gguf_or_wide_the_same_picture(void **state) {
    (void)state;
    check_form(&gguf, "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K", "F32, Q8_0", "GGUF");
}

/* ---- adapters */

enum { WIDTH = 256, RANK = 3, MOST = 12 };

typedef struct change {
    const char *layers[3], *authors; /* of diffusers: one, or the three that are one at its authors' */
    int rows, columns;               /* of one layer */
} change;

static const change changes[] = {
    {{"transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v"},
     "double_blocks.0.img_attn.qkv",
     WIDTH,
     WIDTH},
    {{"transformer_blocks.0.ff.linear_in"}, "double_blocks.0.img_mlp.0", 2 * WIDTH, WIDTH},
    {{"norm_out.linear"}, "final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH},
};

typedef struct list {
    bl_tensor_data tensors[MOST];
    char names[MOST][128];
    int count;
} list;

/* Copies the values; `shift`: by that many the file's begin is behind theirs. */
static void add(list *l, const char *prefix, const char *layer, const char *leaf, int rows, int columns,
                const float *values, int shift) {
    const int n = rows * columns;
    float *own = malloc((size_t)n * sizeof *own);
    assert_true(own && l->count < MOST);
    for (int i = 0; i < n; i++) {
        own[i] = values[(i + shift) % n];
    }
    snprintf(l->names[l->count], sizeof l->names[0], "%s.%s.%s", prefix, layer, leaf);
    l->tensors[l->count] = (bl_tensor_data){
        .name = l->names[l->count], .dtype = BL_F32, .rank = 2, .shape = {rows, columns}, .data = own};
    l->count++;
}

/* The same change under either's names. */
static void write_lora(const char *path, bool authors) {
    static float up[3 * WIDTH * RANK], down[RANK * WIDTH];
    list l = {.count = 0};
    bl_error err = {0};
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        const int parts = c->layers[1] ? 3 : 1, share = c->rows * RANK;
        for (int k = 0; k < parts * share + RANK * c->columns; k++) {
            seed = seed * 1664525u + 1013904223u;
            *(k < parts * share ? &up[k] : &down[k - parts * share]) =
                (float)(seed >> 8) / 41943040.0f - 0.2f;
        }
        for (int k = 0; k < parts && !authors; k++) {
            add(&l, "transformer", c->layers[k], "lora_A.weight", RANK, c->columns, down, 0);
            add(&l, "transformer", c->layers[k], "lora_B.weight", c->rows, RANK, up + k * share, 0);
        }
        if (authors) { /* whose last modulation has its halves the other way round */
            add(&l, "diffusion_model", c->authors, "lora_A.weight", RANK, c->columns, down, 0);
            add(&l, "diffusion_model", c->authors, "lora_B.weight", parts * c->rows, RANK, up,
                strstr(c->authors, "final") ? share / 2 : 0);
        }
    }
    if (bl_safetensors_write(path, l.tensors, l.count, NULL, 0, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < l.count; i++) {
        free((void *)(uintptr_t)l.tensors[i].data);
    }
}

/* Blocks that the adapter changes are kept wide, and they alone. */
static void check_bytes(rig_studio *s, const ballast_adapter *a) {
    rig_studio wide;
    flow_taken t;
    ballast_generate_options plain = request(&t, NULL), with = request(&t, a);
    flow_open_files(&wide, gguf.wide, gguf.encoder, vae);
    const uint64_t small = rig_planned(s, &plain, "working_set_bytes"),
                   between = rig_planned(s, &with, "working_set_bytes"),
                   most = rig_planned(&wide, &plain, "working_set_bytes");
    assert_true(small < between && between < most);
    assert_int_equal(rig_planned(s, &plain, "working_set_bytes"), small);
    rig_close(&wide);
}

static void adapters_are_added_to_what_is_widened(void **state) {
    char diffusers[BL_TEST_PATH], authors[BL_TEST_PATH];
    rig_studio s;
    ballast_adapter a;
    (void)state;
    bl_test_join(diffusers, folder, "diffusers_lora.safetensors");
    bl_test_join(authors, folder, "authors_lora.safetensors");
    write_lora(diffusers, false);
    write_lora(authors, true);
    ballast_adapter_init(&a, sizeof a);
    a.path = diffusers;
    a.text = a.denoiser = 1;
    flow_taken plain = taken_of(gguf.wide, gguf.encoder, NULL),
               changed = taken_of(gguf.wide, gguf.encoder, &a);
    assert_memory_not_equal(plain.latents, changed.latents, (size_t)plain.count * sizeof *plain.latents);
    a.path = authors;
    flow_open_files(&s, gguf.transformer, gguf.encoder, vae);
    check_bytes(&s, &a);
    check_placements(&s, &changed, &a, "GGUF with an adapter");
    assert_int_equal(s.warnings, 0); /* all of it matches */
    a.denoiser = 0;
    flow_taken none = taken(&s, &a), after = taken(&s, NULL);
    rig_same(&none.pictures, &plain.pictures, "with none of it");
    rig_same(&after.pictures, &plain.pictures, "without it again");
    rig_close(&s);
    flow_drop(&none);
    flow_drop(&after);
    flow_drop(&plain);
    flow_drop(&changed);
}

int main(int argc, char **argv) {
    every = argc > 1 && !strcmp(argv[1], "all");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_bits_or_wide_the_same_picture),
        cmocka_unit_test(gguf_or_wide_the_same_picture),
        cmocka_unit_test(adapters_are_added_to_what_is_widened),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
