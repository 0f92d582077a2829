/* Embeddings (textual inversion) against the reference: the chunks that prompts become, what the text encoder
 * makes of them; refusals; whole pictures with the table of tokens streamed and resident. */
#include "pipeline/rig.h"

#include "adapter/merge.h"
#include "device/cpu/cpu.h"
#include "device/run_once.h"
#include "model/clip_text.h"
#include "model/weights.h"
#include "pipeline/embeddings.h"
#include "pipeline/request.h"
#include "text/prompt.h"

typedef struct bench {
    const char *family;
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_tokenizer *tokenizer;
    bl_device *device;
    char folder[BL_TEST_PATH];
} bench;

static void ok(int rc, const bl_error *err) {
    if (rc) {
        fail_msg("%s", err->message);
    }
}

static void open_bench(bench *b, const char *family) {
    char path[BL_TEST_PATH], inside[128];
    bl_error err = {0};
    bl_cpu_options options = {.threads = 1};
    *b = (bench){.family = family};
    bl_synth_checkpoint(path, family, BL_SYNTH_SINGLE);
    ok(bl_checkpoint_open(&b->ckpt, path, NULL, &err), &err);
    ok(bl_architecture_detect(&b->arch, b->ckpt, &err), &err);
    ok(bl_tokenizer_new(&b->tokenizer, &err), &err);
    ok(bl_cpu_open(&b->device, &options, &err), &err);
    snprintf(inside, sizeof inside, "%s/adapters/embedding", family);
    bl_test_data(b->folder, inside);
}

static void close_bench(bench *b) {
    bl_device_close(&b->device);
    bl_tokenizer_free(&b->tokenizer);
    bl_checkpoint_close(&b->ckpt);
}

/* What a prompt becomes. */
typedef struct read_prompt {
    bl_request request;
    bl_embeddings embeddings;
    bl_condition condition;
    ballast_generate_options options;
} read_prompt;

static void read_it(read_prompt *p, const bench *b, const char *prompt) {
    const bl_tokenizer *tokenizers[BL_FAMILY_ENCODERS] = {b->tokenizer, b->tokenizer};
    bl_error err = {0};
    ballast_generate_options_init(&p->options, sizeof p->options);
    p->options.prompt = prompt;
    p->options.embedding_folders = b->folder;
    p->options.cfg = 1;
    p->options.steps = 1;
    ok(bl_request_check(&p->request, &p->options, &b->arch, 64, &err), &err);
    ok(bl_embeddings_open(&p->embeddings, &b->arch, b->ckpt, tokenizers, &p->options, BL_COMPAT_A1111, &err),
       &err);
    ok(bl_condition_parse(&p->condition, &p->request, &b->arch, p->embeddings.tokenizer, NULL, &err), &err);
    ok(bl_embeddings_place(&p->embeddings, &p->condition, &b->arch, &err), &err);
}

static void forget(read_prompt *p) {
    bl_condition_clear(&p->condition);
    bl_embeddings_clear(&p->embeddings);
    bl_request_clear(&p->request);
}

/* Golden ids have 0 where a vector stands, as have ours but for the rows that stand for them. */
static void check_ids(const bench *b, const read_prompt *p, const bl_golden *golden, const char *name,
                      json_t *wanted) {
    char key[128];
    size_t k, n = json_array_size(json_object_get(wanted, "vectors"));
    for (int e = 0; e < b->arch.family->encoders; e++) {
        const bl_chunks *c = &p->condition.text[e][0];
        snprintf(key, sizeof key, "%s.te%d.ids", name, e + 1);
        int64_t *ids = bl_golden_i64(golden, key);
        assert_int_equal(c->count, json_integer_value(json_object_get(wanted, "chunks")));
        size_t vectors = 0;
        for (int i = 0; i < c->count * BL_CHUNK_TOKENS; i++) {
            bool stands = false;
            for (k = 0; k < (size_t)p->embeddings.rows.count; k++) {
                stands = stands || c->ids[i] == p->embeddings.rows.row[k];
            }
            vectors += stands;
            if (ids[i] != (stands ? 0 : c->ids[i])) {
                fail_msg("%s: token %d is %d, not %d", key, i, c->ids[i], (int)ids[i]);
            }
        }
        assert_int_equal(vectors, n);
        free(ids);
    }
}

/* Runs text encoder e on the prompt's chunks: [chunks, 77, width]. Caller frees. */
static float *encode(const bench *b, const read_prompt *p, int e) {
    const bl_chunks *c = &p->condition.text[e][0];
    const bl_module module = e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
    bl_clip_text_outputs want = {.context = true};
    bl_error err = {0};
    bl_graph *g = NULL;
    bl_model_weights weights;
    bl_merge *merge = NULL;
    ok(bl_clip_text_graph(&g, module, &b->arch.text[e], c->count, BL_CHUNK_TOKENS, want, BL_F32, NULL, &err),
       &err);
    ok(bl_model_weights_open(&weights, g, b->ckpt, &err), &err);
    bl_source base = bl_model_source(&weights);
    ok(bl_merge_new(&merge, g, &base, &err), &err);
    ok(bl_merge_set(merge, &(bl_changes){NULL, 0, &p->embeddings.rows}, &err), &err);
    bl_source source = bl_merge_source(merge);
    float *out = malloc((size_t)(c->count * BL_CHUNK_TOKENS * b->arch.text[e].width) * sizeof *out);
    const void *in[] = {c->ids};
    void *outputs[] = {out};
    assert_non_null(out);
    ok(bl_run_once(b->device, g, &source, NULL, in, outputs, &err), &err);
    bl_merge_free(&merge);
    bl_model_weights_close(&weights);
    bl_graph_free(&g);
    return out;
}

/* Whatever rows of the context the golden has. */
static void check_context(const bench *b, const read_prompt *p, const bl_golden *golden, const char *name) {
    int count, first = 0, encoders = b->arch.family->encoders;
    char start[128];
    const bl_file_tensor *all = bl_safetensors_tensors(golden->file, &count), *t = NULL;
    snprintf(start, sizeof start, "%s.context", name);
    for (int i = 0; i < count; i++) {
        t = strncmp(all[i].name, start, strlen(start)) ? t : &all[i];
    }
    assert_non_null(t);
    sscanf(t->name + strlen(start), "_rows_%d_", &first);
    const int64_t rows = t->shape[1], width = t->shape[2];
    float *mine = malloc((size_t)(rows * width) * sizeof *mine);
    int64_t at = 0;
    assert_non_null(mine);
    for (int e = 0; e < encoders; e++) {
        float *one = encode(b, p, e);
        const int64_t w = b->arch.text[e].width;
        for (int64_t r = 0; r < rows; r++) {
            memcpy(mine + r * width + at, one + (first + r) * w, (size_t)w * sizeof *mine);
        }
        at += w;
        free(one);
    }
    assert_int_equal(at, width);
    bl_golden_check(golden, t->name, mine, rows * width, BL_F32);
    free(mine);
}

static void test_goldens(void **state) {
    static const char *const families[] = {"sd15", "sd21v", "sdxl"};
    (void)state;
    for (int f = 0; f < 3; f++) {
        bench b;
        bl_golden golden;
        char name[256];
        const char *key;
        json_t *wanted;
        open_bench(&b, families[f]);
        snprintf(name, sizeof name, "%s/adapters/embedding/golden.safetensors", families[f]);
        bl_golden_open(&golden, name);
        snprintf(name, sizeof name, "%s/adapters/embedding/cases.json", families[f]);
        json_t *cases = bl_test_json(name);
        assert_true(json_object_size(cases) >= 6);
        json_object_foreach(cases, key, wanted) {
            read_prompt p;
            read_it(&p, &b, json_string_value(json_object_get(wanted, "prompt")));
            check_ids(&b, &p, &golden, key, wanted);
            check_context(&b, &p, &golden, key);
            forget(&p);
        }
        json_decref(cases);
        bl_golden_close(&golden);
        close_bench(&b);
    }
}

static void test_refusals(void **state) {
    static const struct {
        const char *family, *prompt, *says;
    } cases[] = {{"sd15", "a pickled fox", "is a PyTorch pickle"},
                 {"sd15", "a Wrong_Width fox", "vectors of 48 numbers"},
                 {"sd15", "a for_sdxl fox", "which is for SDXL"},
                 {"sdxl", "a wrong_width fox", "text_encoder_2 reads 48"},
                 {"sdxl", "a wrong_count fox", "holds 3 vectors"},
                 {"sdxl", "(for_sd1:1.2)", "for SD 1.x or SD 2.x"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        bl_error err = {0};
        bl_embeddings e;
        ballast_generate_options o;
        ballast_generate_options_init(&o, sizeof o);
        open_bench(&b, cases[i].family);
        const bl_tokenizer *tokenizers[BL_FAMILY_ENCODERS] = {b.tokenizer, b.tokenizer};
        o.prompt = "unpickled zorbels and wrong_widths"; /* no words of their own */
        o.embedding_folders = b.folder;
        ok(bl_embeddings_open(&e, &b.arch, b.ckpt, tokenizers, &o, BL_COMPAT_A1111, &err), &err);
        assert_int_equal(e.count, 0);
        bl_embeddings_clear(&e);
        o.prompt = cases[i].prompt;
        assert_true(bl_embeddings_open(&e, &b.arch, b.ckpt, tokenizers, &o, BL_COMPAT_A1111, &err) < 0);
        /* The caller is to blame, not the server that asks; but for a damaged file. */
        assert_int_equal(err.code, strstr(cases[i].says, "holds") ? BL_E_FORMAT : BL_E_UNSUPPORTED);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].says);
        }
        close_bench(&b);
    }
}

/* The same bits resident and streamed, and the table goes back to what it was. */
static void test_pictures(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures plain = {0}, with = {0}, got = {0};
    char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH];
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(folder, "sd15/adapters/embedding");
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(&plain, 64);
    o.cfg = 5;
    o.embedding_folders = folder;
    rig_make(&s, &o);
    o.prompt = "a photo of a red zorbel in the snow";
    o.negative_prompt = "quandar";
    o.payload = &with;
    rig_make(&s, &o);
    assert_memory_not_equal(with.rgb, plain.rgb, plain.bytes);
    o.payload = &got;
    o.offload = "sequential";
    rig_make(&s, &o);
    rig_same(&got, &with, "streamed");
    rig_release(&got);
    o.prompt = "a photo of a red fox in the snow";
    o.negative_prompt = "blurry";
    o.offload = NULL;
    rig_make(&s, &o);
    rig_same(&got, &plain, "without embeddings again");
    rig_release(&got);
    rig_release(&with);
    rig_release(&plain);
    rig_close(&s);
}

/* ComfyUI's way: the word is "embedding:NAME", with or without the file's suffix, and a bare name is text. */
static void test_comfyui(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures plain = {0}, with = {0}, got = {0};
    char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH];
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(folder, "sd15/adapters/embedding");
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(&plain, 64);
    o.compat = "comfyui";
    o.embedding_folders = folder;
    o.prompt = "a photo of a zorbel in the snow";
    rig_make(&s, &o);
    o.payload = &with;
    o.prompt = "a photo of a embedding:zorbel in the snow";
    rig_make(&s, &o);
    assert_memory_not_equal(with.rgb, plain.rgb, plain.bytes);
    static const char *const same[] = {"a photo of a embedding:zorbel.safetensors in the snow",
                                       "a photo of a (embedding:zorbel:1.0) in the snow"};
    for (int i = 0; i < 2; i++) {
        o.payload = &got;
        o.prompt = same[i];
        rig_make(&s, &o);
        rig_same(&got, &with, same[i]);
        rig_release(&got);
    }
    ballast_error err = {0};
    o.prompt = "a photo of a embedding:zorble in the snow";
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "no embedding \"zorble\""));
    assert_non_null(strstr(err.message, "zorbel"));
    rig_release(&plain);
    rig_release(&with);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_pictures), cmocka_unit_test(test_comfyui)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
