/* Each allocation of the public calls fails once: out of memory in its own words, or the same result without
 * it; nothing half-written, nothing leaked, and the next call works. Libraries are given memory as they like,
 * but for jansson and SQLite, which get ours.
 *
 * Of the allocations to which the same chain of our calls leads, in whichever of the public calls, one fails
 * (support/failing.h); of those every FEWth, and with the argument "all" every one. */
#include "pipeline/rig.h"

#include "support/failing.h"
#include "support/slow.h"

#include <dirent.h>
#include <sys/stat.h>

static char folder[BL_TEST_PATH], checkpoint[BL_TEST_PATH];
static bool all;

/* What a call made of its results; compared with those of an undisturbed one. */
typedef struct made {
    uint64_t sum; /* of the bytes of all results that do not hang on the clock */
    int pictures;
    int batches; /* in the report */
} made;

static bool reached; /* the allocation that was to fail */

/* What a test does with results is not tried. */
static void end_failing(void) {
    reached = bl_test_failed() || reached;
}

static void add_bytes(made *m, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) { /* FNV-1a */
        m->sum = (m->sum ^ p[i]) * 0x100000001b3u;
    }
}

static rig_studio studio;

/* ---- the calls */

typedef int attempt(made *m, ballast_error *err);

static int open_both(made *m, ballast_error *err) {
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_context_options co;
    ballast_model_options mo;
    char *json = NULL;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options_init(&mo, sizeof mo);
    co.cache_dir = folder;
    co.threads = 1;
    mo.path = checkpoint;
    int rc = ballast_context_open(&context, &co, err);
    assert_true(rc ? !context : context != NULL);
    if (!rc) {
        rc = ballast_model_open(&model, context, &mo, err);
        assert_true(rc ? !model : model != NULL);
    }
    if (!rc) {
        rc = ballast_model_inspect(&json, model, 64, 64, err);
        assert_true(rc ? !json : json != NULL);
    }
    if (!rc) {
        add_bytes(m, json, strlen(json));
    }
    ballast_string_free(&json);
    ballast_model_close(&model);
    ballast_context_close(&context);
    return rc;
}

static ballast_generate_options request(made *m) {
    ballast_generate_options o = rig_request(NULL, 64);
    o.steps = 1;
    o.image = NULL;
    o.payload = m;
    return o;
}

static int take_picture(void *payload, const ballast_image *image) {
    made *m = payload;
    add_bytes(m, image->rgb, (size_t)image->width * (size_t)image->height * 3);
    add_bytes(m, image->parameters, strlen(image->parameters));
    m->pictures++;
    return 0;
}

static int plan(made *m, ballast_error *err) {
    ballast_generate_options o = request(m);
    ballast_plan_options po;
    char *json = NULL, *text = NULL, svg[BL_TEST_PATH];
    ballast_plan_options_init(&po, sizeof po);
    bl_test_join(svg, folder, "plan.svg");
    po.compare = 1;
    po.sweep = "10M:40M:3";
    po.svg_path = svg;
    int rc = ballast_plan(&json, &text, studio.model, &o, &po, err);
    end_failing();
    assert_true(rc ? !json && !text : json && text);
    if (!rc) {
        json_t *root = json_loads(json, 0, NULL);
        m->batches = (int)json_array_size(json_object_get(root, "compare")) +
                     (int)json_array_size(json_object_get(root, "sweep")) +
                     (int)json_array_size(json_object_get(root, "phases"));
        json_decref(root);
        assert_int_equal(access(svg, F_OK), 0);
    }
    unlink(svg);
    ballast_string_free(&json);
    ballast_string_free(&text);
    return rc;
}

static int generate(made *m, ballast_generate_options *o, ballast_error *err) {
    char *report = NULL;
    o->image = take_picture;
    int rc = ballast_generate(&report, studio.model, o, err);
    end_failing();
    assert_true(rc ? !report : report != NULL);
    if (!rc) {
        json_t *root = json_loads(report, 0, NULL);
        m->batches = (int)json_array_size(json_object_get(root, "batches"));
        json_decref(root);
    }
    ballast_string_free(&report);
    return rc;
}

static int generate_one(made *m, ballast_error *err) {
    ballast_generate_options o = request(m);
    char trace[BL_TEST_PATH];
    bl_test_join(trace, folder, "trace.json");
    o.cfg = 3;
    o.sampler = "DPM++ SDE";
    o.hints = 1;
    o.verbose = 1;
    o.trace_path = trace;
    int rc = generate(m, &o, err);
    if (!rc) {
        json_t *whole = json_load_file(trace, 0, NULL);
        assert_non_null(whole);
        json_decref(whole);
    }
    unlink(trace);
    return rc;
}

/* From a picture, through pictures, in tiles, with little memory. */
static int generate_all_ways(made *m, ballast_error *err) {
    static uint8_t rgb[100 * 50 * 3];
    ballast_generate_options o = request(m);
    rig_add_hires(&o);
    o.hires_steps = 1;
    o.init_rgb = rgb;
    o.init_width = 100;
    o.init_height = 50;
    o.tiled_decode = "on";
    o.offload = "balanced";
    o.variation_strength = 0.3;
    return generate(m, &o, err);
}

static int calibrate(made *m, ballast_error *err) {
    ballast_generate_options o = request(m);
    return ballast_calibrate(studio.model, &o, err);
}

static int evaluate(made *m, ballast_error *err) {
    char inputs[BL_TEST_PATH], outputs[BL_TEST_PATH];
    (void)m;
    bl_test_data(inputs, "sd15/golden/vae.safetensors");
    bl_test_join(outputs, folder, "out.safetensors");
    int rc = ballast_eval(studio.model, "vae_decoder", inputs, outputs, 0, err);
    assert_int_equal(access(outputs, F_OK), rc ? -1 : 0);
    unlink(outputs);
    return rc;
}

static int files(made *m, ballast_error *err) {
    static const uint8_t rgb[8 * 8 * 3];
    static const float values[4 * 2 * 2];
    const int shape[4] = {1, 4, 2, 2};
    char png[BL_TEST_PATH], latents[BL_TEST_PATH];
    uint8_t *back = NULL, *encoded = NULL;
    float *data = NULL;
    size_t bytes = 0;
    int width = 0, height = 0, got[4] = {0};
    ballast_png_options o;
    (void)m;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = rgb;
    o.width = o.height = 8;
    o.parameters = "a cat\nSteps: 1";
    bl_test_join(png, folder, "a.png");
    bl_test_join(latents, folder, "a.safetensors");
    int rc = ballast_image_encode_png(&encoded, &bytes, &o, err);
    rc = rc ? rc : ballast_image_write_png(&o, png, 0, err);
    rc = rc ? rc : ballast_image_read_png(&back, &width, &height, png, err);
    rc = rc ? rc : ballast_latents_write(values, shape, latents, 0, err);
    rc = rc ? rc : ballast_latents_read(&data, got, latents, NULL, err);
    assert_true(rc || (encoded && back && data && width == 8 && got[3] == 2));
    ballast_bytes_free(&encoded);
    ballast_bytes_free(&back);
    ballast_floats_free(&data);
    unlink(png);
    unlink(latents);
    return rc;
}

/* ---- trying them */

/* Files in the folder besides those that a cache keeps. */
static int strays(void) {
    DIR *d = opendir(folder);
    int count = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        count += e->d_name[0] != '.' ? strncmp(e->d_name, "calibration-", 12) && strcmp(e->d_name, "hashes")
                                     : strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    }
    closedir(d);
    return count;
}

#define ROOM 100000
#define FEW 7

/* Allocation `n` fails; true where the call did without it. */
static bool fail_at(const char *name, attempt *call, const made *wanted, long n) {
    made got = {0};
    ballast_error err = {0};
    reached = false;
    bl_test_fail(n);
    int rc = call(&got, &err);
    end_failing();
    if (rc ? rc != BALLAST_E_MEMORY || err.code != rc || !strstr(err.message, "out of memory")
           : memcmp(&got, wanted, sizeof got) != 0) {
        fail_msg("%s, allocation %ld: code %d, %s (sum %d)", name, n, rc, err.message,
                 got.sum != wanted->sum);
    }
    if (strays()) {
        fail_msg("%s, allocation %ld: something is left behind", name, n);
    }
    return reached && !rc;
}

static void fail_each(const char *name, attempt *call) {
    static long numbers[ROOM];
    made wanted = {0}, watched = {0};
    ballast_error err = {0};
    long tried = 0, lived = 0;
    if (call(&wanted, &err)) {
        fail_msg("%s: %s", name, err.message);
    }
    bl_test_watch();
    assert_int_equal(call(&watched, &err), 0);
    long count = bl_test_allocations(), worth = bl_test_ways(numbers, ROOM);
    long stride = all ? 1 : bl_test_slow() ? 3 * FEW : FEW;
    for (long i = 0; i < worth; i += stride, tried++) {
        lived += fail_at(name, call, &wanted, numbers[i]);
    }
    fail_at(name, call, &wanted, -1); /* and then all is well */
    print_message("%s: %ld allocations, %ld of them worth failing, %ld tried, done without %ld\n", name,
                  count, worth, tried, lived);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    fail_each("files", files);
    fail_each("opening", open_both);
    fail_each("plan", plan);
    fail_each("generate", generate_one);
    fail_each("generate in all ways", generate_all_ways);
    fail_each("calibrate", calibrate);
    fail_each("evaluate", evaluate);
}

static int open_studio(void **state) {
    (void)state;
    bl_test_folder(folder);
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE_F16);
    rig_open(&studio, checkpoint, "f32", folder);
    bl_test_fail_json(true);
    return 0;
}

static int close_studio(void **state) {
    (void)state;
    bl_test_fail_json(false);
    rig_close(&studio);
    bl_test_folder_remove(folder);
    return 0;
}

int main(int argc, char **argv) {
    all = argc > 1 && !strcmp(argv[1], "all");
    if (!bl_test_fail_sqlite()) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, open_studio, close_studio);
}
