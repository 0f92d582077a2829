/* SD3.5 medium from every file that holds it, whole and in parts: the pictures of its diffusers folder. */
#include "pipeline/flow_rig.h"

#include "checkpoint/names.h"
#include "checkpoint/safetensors.h"
#include "support/flux1_files.h"
#include "support/gguf.h"
#include "support/other_names.h"
#include "support/sd3_files.h"

#include <sys/stat.h>
#include <unistd.h>

#define TRANSFORMER "transformer/diffusion_pytorch_model.safetensors"

static char synth[BL_TEST_PATH], folder[BL_TEST_PATH], files[BL_TEST_PATH];

/* CLIP L's vector is projected by the matrix that changes nothing, or by none: files other than folders have
 * none that counts. */
static bool unproject(void *context, char *name, bl_tensor_data *t) {
    static float one[32 * 32];
    const bool leave_out = context != NULL;
    if (strcmp(name, "text_projection.weight") != 0) {
        return true;
    }
    for (int i = 0; i < 32; i++) {
        one[i * 33] = 1;
    }
    assert_true(t->shape[0] == 32 && t->shape[1] == 32);
    t->data = one;
    return !leave_out;
}

static void link_file(const char *from, const char *to) {
    char path[BL_TEST_PATH];
    bl_test_join(path, synth, from);
    assert_int_equal(symlink(path, to), 0);
}

/* A folder whose CLIP L changes nothing about its vector, and an empty one. Files of encoders have no
 * configurations: nor has it. */
static int make_folders(void **state) {
    static const char *const encoders[] = {"text_encoder", "text_encoder_2", "text_encoder_3"};
    char path[BL_TEST_PATH], name[64], from[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(synth, "sd3/medium");
    bl_test_folder(folder);
    bl_test_folder(files);
    bl_test_sd3_folder(folder, "sd3/medium", true);
    for (int i = 0; i < 3; i++) {
        bl_test_join(path, folder, encoders[i]);
        assert_int_equal(unlink(path), 0);
        snprintf(name, sizeof name, "%s/model.safetensors", encoders[i]);
        bl_test_join(path, folder, name);
        bl_test_join(from, synth, name);
        if (i) {
            assert_int_equal(symlink(from, path), 0);
        } else {
            bl_test_rewrite(path, from, unproject, NULL, NULL, 0);
        }
    }
    return 0;
}

static int remove_folders(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    bl_test_folder_remove(files);
    return 0;
}

/* Two small steps of a small picture. */
static void take_parts(flow_taken *t, const char *path, const char *const *encoders, size_t count,
                       const char *vae) {
    rig_studio s;
    ballast_generate_options o = flow_request(t);
    flow_open_parts(&s, path, encoders, count, vae);
    o.width = o.height = 32;
    o.cfg = 3;
    o.negative_prompt = "a cat";
    rig_make(&s, &o);
    rig_close(&s);
}

static void same_pictures(flow_taken *got, const flow_taken *wanted, const char *what) {
    rig_same(&got->pictures, &wanted->pictures, what);
    flow_drop(got);
}

/* A tensor of the folder under its authors' name: one third of it, or halves that are exchanged. */
typedef struct single {
    bl_tensor_data tensors[700];
    char names[700][400];
    float *data[700];
    int count;
} single;

static void add_tensor(single *f, const bl_safetensors *file, const bl_file_tensor *t, const char *name,
                       int share, int shares, bool swapped) {
    int64_t values = (int64_t)(t->bytes / sizeof(float)), at = 0;
    bl_error err;
    while (at < f->count && strcmp(f->names[at], name) != 0) {
        at++;
    }
    if (at == f->count) {
        assert_true(f->count < 700);
        f->count++;
        snprintf(f->names[at], sizeof f->names[at], "%s", name);
        f->data[at] = malloc((size_t)values * (size_t)shares * sizeof(float));
        assert_non_null(f->data[at]);
        f->tensors[at] =
            (bl_tensor_data){.name = f->names[at], .dtype = BL_F32, .rank = t->rank, .data = f->data[at]};
        memcpy(f->tensors[at].shape, t->shape, sizeof t->shape);
        f->tensors[at].shape[0] *= shares;
    }
    float *to = f->data[at] + share * values;
    const int64_t half = swapped ? values / 2 : 0;
    assert_int_equal(bl_tensor_read(file, t, 0, values - half, to + half, &err), 0);
    assert_int_equal(bl_tensor_read(file, t, values - half, half, to, &err), 0);
}

static void add_module(single *f, const char *from, const char *name, const char *prefix, bl_naming naming,
                       int depth) {
    char path[BL_TEST_PATH], whole[400];
    bl_safetensors *file;
    bl_error err;
    int count;
    bl_test_join(path, from, name);
    assert_int_equal(bl_safetensors_open(&file, path, &err), 0);
    const bl_file_tensor *t = bl_safetensors_tensors(file, &count);
    for (int i = 0; i < count; i++) {
        bl_stored s;
        assert_true(bl_stored_name(&s, naming, NULL, depth, t[i].name));
        snprintf(whole, sizeof whole, "%s%s", prefix, s.name);
        add_tensor(f, file, &t[i], whole, s.share, s.shares, s.swapped);
    }
    bl_safetensors_close(&file);
}

/* What its authors call the tensors. */
static const char *const published[] = {"joint_blocks.0.x_block.attn.qkv.weight",
                                        "joint_blocks.0.x_block.attn.ln_q.weight",
                                        "joint_blocks.0.x_block.attn2.qkv.bias",
                                        "joint_blocks.0.x_block.attn2.proj.weight",
                                        "joint_blocks.0.x_block.adaLN_modulation.1.weight",
                                        "joint_blocks.0.x_block.mlp.fc1.weight",
                                        "joint_blocks.0.context_block.attn.qkv.weight",
                                        "joint_blocks.0.context_block.attn.ln_k.weight",
                                        "joint_blocks.0.context_block.attn.proj.bias",
                                        "joint_blocks.0.context_block.mlp.fc2.weight",
                                        "joint_blocks.2.context_block.adaLN_modulation.1.weight",
                                        "pos_embed",
                                        "x_embedder.proj.weight",
                                        "t_embedder.mlp.0.weight",
                                        "y_embedder.mlp.2.weight",
                                        "context_embedder.weight",
                                        "final_layer.adaLN_modulation.1.weight",
                                        "final_layer.linear.weight"};

static void check_names(const single *f, const char *prefix) {
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char name[200];
        int k = 0;
        snprintf(name, sizeof name, "%s%s", prefix, published[i]);
        while (k < f->count && strcmp(f->names[k], name) != 0) {
            k++;
        }
        if (k == f->count) {
            fail_msg("no %s", name);
        }
    }
}

static void write_single(single *f, const char *path) {
    bl_error err;
    assert_int_equal(bl_safetensors_write(path, f->tensors, f->count, NULL, 0, &err), 0);
    for (int i = 0; i < f->count; i++) {
        free(f->data[i]);
    }
    free(f);
}

/* The transformer alone, with its authors' names. */
static void write_transformer(const char *path, const char *prefix) {
    single *f = calloc(1, sizeof *f);
    assert_non_null(f);
    add_module(f, synth, TRANSFORMER, prefix, BL_NAMES_SD3, 3);
    check_names(f, prefix);
    write_single(f, path);
}

/* As its authors and ComfyUI write it, with encoders and VAE, a projection of CLIP L among them. */
static void one_file_gives_the_folders_picture(void **state) {
    single *f = calloc(1, sizeof *f);
    char path[BL_TEST_PATH], dir[BL_TEST_PATH];
    flow_taken wanted, got;
    (void)state;
    assert_non_null(f);
    add_module(f, synth, TRANSFORMER, "model.diffusion_model.", BL_NAMES_SD3, 3);
    add_module(f, synth, "text_encoder/model.safetensors", "text_encoders.clip_l.transformer.",
               BL_NAMES_DIFFUSERS, 0);
    add_module(f, synth, "text_encoder_2/model.safetensors", "text_encoders.clip_g.transformer.",
               BL_NAMES_DIFFUSERS, 0);
    add_module(f, synth, "text_encoder_3/model.safetensors", "text_encoders.t5xxl.transformer.",
               BL_NAMES_DIFFUSERS, 0);
    add_module(f, synth, "vae/diffusion_pytorch_model.safetensors", "first_stage_model.", BL_NAMES_LDM_VAE,
               4);
    check_names(f, "model.diffusion_model.");
    bl_test_join(dir, files, "whole");
    bl_test_join(path, files, "whole/sd3.5_medium.safetensors");
    write_single(f, path);
    bl_test_t5_vocabulary(dir, "tokenizer.json");
    take_parts(&wanted, folder, NULL, 0, NULL);
    take_parts(&got, path, NULL, 0, NULL);
    same_pictures(&got, &wanted, "a single file");
    flow_drop(&wanted);
}

/* The paths of the parts as they are published. */
typedef struct parts {
    char transformer[BL_TEST_PATH], l[BL_TEST_PATH], g[BL_TEST_PATH], t5[BL_TEST_PATH], words[BL_TEST_PATH],
        vae[BL_TEST_PATH];
} parts;

static void make_parts(parts *p, const char *name) {
    char from[BL_TEST_PATH], dir[BL_TEST_PATH];
    bl_test_join(dir, files, name);
    assert_int_equal(mkdir(dir, 0777), 0);
    bl_test_join(p->transformer, dir, "sd3.5_medium.safetensors");
    bl_test_join(p->l, dir, "clip_l.safetensors");
    bl_test_join(p->g, dir, "clip_g.safetensors");
    bl_test_join(p->t5, dir, "t5xxl_fp16.safetensors");
    bl_test_join(p->vae, dir, "vae.safetensors");
    bl_test_join(p->words, folder, "tokenizer_3");
    write_transformer(p->transformer, "model.diffusion_model.");
    bl_test_join(from, synth, "text_encoder/model.safetensors");
    bl_test_rewrite(p->l, from, unproject, p, NULL, 0);
    link_file("text_encoder_2/model.safetensors", p->g);
    link_file("text_encoder_3/model.safetensors", p->t5);
    bl_test_ldm_vae(p->vae, "sd3/medium");
}

/* The transformer in a file, both CLIPs and T5 in others, in any order, or in folders, whose CLIP L is
 * projected; or without T5. */
static void parts_give_the_folders_picture(void **state) {
    parts p;
    char own[BL_TEST_PATH], less[BL_TEST_PATH];
    flow_taken wanted, got;
    (void)state;
    make_parts(&p, "parts");
    take_parts(&wanted, folder, NULL, 0, NULL);
    take_parts(&got, p.transformer, (const char *[]){p.t5, p.g, p.l, p.words}, 4, p.vae);
    same_pictures(&got, &wanted, "files");
    flow_drop(&wanted);
    bl_test_join(own, files, "own");
    assert_int_equal(mkdir(own, 0777), 0);
    bl_test_sd3_folder(own, "sd3/medium", true);
    take_parts(&wanted, own, NULL, 0, NULL);
    take_parts(&got, p.transformer, (const char *[]){own}, 1, p.vae);
    same_pictures(&got, &wanted, "a folder's encoders");
    flow_drop(&wanted);
    bl_test_join(less, own, "model_index.json");
    assert_int_equal(unlink(less), 0);
    bl_test_join(less, own, "text_encoder_3");
    assert_int_equal(unlink(less), 0);
    take_parts(&wanted, own, NULL, 0, NULL);
    take_parts(&got, p.transformer, (const char *[]){own}, 1, p.vae);
    same_pictures(&got, &wanted, "without T5");
    flow_drop(&wanted);
}

/* GGUF, which holds what is stored small, against the same values in F32. */
static void gguf_gives_the_picture_of_its_values(void **state) {
    parts p;
    char bare[BL_TEST_PATH], small[BL_TEST_PATH], widened[BL_TEST_PATH];
    flow_taken wanted, got;
    (void)state;
    make_parts(&p, "gguf");
    bl_test_join(bare, files, "gguf/bare.safetensors");
    bl_test_join(small, files, "gguf/small.gguf");
    bl_test_join(widened, files, "gguf/widened.safetensors");
    write_transformer(bare, "");
    bl_test_write_gguf(small, bare);
    bl_test_write_widened(widened, small);
    take_parts(&wanted, widened, (const char *[]){p.l, p.g}, 2, p.vae);
    take_parts(&got, small, (const char *[]){p.g, p.l}, 2, p.vae);
    same_pictures(&got, &wanted, "GGUF");
    flow_drop(&wanted);
}

/* What misses an encoder, or has one twice, or none of its own, says what to give. */
static void encoders_that_do_not_fit_are_refused(void **state) {
    parts p;
    char dev[BL_TEST_PATH], other[BL_TEST_PATH];
    (void)state;
    make_parts(&p, "refused");
    bl_synth_folder(dev, "flux1/dev");
    bl_test_join(other, dev, "text_encoder_2/model.safetensors");
    const struct {
        const char *encoders[3];
        size_t count;
        const char *says;
    } cases[] = {{{NULL}, 0, "no text_encoder, which is CLIP's L; give it with --text-encoder FILE"},
                 {{p.l, p.t5}, 2, "no text_encoder_2, which is CLIP's G; give it with --text-encoder FILE"},
                 {{p.g, p.g}, 2, "hold the same one of the model's encoders"},
                 {{p.l, p.g, other}, 3, "T5 gives rows of 48: give its own with --text-encoder FILE"},
                 {{p.vae}, 1, "holds neither T5's encoder nor CLIP"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ballast_context *context = NULL;
        ballast_model *model = NULL;
        ballast_error err = {0};
        ballast_model_options mo;
        ballast_model_options_init(&mo, sizeof mo);
        mo.path = p.transformer;
        mo.vae_path = p.vae;
        mo.text_encoder_paths = cases[i].encoders;
        mo.text_encoder_count = cases[i].count;
        assert_int_equal(ballast_context_open(&context, NULL, &err), 0);
        assert_true(ballast_model_open(&model, context, &mo, &err) < 0);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("\"%s\" is not in: %s", cases[i].says, err.message);
        }
        ballast_context_close(&context);
    }
}

/* One change by two names, on a model by either's: the same picture, and another than without it. */
static void adapters_change_the_same_by_every_name(void **state) {
    parts p;
    char lora[2][BL_TEST_PATH];
    flow_taken t[4];
    (void)state;
    make_parts(&p, "adapters");
    for (int kohya = 0; kohya < 2; kohya++) {
        bl_test_join(lora[kohya], files, kohya ? "kohya.safetensors" : "peft.safetensors");
        bl_test_sd3_lora(lora[kohya], kohya);
    }
    for (int i = 0; i < 4; i++) { /* the last without */
        rig_studio s;
        ballast_adapter adapter;
        ballast_generate_options o = flow_request(&t[i]);
        ballast_adapter_init(&adapter, sizeof adapter);
        adapter.path = lora[i % 2];
        o.adapters = &adapter;
        o.adapter_count = i < 3;
        o.width = o.height = 32;
        o.steps = 1;
        flow_open_parts(&s, i == 2 ? p.transformer : folder, (const char *[]){folder}, i == 2,
                        i == 2 ? p.vae : NULL);
        rig_make(&s, &o);
        if (s.warnings) {
            fail_msg("%s", s.warning);
        }
        rig_close(&s);
    }
    for (int i = 1; i < 4; i++) {
        const int same = !memcmp(t[i].latents, t[0].latents, (size_t)t[0].count * sizeof(float));
        assert_int_equal(same, i < 3);
    }
    for (int i = 0; i < 4; i++) {
        flow_drop(&t[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_gives_the_folders_picture),
        cmocka_unit_test(parts_give_the_folders_picture),
        cmocka_unit_test(gguf_gives_the_picture_of_its_values),
        cmocka_unit_test(encoders_that_do_not_fit_are_refused),
        cmocka_unit_test(adapters_change_the_same_by_every_name),
    };
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
