/* Prompts that change and prompts joined by AND: bits of a picture whose text is one and the same, whatever
 * it is written as; what a plan knows of the texts; the linearity of guidance. */
#include "pipeline/rig.h"

#include "pipeline/job.h"

#define SIDE 64
#define FLOATS 256

static rig_studio studio;

typedef struct made {
    float x[4][FLOATS];
    int encoded, evaluations; /* chunks through the encoder; rows of the denoiser by its passes */
} made;

static int keep(void *payload, const ballast_latents *latents) {
    made *m = payload;
    memcpy(m->x[latents->index], latents->data, sizeof m->x[0]);
    return 0;
}

static ballast_generate_options request(made *m, const char *prompt, const char *negative, double cfg,
                                        int steps) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = prompt;
    o.negative_prompt = negative;
    o.width = o.height = SIDE;
    o.cfg = cfg;
    o.steps = steps;
    o.seed = 3;
    o.sampler = "Euler";
    o.hints = 0;
    o.save_latents = keep;
    o.payload = m;
    return o;
}

static void make(made *m, const char *prompt, const char *negative, double cfg, int steps) {
    ballast_generate_options o = request(m, prompt, negative, cfg, steps);
    rig_make(&studio, &o);
}

/* One text in other words: the same bits, the prologue included. */
static void test_same_text(void **state) {
    static const char *const same[] = {"[a:cat:0]",  "[cat:dog:99]",         "[cat|cat]", "[cat:cat:2]",
                                       "[cat::1.0]", "# [a|b]\n[cat:cat:1]", "cat:1"};
    made a, b;
    (void)state;
    make(&a, "cat", "bad", 7, 3);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        make(&b, same[i], "bad", 7, 3);
        assert_memory_equal(a.x[0], b.x[0], sizeof a.x[0]);
    }
    make(&b, "[cat:dog:1]", "bad", 7, 3); /* told cat in calls 0 and 1 */
    assert_memory_not_equal(a.x[0], b.x[0], sizeof a.x[0]);
    make(&b, "[cat:dog:2]", "bad", 7, 3); /* in all of them */
    assert_memory_equal(a.x[0], b.x[0], sizeof a.x[0]);
}

/* A picture in a batch has the bits that it has alone, also while its prompt changes, of prompts joined by
 * AND and without guidance, where a small picture's UNet has one row. */
static void test_batches(void **state) {
    static const char *const prompts[] = {"[cat:dog house:0.3] AND [a|b|c]:0.4", "[cat|dog]", "cat"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        made one, two;
        ballast_generate_options o = request(&one, prompts[i], "[bad::1]", i == 2 ? 1 : 7, 4);
        o.count = 3;
        rig_make(&studio, &o);
        o.payload = &two;
        o.count = 1;
        o.batch = 3;
        rig_make(&studio, &o);
        for (int k = 0; k < 3; k++) {
            if (memcmp(one.x[k], two.x[k], sizeof one.x[k]) != 0) {
                fail_msg("%s: picture %d of a batch has other bits than alone", prompts[i], k);
            }
        }
    }
}

/* With one Euler step the latents are the prediction, in which guidance is linear. */
static void test_and(void **state) {
    made cat, dog, bad, both;
    float want[FLOATS];
    (void)state;
    make(&cat, "cat", "", 1, 1);
    make(&dog, "dog", "", 1, 1);
    make(&bad, "bad", "", 1, 1);
    make(&both, "cat :1.5 AND dog: -0.5", "bad", 4, 1);
    for (int i = 0; i < FLOATS; i++) {
        want[i] = bad.x[0][i] + 6 * (cat.x[0][i] - bad.x[0][i]) - 2 * (dog.x[0][i] - bad.x[0][i]);
    }
    bl_check_close("guided", want, both.x[0], FLOATS, 1e-4 * bl_peak(want, FLOATS));
    make(&both, "cat :0.25 AND dog: .75", "bad", 1, 1);
    for (int i = 0; i < FLOATS; i++) {
        want[i] = 0.25f * cat.x[0][i] + 0.75f * dog.x[0][i];
    }
    bl_check_close("unguided", want, both.x[0], FLOATS, 1e-4 * bl_peak(want, FLOATS));
}

/* Chunks that are encoded, rows of the denoiser, tokens of a row. */
static void expect_job(const char *prompt, const char *negative, double cfg, const char *compat, int encoded,
                       int rows, bool constant) {
    bl_request r;
    bl_condition c;
    bl_error err = {0};
    made ignored;
    ballast_generate_options o = request(&ignored, prompt, negative, cfg, 10);
    o.compat = compat;
    bl_architecture arch = {.family = &bl_sd1, .prediction = BL_PREDICT_EPSILON};
    bl_tokenizer *tokenizer = NULL;
    arch.text[0].pad_token = BL_TOKEN_EOS;
    assert_int_equal(bl_tokenizer_new(&tokenizer, &err), 0);
    const bl_tokenizer *const tokenizers[BL_FAMILY_ENCODERS] = {tokenizer, tokenizer};
    assert_int_equal(bl_request_check(&r, &o, &arch, 512, &err), 0);
    assert_int_equal(bl_condition_parse(&c, &r, &arch, tokenizers, NULL, &err), 0);
    if (bl_condition_encoded(&c) != encoded || c.rows != rows || bl_texts_constant(&c.texts) != constant) {
        fail_msg("\"%s\": %d chunks in %d rows, constant %d", prompt, bl_condition_encoded(&c), c.rows,
                 bl_texts_constant(&c.texts));
    }
    bl_condition_clear(&c);
    bl_request_clear(&r);
    bl_tokenizer_free(&tokenizer);
}

/* Each distinct text is encoded once, however often it is told. */
static void test_plan(void **state) {
    (void)state;
    expect_job("cat", "bad", 7, "a1111", 2, 2, true);
    expect_job("cat", "bad", 1, "a1111", 1, 1, true);
    expect_job("[a|b|c]", "bad", 7, "a1111", 4, 2, false);
    expect_job("[a|b] [c|d|e]", "bad", 7, "a1111", 7, 2, false);
    expect_job("[a:b:3] [a:b:3]", "[a:b:0.5]", 7, "a1111", 4, 2, false);
    expect_job("cat AND cat AND dog", "bad", 7, "a1111", 3, 4, true);
    expect_job("cat AND [cat|dog]", "bad", 7, "a1111", 3, 3, false);
    expect_job("cat AND dog", "bad", 1, "a1111", 3, 3, true); /* the weights add up to 2 */
    expect_job("cat :0.5 AND dog:0.5", "bad", 1, "a1111", 2, 2, true);
    expect_job("[a|b|c] AND x", "[a|b]", 7, "comfyui", 2, 2, true);
    expect_job("[a|b|c] AND x", "[a|b]", 7, "diffusers", 2, 2, true);
}

static void test_too_many(void **state) {
    made m;
    char prompt[256] = "x";
    ballast_error err = {0};
    (void)state;
    for (int i = 0; i < 16; i++) {
        strcat(prompt, " AND x");
    }
    ballast_generate_options o = request(&m, prompt, "", 7, 1);
    assert_int_equal(ballast_generate(NULL, studio.model, &o, &err), BALLAST_E_ARGUMENT);
    assert_non_null(strstr(err.message, "AND joins 17 prompts, at most 16"));
}

/* More texts than go through the encoder at once. */
static void test_many_texts(void **state) {
    made a, b;
    (void)state;
    make(&a, "[a|b|c|d|e|f|g] [h|i|j|k|l]", "bad", 7, 30);
    make(&b, "[a|b|c|d|e|f|g] [h|i|j|k|l]", "bad", 7, 30);
    assert_memory_equal(a.x[0], b.x[0], sizeof a.x[0]);
}

static int open_studio(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE);
    rig_open(&studio, path, "f32", "");
    return 0;
}

static int close_studio(void **state) {
    (void)state;
    rig_close(&studio);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_text), cmocka_unit_test(test_batches),  cmocka_unit_test(test_and),
        cmocka_unit_test(test_plan),      cmocka_unit_test(test_too_many), cmocka_unit_test(test_many_texts),
    };
    return cmocka_run_group_tests_name("pipeline.texts", tests, open_studio, close_studio);
}
