/* The text encoders against transformers: every output alone and all at once, every hidden state, clip skip.
 */
#include "rig.h"

#include "model/clip_text.h"

#define TOKENS 77
#define MAX_LAYERS 32

static bl_module module_of(int encoder) {
    return encoder ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
}

static bl_graph *graph_of(const rig *r, int encoder, int batch, bl_clip_text_outputs want, bl_dtype dtype,
                          const char *const *taps) {
    bl_graph *g = NULL;
    bl_error err = {0};
    rig_ok(bl_clip_text_graph(&g, module_of(encoder), &r->arch.text[encoder], batch, TOKENS, want, dtype,
                              taps, &err),
           &err);
    return g;
}

/* Prompts in the golden file. */
static int batch_of(const rig *r) {
    return (int)bl_golden_tensor(&r->golden, "te1.ids")->shape[0];
}

static void check_outputs(const rig *r, int encoder, bl_dtype dtype) {
    bool second = encoder == 1;
    const bl_clip_text_outputs wants[] = {
        {.last_hidden_state = true,
         .penultimate = true,
         .penultimate_ln = true,
         .pooled = true,
         .text_embeds = second},
        {.last_hidden_state = true},
        {.penultimate = true},
        {.penultimate_ln = true},
        {.pooled = true},
        {.text_embeds = second, .pooled = !second},
    };
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        rig_check(r, graph_of(r, encoder, batch_of(r), wants[i], dtype, NULL), second ? "te2" : "te1", dtype);
    }
}

/* Runs a graph whose inputs are the golden's prompts `row` and following; returns its only output, or all
 * outputs one behind the other. Owner: caller, free(). Frees the graph. */
static float *run(const rig *r, bl_graph *g, int encoder, int row) {
    const bl_tensor *in = bl_graph_port(g, BL_INPUT, 0), *out = bl_graph_port(g, BL_OUTPUT, 0);
    size_t each = (size_t)bl_tensor_elements(out);
    int64_t *ids = bl_golden_i64(&r->golden, encoder ? "te2.ids" : "te1.ids");
    int32_t *tokens = malloc((size_t)bl_tensor_elements(in) * sizeof *tokens);
    float *values = malloc((size_t)g->output_count * each * sizeof *values);
    void *outputs[MAX_LAYERS + 2];
    assert_true(tokens && values && g->output_count <= MAX_LAYERS + 2);
    for (int64_t i = 0; i < bl_tensor_elements(in); i++) {
        tokens[i] = (int32_t)ids[row * TOKENS + i];
    }
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = values + (size_t)i * each;
    }
    rig_run(r, g, (const void *const[]){tokens}, outputs);
    free(tokens);
    free(ids);
    bl_graph_free(&g);
    return values;
}

/* What the UNet reads: both encoders' contexts side by side. */
static void check_context(const rig *r, bl_dtype dtype) {
    const bl_file_tensor *gold = bl_golden_tensor(&r->golden, "context");
    int64_t rows = gold->shape[0] * gold->shape[1], width = gold->shape[2], column = 0;
    float *mine = malloc((size_t)(rows * width) * sizeof *mine);
    assert_non_null(mine);
    for (int encoder = 0; encoder < 2 && r->arch.text[encoder].present; encoder++) {
        bl_clip_text_outputs want = {.context = true};
        float *values = run(r, graph_of(r, encoder, batch_of(r), want, dtype, NULL), encoder, 0);
        int64_t part = r->arch.text[encoder].width;
        assert_true(column + part <= width);
        for (int64_t i = 0; i < rows; i++) {
            memcpy(mine + i * width + column, values + i * part, (size_t)part * sizeof *mine);
        }
        column += part;
        free(values);
    }
    assert_int_equal(column, width);
    bl_golden_check(&r->golden, "context", mine, rows * width, dtype);
    free(mine);
}

static void check_all(const char *family, bl_synth_layout layout, bl_dtype dtype, int threads) {
    rig r;
    rig_open(&r, family, layout, "text", threads);
    if (dtype == BL_F32 || rig_has_bf16(&r)) {
        check_outputs(&r, 0, dtype);
        if (r.arch.text[1].present) {
            check_outputs(&r, 1, dtype);
        }
        check_context(&r, dtype);
    }
    rig_close(&r);
}

static rig_checker all = {check_all};

/* All hidden states of one prompt, as taps. */
static void test_hidden_states(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r;
        rig_open(&r, rig_families[i], BL_SYNTH_SINGLE, "text", 1);
        const bl_file_tensor *gold = bl_golden_tensor(&r.golden, "te1.hidden_states_of_prompt1");
        int states = (int)gold->shape[0];
        char names[MAX_LAYERS + 1][RIG_NAME];
        const char *taps[MAX_LAYERS + 2] = {NULL};
        assert_true(states <= MAX_LAYERS + 1);
        for (int k = 0; k < states; k++) {
            rig_name(names[k], "hidden_states.%d", k);
            taps[k] = names[k];
        }
        bl_graph *g = graph_of(&r, 0, 1, (bl_clip_text_outputs){.last_hidden_state = true}, BL_F32, taps);
        assert_int_equal(g->output_count, states + 1);
        float *values = run(&r, g, 0, 1);
        bl_golden_check(&r.golden, "te1.hidden_states_of_prompt1", values, states * TOKENS * gold->shape[2],
                        BL_F32);
        free(values);
        rig_close(&r);
    }
}

/* Clip skip 2 is the last hidden state but one through the final norm; of SD2.x, counted from the layer that
 * its UNet was trained with, in both layouts. SDXL's is as it is, and 2 is its own. The own context is there
 * beside that of another layer. */
static void test_clip_skip(void **state) {
    (void)state;
    const bl_synth_layout layouts[] = {BL_SYNTH_SINGLE, BL_SYNTH_FOLDER};
    for (int i = 0; i < 4; i++) {
        rig r;
        rig_open(&r, rig_families[i / 2], layouts[i % 2], "text", 1);
        bl_clip_text_outputs want = {.context = true, .clip_skip = 2};
        float *values = run(&r, graph_of(&r, 0, batch_of(&r), want, BL_F32, NULL), 0, 0);
        bl_golden_check(&r.golden, "te1.penultimate_ln", values,
                        (int64_t)batch_of(&r) * TOKENS * r.arch.text[0].width, BL_F32);
        free(values);
        rig_close(&r);
    }
    rig r;
    rig_open(&r, "sdxl", BL_SYNTH_SINGLE, "text", 1);
    bl_clip_text_outputs want = {.context = true, .own_context = true, .clip_skip = 5};
    float *values = run(&r, graph_of(&r, 0, batch_of(&r), want, BL_F32, NULL), 0, 0);
    int64_t each = (int64_t)batch_of(&r) * TOKENS * r.arch.text[0].width;
    bl_golden_check(&r.golden, "te1.penultimate", values + each, each, BL_F32);
    free(values);
    want = (bl_clip_text_outputs){.context = true, .clip_skip = 2};
    values = run(&r, graph_of(&r, 0, batch_of(&r), want, BL_F32, NULL), 0, 0);
    bl_golden_check(&r.golden, "te1.penultimate", values, each, BL_F32);
    free(values);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG_WAYS(all),
        cmocka_unit_test(test_hidden_states),
        cmocka_unit_test(test_clip_skip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
