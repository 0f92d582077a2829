/* Every pointer of every public function, NULL in turn: refused by its name, or allowed as the header says,
 * and what would have come out is NULL or 0. */
#include "studio.h"

#include <ctype.h>

/* What the calls are given; all is set anew before each. */
static studio shop;
static ballast_context *context;
static ballast_model *model;
static ballast_context_options context_options;
static ballast_model_options model_options;
static ballast_generate_options request;
static ballast_placement_options placement_options;
static ballast_plan_options plan_options;
static ballast_tune_options tune_options;
static ballast_generate_options unwanted; /* stopped before any work */
static ballast_png_options png_options;
static char *text, *more_text;
static uint8_t *bytes;
static float *floats;
static size_t size;
static int width, height, transparent, shape[4];
static const int one_shape[4] = {1, 4, 1, 1};
static const uint8_t pixels[4 * 4 * 3];
static const char *found;
static const float latents[4];

static char *const junk = (char *)"junk";

static int stop(void *payload, const ballast_progress *p) {
    (void)payload, (void)p;
    return 1;
}

static void set_all(void) {
    static char path[BL_TEST_PATH];
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE);
    context_options = studio_options(&shop);
    ballast_model_options_init(&model_options, sizeof model_options);
    model_options.path = path;
    request = studio_request();
    request.steps = 1;
    ballast_placement_options_init(&placement_options, sizeof placement_options);
    ballast_plan_options_init(&plan_options, sizeof plan_options);
    ballast_tune_options_init(&tune_options, sizeof tune_options);
    unwanted = request;
    unwanted.progress = stop;
    ballast_png_options_init(&png_options, sizeof png_options);
    png_options.rgb = pixels;
    png_options.width = png_options.height = 4;
    context = (ballast_context *)(void *)junk;
    model = (ballast_model *)(void *)junk;
    text = more_text = junk;
    bytes = (uint8_t *)junk;
    floats = (float *)(void *)junk;
    size = 99;
    width = height = 99;
    for (int i = 0; i < 4; i++) {
        shape[i] = 99;
    }
}

/* Bits of what comes out of a call. */
enum {
    CONTEXT = 1,
    MODEL = 2,
    TEXT = 4,
    MORE = 8,
    BYTES = 16,
    SIZE = 32,
    SIDES = 64,
    FLOATS = 128,
    SHAPE = 256
};

static void expect_empty(const char *function, const char *argument, int out) {
    bool empty = (!(out & CONTEXT) || !context) && (!(out & MODEL) || !model) && (!(out & TEXT) || !text) &&
                 (!(out & MORE) || !more_text) && (!(out & BYTES) || !bytes) && (!(out & SIZE) || !size) &&
                 (!(out & SIDES) || (!width && !height)) && (!(out & FLOATS) || !floats) &&
                 (!(out & SHAPE) || (!shape[0] && !shape[1] && !shape[2] && !shape[3]));
    if (!empty) {
        fail_msg("%s(%s NULL): something came out", function, argument);
    }
}

static void free_all(int out) {
    if (out & CONTEXT) {
        ballast_context_close(&context);
    }
    if (out & MODEL) {
        ballast_model_close(&model);
    }
    if (out & TEXT) {
        ballast_string_free(&text);
    }
    if (out & MORE) {
        ballast_string_free(&more_text);
    }
    if (out & BYTES) {
        ballast_bytes_free(&bytes);
    }
}

static int no_entry(void *payload, const char *key, const char *value) {
    (void)payload;
    return !key || !value;
}

#define NOTHING(call) (call, 0)
/* function, argument, code, what comes out, the call */
#define ROWS                                                                                                 \
    ROW(ballast_string_free, text, 0, 0, NOTHING(ballast_string_free(NULL)))                                 \
    ROW(ballast_bytes_free, bytes, 0, 0, NOTHING(ballast_bytes_free(NULL)))                                  \
    ROW(ballast_floats_free, data, 0, 0, NOTHING(ballast_floats_free(NULL)))                                 \
    ROW(ballast_context_options_init, options, 0, 0, NOTHING(ballast_context_options_init(NULL, 64)))        \
    ROW(ballast_model_options_init, options, 0, 0, NOTHING(ballast_model_options_init(NULL, 64)))            \
    ROW(ballast_generate_options_init, options, 0, 0, NOTHING(ballast_generate_options_init(NULL, 64)))      \
    ROW(ballast_placement_options_init, options, 0, 0, NOTHING(ballast_placement_options_init(NULL, 64)))    \
    ROW(ballast_plan_options_init, options, 0, 0, NOTHING(ballast_plan_options_init(NULL, 64)))              \
    ROW(ballast_tune_options_init, options, 0, 0, NOTHING(ballast_tune_options_init(NULL, 64)))              \
    ROW(ballast_tuned, json, -1, 0, ballast_tuned(NULL, shop.context, err))                                  \
    ROW(ballast_tuned, context, -1, TEXT, ballast_tuned(&text, NULL, err))                                   \
    ROW(ballast_tuned_forget, count, 0, 0, ballast_tuned_forget(NULL, shop.context, NULL, err))              \
    ROW(ballast_tuned_forget, context, -1, 0, ballast_tuned_forget(NULL, NULL, NULL, err))                   \
    ROW(ballast_tuned_forget, model, 0, 0, ballast_tuned_forget(NULL, shop.context, NULL, err))              \
    ROW(ballast_tuned_import, count, BALLAST_E_FORMAT, 0,                                                    \
        ballast_tuned_import(NULL, shop.context, "{}", err))                                                 \
    ROW(ballast_tuned_import, context, -1, 0, ballast_tuned_import(NULL, NULL, "{}", err))                   \
    ROW(ballast_tuned_import, json, -1, 0, ballast_tuned_import(NULL, shop.context, NULL, err))              \
    ROW(ballast_tune, json, BALLAST_E_CANCELLED, MORE,                                                       \
        ballast_tune(NULL, &more_text, shop.model, &unwanted, &tune_options, err))                           \
    ROW(ballast_tune, text, BALLAST_E_CANCELLED, TEXT,                                                       \
        ballast_tune(&text, NULL, shop.model, &unwanted, &tune_options, err))                                \
    ROW(ballast_tune, model, -1, TEXT | MORE,                                                                \
        ballast_tune(&text, &more_text, NULL, &request, &tune_options, err))                                 \
    ROW(ballast_tune, options, -1, TEXT | MORE,                                                              \
        ballast_tune(&text, &more_text, shop.model, NULL, &tune_options, err))                               \
    ROW(ballast_tune, tune, BALLAST_E_CANCELLED, TEXT | MORE,                                                \
        ballast_tune(&text, &more_text, shop.model, &unwanted, NULL, err))                                   \
    ROW(ballast_expected_init, expected, 0, 0, NOTHING(ballast_expected_init(NULL, 64)))                     \
    ROW(ballast_adapters_list, json, -1, 0, ballast_adapters_list(NULL, "", err))                            \
    ROW(ballast_adapters_list, folders, -1, TEXT, ballast_adapters_list(&text, NULL, err))                   \
    ROW(ballast_embeddings_list, json, -1, 0, ballast_embeddings_list(NULL, "", err))                        \
    ROW(ballast_embeddings_list, folders, -1, TEXT, ballast_embeddings_list(&text, NULL, err))               \
    ROW(ballast_adapter_inspect, json, -1, 0, ballast_adapter_inspect(NULL, "x", err))                       \
    ROW(ballast_adapter_inspect, path, -1, TEXT, ballast_adapter_inspect(&text, NULL, err))                  \
    ROW(ballast_embedding_inspect, json, -1, 0, ballast_embedding_inspect(NULL, "x", err))                   \
    ROW(ballast_embedding_inspect, path, -1, TEXT, ballast_embedding_inspect(&text, NULL, err))              \
    ROW(ballast_taesd_inspect, json, -1, 0, ballast_taesd_inspect(NULL, "x", err))                           \
    ROW(ballast_taesd_inspect, path, -1, TEXT, ballast_taesd_inspect(&text, NULL, err))                      \
    ROW(ballast_adapter_init, adapter, 0, 0, NOTHING(ballast_adapter_init(NULL, 64)))                        \
    ROW(ballast_png_options_init, options, 0, 0, NOTHING(ballast_png_options_init(NULL, 64)))                \
    ROW(ballast_devices, json, -1, 0, ballast_devices(NULL, err))                                            \
    ROW(ballast_context_describe, json, -1, 0, ballast_context_describe(NULL, shop.context, err))            \
    ROW(ballast_context_describe, context, -1, TEXT, ballast_context_describe(&text, NULL, err))             \
    ROW(ballast_context_open, out, -1, 0, ballast_context_open(NULL, &context_options, err))                 \
    ROW(ballast_context_open, options, 0, CONTEXT, ballast_context_open(&context, NULL, err))                \
    ROW(ballast_context_close, context, 0, 0, ballast_context_close(NULL))                                   \
    ROW(ballast_context_place, context, -1, 0, ballast_context_place(NULL, &placement_options, err))         \
    ROW(ballast_context_place, options, 0, 0, ballast_context_place(shop.context, NULL, err))                \
    ROW(ballast_model_open, out, -1, 0, ballast_model_open(NULL, shop.context, &model_options, err))         \
    ROW(ballast_model_open, context, -1, MODEL, ballast_model_open(&model, NULL, &model_options, err))       \
    ROW(ballast_model_open, options, -1, MODEL, ballast_model_open(&model, shop.context, NULL, err))         \
    ROW(ballast_model_close, model, 0, 0, ballast_model_close(NULL))                                         \
    ROW(ballast_model_residency, json, -1, 0, ballast_model_residency(NULL, shop.model, err))                \
    ROW(ballast_model_residency, model, -1, TEXT, ballast_model_residency(&text, NULL, err))                 \
    ROW(ballast_model_release, model, -1, 0, ballast_model_release(NULL, err))                               \
    ROW(ballast_cancel, model, 0, 0, ballast_cancel(NULL))                                                   \
    ROW(ballast_model_inspect, json, -1, 0, ballast_model_inspect(NULL, shop.model, 0, 0, err))              \
    ROW(ballast_model_inspect, model, -1, TEXT, ballast_model_inspect(&text, NULL, 0, 0, err))               \
    ROW(ballast_generate, report, 0, 0, ballast_generate(NULL, shop.model, &request, err))                   \
    ROW(ballast_generate, model, -1, TEXT, ballast_generate(&text, NULL, &request, err))                     \
    ROW(ballast_generate, options, -1, TEXT, ballast_generate(&text, shop.model, NULL, err))                 \
    ROW(ballast_plan, json, 0, MORE,                                                                         \
        ballast_plan(NULL, &more_text, shop.model, &request, &plan_options, err))                            \
    ROW(ballast_plan, text, 0, TEXT, ballast_plan(&text, NULL, shop.model, &request, &plan_options, err))    \
    ROW(ballast_plan, model, -1, TEXT | MORE, ballast_plan(&text, &more_text, NULL, &request, NULL, err))    \
    ROW(ballast_plan, options, -1, TEXT | MORE,                                                              \
        ballast_plan(&text, &more_text, shop.model, NULL, NULL, err))                                        \
    ROW(ballast_plan, plan, 0, TEXT | MORE,                                                                  \
        ballast_plan(&text, &more_text, shop.model, &request, NULL, err))                                    \
    ROW(ballast_calibrate, model, -1, 0, ballast_calibrate(NULL, &request, err))                             \
    ROW(ballast_calibrate, options, -1, 0, ballast_calibrate(shop.model, NULL, err))                         \
    ROW(ballast_eval, model, -1, 0, ballast_eval(NULL, "unet", "in", "out", 0, err))                         \
    ROW(ballast_eval, module, -1, 0, ballast_eval(shop.model, NULL, "in", "out", 0, err))                    \
    ROW(ballast_eval, inputs_path, -1, 0, ballast_eval(shop.model, "unet", NULL, "out", 0, err))             \
    ROW(ballast_eval, outputs_path, -1, 0, ballast_eval(shop.model, "unet", "in", NULL, 0, err))             \
    ROW(ballast_eval_adapted, model, -1, 0,                                                                  \
        ballast_eval_adapted(NULL, "unet", "in", "out", 0, NULL, 0, err))                                    \
    ROW(ballast_eval_adapted, module, -1, 0,                                                                 \
        ballast_eval_adapted(shop.model, NULL, "in", "out", 0, NULL, 0, err))                                \
    ROW(ballast_eval_adapted, inputs_path, -1, 0,                                                            \
        ballast_eval_adapted(shop.model, "unet", NULL, "out", 0, NULL, 0, err))                              \
    ROW(ballast_eval_adapted, outputs_path, -1, 0,                                                           \
        ballast_eval_adapted(shop.model, "unet", "in", NULL, 0, NULL, 0, err))                               \
    ROW(ballast_eval_adapted, adapters, -1, 0,                                                               \
        ballast_eval_adapted(shop.model, "unet", "in", "out", 0, NULL, 1, err))                              \
    ROW(ballast_image_encode_png, png, -1, 0, ballast_image_encode_png(NULL, &size, &png_options, err))      \
    ROW(ballast_image_encode_png, bytes, -1, BYTES,                                                          \
        ballast_image_encode_png(&bytes, NULL, &png_options, err))                                           \
    ROW(ballast_image_encode_png, options, -1, BYTES | SIZE,                                                 \
        ballast_image_encode_png(&bytes, &size, NULL, err))                                                  \
    ROW(ballast_image_write_png, options, -1, 0, ballast_image_write_png(NULL, "x.png", 0, err))             \
    ROW(ballast_image_write_png, path, -1, 0, ballast_image_write_png(&png_options, NULL, 0, err))           \
    ROW(ballast_image_read_png, rgb, -1, 0, ballast_image_read_png(NULL, &width, &height, "x.png", err))     \
    ROW(ballast_image_read_png, width, -1, BYTES,                                                            \
        ballast_image_read_png(&bytes, NULL, &height, "x.png", err))                                         \
    ROW(ballast_image_read_png, height, -1, BYTES,                                                           \
        ballast_image_read_png(&bytes, &width, NULL, "x.png", err))                                          \
    ROW(ballast_image_read_png, path, -1, BYTES | SIDES,                                                     \
        ballast_image_read_png(&bytes, &width, &height, NULL, err))                                          \
    ROW(ballast_image_decode, rgb, -1, 0,                                                                    \
        ballast_image_decode(NULL, &width, &height, &text, &transparent, junk, 4, 0, err))                   \
    ROW(ballast_image_decode, width, -1, BYTES | TEXT,                                                       \
        ballast_image_decode(&bytes, NULL, &height, &text, &transparent, junk, 4, 0, err))                   \
    ROW(ballast_image_decode, height, -1, BYTES | TEXT,                                                      \
        ballast_image_decode(&bytes, &width, NULL, &text, &transparent, junk, 4, 0, err))                    \
    ROW(ballast_image_decode, parameters, BALLAST_E_FORMAT, BYTES | SIDES,                                   \
        ballast_image_decode(&bytes, &width, &height, NULL, &transparent, junk, 4, 0, err))                  \
    ROW(ballast_image_decode, data, -1, BYTES | SIDES | TEXT,                                                \
        ballast_image_decode(&bytes, &width, &height, &text, &transparent, NULL, 4, 0, err))                 \
    ROW(ballast_image_decode, transparent, BALLAST_E_FORMAT, BYTES | SIDES | TEXT,                           \
        ballast_image_decode(&bytes, &width, &height, &text, NULL, junk, 4, 0, err))                         \
    ROW(ballast_parameters_read, text, -1, 0, ballast_parameters_read(NULL, no_entry, NULL, err))            \
    ROW(ballast_parameters_read, entry, -1, 0, ballast_parameters_read("a", NULL, NULL, err))                \
    ROW(ballast_parameters_read, payload, 0, 0, ballast_parameters_read("a", no_entry, NULL, err))           \
    ROW(ballast_image_write, options, -1, 0, ballast_image_write(NULL, "png", 0, "x.png", 0, err))           \
    ROW(ballast_image_write, form, -1, 0, ballast_image_write(&png_options, NULL, 0, "x.png", 0, err))       \
    ROW(ballast_image_write, path, -1, 0, ballast_image_write(&png_options, "png", 0, NULL, 0, err))         \
    ROW(ballast_image_encode, file, -1, 0, ballast_image_encode(NULL, &size, "webp", 80, &png_options, err)) \
    ROW(ballast_image_encode, bytes, -1, BYTES,                                                              \
        ballast_image_encode(&bytes, NULL, "webp", 80, &png_options, err))                                   \
    ROW(ballast_image_encode, form, -1, BYTES | SIZE,                                                        \
        ballast_image_encode(&bytes, &size, NULL, 80, &png_options, err))                                    \
    ROW(ballast_image_encode, options, -1, BYTES | SIZE,                                                     \
        ballast_image_encode(&bytes, &size, "webp", 80, NULL, err))                                          \
    ROW(ballast_image_resize, rgb, -1, 0, ballast_image_resize(NULL, 8, 8, pixels, 4, 4, "Box", err))        \
    ROW(ballast_image_resize, in, -1, BYTES, ballast_image_resize(&bytes, 8, 8, NULL, 4, 4, "Box", err))     \
    ROW(ballast_image_resize, upscaler, -1, BYTES,                                                           \
        ballast_image_resize(&bytes, 8, 8, pixels, 4, 4, NULL, err))                                         \
    ROW(ballast_sampler_find, sampler, -1, 0, ballast_sampler_find(NULL, &found, "Euler", err))              \
    ROW(ballast_sampler_find, schedule, 0, 0, ballast_sampler_find(&found, NULL, "Euler", err))              \
    ROW(ballast_sampler_find, name, -1, 0, ballast_sampler_find(&found, NULL, NULL, err))                    \
    ROW(ballast_sampler_takes, name, 0, 0, ballast_sampler_takes(NULL, "eta"))                               \
    ROW(ballast_sampler_takes, option, 0, 0, ballast_sampler_takes("Euler a", NULL))                         \
    ROW(ballast_schedule_find, schedule, -1, 0, ballast_schedule_find(NULL, "karras", err))                  \
    ROW(ballast_schedule_find, name, -1, 0, ballast_schedule_find(&found, NULL, err))                        \
    ROW(ballast_latents_read, data, -1, 0, ballast_latents_read(NULL, shape, "x", "latents", err))           \
    ROW(ballast_latents_read, shape, -1, FLOATS, ballast_latents_read(&floats, NULL, "x", "latents", err))   \
    ROW(ballast_latents_read, path, -1, FLOATS | SHAPE,                                                      \
        ballast_latents_read(&floats, shape, NULL, NULL, err))                                               \
    ROW(ballast_latents_read, tensor, BALLAST_E_NOT_FOUND, FLOATS | SHAPE,                                   \
        ballast_latents_read(&floats, shape, "x", NULL, err))                                                \
    ROW(ballast_latents_write, data, -1, 0, ballast_latents_write(NULL, one_shape, "x", 0, err))             \
    ROW(ballast_latents_write, shape, -1, 0, ballast_latents_write(latents, NULL, "x", 0, err))              \
    ROW(ballast_latents_write, path, -1, 0, ballast_latents_write(latents, one_shape, NULL, 0, err))

#define ROW(function, argument, code, out, call)                 \
    static int try_##function##_##argument(ballast_error *err) { \
        (void)err;                                               \
        return call;                                             \
    }
ROWS
#undef ROW

    typedef struct row {
    const char *function, *argument;
    int code, out;
    int (*call)(ballast_error *err);
} row;

#define ROW(function, argument, code, out, call) \
    {#function, #argument, code, out, try_##function##_##argument},
static const row rows[] = {ROWS};
#undef ROW
#define ROW_COUNT (sizeof rows / sizeof *rows)

static void test_null(void **state) {
    (void)state;
    studio_open(&shop);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const row *r = &rows[i];
        for (int silent = 0; silent < 2; silent++) {
            ballast_error err = {0};
            set_all();
            int code = r->call(silent ? NULL : &err);
            if (code != r->code) {
                fail_msg("%s(%s NULL): %d, not %d: %s", r->function, r->argument, code, r->code, err.message);
            }
            if (code) {
                expect_empty(r->function, r->argument, r->out);
            } else {
                free_all(r->out);
            }
            if (code == BALLAST_E_ARGUMENT && !silent) {
                char name[64];
                snprintf(name, sizeof name, "`%s` is NULL", r->argument);
                assert_int_equal(err.code, code);
                EXPECT_SAYS(&err, r->function, name);
            }
        }
    }
    studio_close(&shop);
}

/* ---- is every pointer in the table? */

static bool is_listed(const char *function, const char *argument) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (!strcmp(rows[i].function, function) && !strcmp(rows[i].argument, argument)) {
            return true;
        }
    }
    return false;
}

/* The name that ends at `end`: of a function before its bracket, of an argument before a comma. */
static void name_before(char *out, size_t room, const char *begin, const char *end) {
    while (end > begin && !isalnum((unsigned char)end[-1]) && end[-1] != '_') {
        end--;
    }
    const char *start = end;
    while (start > begin && (isalnum((unsigned char)start[-1]) || start[-1] == '_')) {
        start--;
    }
    snprintf(out, room, "%.*s", (int)(end - start), start);
}

static int check_declaration(const char *declaration) {
    const char *open = strchr(declaration, '('), *close = strchr(open, ')');
    char function[64], argument[64];
    int pointers = 0;
    name_before(function, sizeof function, declaration, open);
    for (const char *p = open + 1; p < close;) {
        size_t length = strcspn(p, ",)");
        const char *array = memchr(p, '[', length);
        name_before(argument, sizeof argument, p, array ? array : p + length);
        if ((array || memchr(p, '*', length)) && strcmp(argument, "err") != 0) {
            pointers++;
            if (!is_listed(function, argument)) {
                fail_msg("%s: nothing tries `%s` as NULL", function, argument);
            }
        }
        p += length + 1;
    }
    return pointers;
}

static void test_table_is_whole(void **state) {
    char *header = rig_read(SOURCE_FOLDER "/include/ballast.h", NULL);
    size_t pointers = 0;
    (void)state;
    for (char *p = header; (p = strstr(p, "\nBALLAST_API ")); p++) {
        pointers += (size_t)check_declaration(p);
    }
    assert_int_equal(pointers, ROW_COUNT);
    free(header);
}

/* ---- structs that are filled by half */

static void expect_refused(int code, const ballast_error *err, const char *piece) {
    assert_int_equal(code, BALLAST_E_ARGUMENT);
    EXPECT_SAYS(err, piece);
}

static void test_half_filled(void **state) {
    ballast_error err;
    (void)state;
    studio_open(&shop);
    set_all();
    model_options.path = NULL;
    expect_refused(ballast_model_open(&model, shop.context, &model_options, &err), &err, "model: no file");
    assert_null(model);
    set_all();
    model_options.text_encoder_count = 1;
    expect_refused(ballast_model_open(&model, shop.context, &model_options, &err), &err,
                   "text_encoder_paths is NULL");
    request.prompt = NULL;
    expect_refused(ballast_generate(&text, shop.model, &request, &err), &err, "prompt");
    assert_null(text);
    set_all();
    request.init_rgb = pixels;
    expect_refused(ballast_generate(&text, shop.model, &request, &err), &err, "init image: 0x0");
    set_all();
    request.latents = latents;
    expect_refused(ballast_generate(&text, shop.model, &request, &err), &err, "latents: [0, 4, 0, 0]");
    set_all();
    plan_options.svg_path = "x.svg";
    expect_refused(ballast_plan(&text, NULL, shop.model, &request, &plan_options, &err), &err, "svg");
    assert_null(text);
    set_all();
    plan_options.advise = "sdwebui";
    expect_refused(ballast_plan(&text, NULL, shop.model, &request, &plan_options, &err), &err,
                   "advise: no program \"sdwebui\"");
    assert_null(text);
    set_all();
    png_options.rgb = NULL;
    expect_refused(ballast_image_encode_png(&bytes, &size, &png_options, &err), &err, "`rgb` is NULL");
    set_all();
    png_options.height = 0;
    expect_refused(ballast_image_write_png(&png_options, "x.png", 0, &err), &err, "4 x 0");
    const int no_shape[4] = {1, 4, -1, 1};
    expect_refused(ballast_latents_write(latents, no_shape, "x", 0, &err), &err, "[1, 4, -1, 1]");
    /* all that is left at 0 by a program that only sets the size: named, one after the other */
    ballast_generate_options zero = {.struct_size = sizeof zero, .prompt = ""};
    expect_refused(ballast_generate(&text, shop.model, &zero, &err), &err, "batch: 0");
    assert_int_equal(rig_files("x"), 0);
    studio_close(&shop);
}

/* A NULL text is its default: the same picture's plan. */
static void test_null_texts(void **state) {
    ballast_error err;
    (void)state;
    studio_open(&shop);
    set_all();
    request.sampler = request.rng = request.compat = request.hires_upscaler = request.offload =
        request.tiled_decode = NULL;
    assert_int_equal(ballast_generate(&text, shop.model, &request, &err), 0);
    expect_contains(text, "\"sampler\": \"DPM++ 2M\"");
    ballast_string_free(&text);
    context_options.isa = context_options.device = NULL;
    assert_int_equal(ballast_context_open(&context, &context_options, &err), 0);
    model_options.dtype = model_options.prediction = NULL;
    assert_int_equal(ballast_model_open(&model, context, &model_options, &err), 0);
    ballast_model_close(&model);
    ballast_context_close(&context);
    studio_close(&shop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_table_is_whole),
        cmocka_unit_test(test_half_filled),
        cmocka_unit_test(test_null_texts),
    };
    return cmocka_run_group_tests_name("api.arguments", tests, rig_open, rig_close);
}
