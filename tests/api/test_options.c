/* Option structs of programs that were built with another version of the header: shorter ones, longer ones,
 * and what is none. */
#include "studio.h"

/* One struct that programs fill: its functions, and a call that reads it and does as little as it can. */
typedef struct kind {
    const char *name;
    size_t size;
    void (*init)(void *options, size_t struct_size);
    int (*call)(studio *s, const void *options, ballast_error *err);
} kind;

static void init_context(void *o, size_t size) {
    ballast_context_options_init(o, size);
}
static void init_model(void *o, size_t size) {
    ballast_model_options_init(o, size);
}
static void init_generate(void *o, size_t size) {
    ballast_generate_options_init(o, size);
}
static void init_placement(void *o, size_t size) {
    ballast_placement_options_init(o, size);
}
static void init_plan(void *o, size_t size) {
    ballast_plan_options_init(o, size);
}
static void init_png(void *o, size_t size) {
    ballast_png_options_init(o, size);
}

static void init_expected(void *o, size_t size) {
    ballast_expected_init(o, size);
}

static int call_context(studio *s, const void *o, ballast_error *err) {
    ballast_context *c;
    (void)s;
    int result = ballast_context_open(&c, o, err);
    ballast_context_close(&c);
    return result;
}
static int call_model(studio *s, const void *o, ballast_error *err) {
    ballast_model *m;
    int result = ballast_model_open(&m, s->context, o, err);
    ballast_model_close(&m);
    return result;
}
static int call_generate(studio *s, const void *o, ballast_error *err) {
    return ballast_generate(NULL, s->model, o, err);
}
static int call_placement(studio *s, const void *o, ballast_error *err) {
    return ballast_context_place(s->context, o, err);
}
static int call_plan(studio *s, const void *o, ballast_error *err) {
    ballast_generate_options g = studio_request();
    return ballast_plan(NULL, NULL, s->model, &g, o, err);
}
static int call_png(studio *s, const void *o, ballast_error *err) {
    uint8_t *png;
    size_t bytes;
    (void)s;
    int result = ballast_image_encode_png(&png, &bytes, o, err);
    ballast_bytes_free(&png);
    return result;
}

static int call_expected(studio *s, const void *o, ballast_error *err) {
    ballast_generate_options g = studio_request();
    g.next = o;
    g.next_count = 1;
    return ballast_plan(NULL, NULL, s->model, &g, NULL, err);
}

static const kind kinds[] = {
    {"ballast_context_options", sizeof(ballast_context_options), init_context, call_context},
    {"ballast_model_options", sizeof(ballast_model_options), init_model, call_model},
    {"ballast_generate_options", sizeof(ballast_generate_options), init_generate, call_generate},
    {"ballast_placement_options", sizeof(ballast_placement_options), init_placement, call_placement},
    {"ballast_plan_options", sizeof(ballast_plan_options), init_plan, call_plan},
    {"ballast_expected", sizeof(ballast_expected), init_expected, call_expected},
    {"ballast_png_options", sizeof(ballast_png_options), init_png, call_png},
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* Nothing is written behind the caller's struct, and what is there are the same defaults. */
static void test_init_writes_no_more(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        unsigned char whole[1024] = {0}, part[1024];
        kinds[k].init(whole, kinds[k].size);
        for (size_t size = sizeof size; size <= kinds[k].size + 64; size += sizeof(void *)) {
            size_t said;
            memset(part, 0xA5, sizeof part);
            kinds[k].init(part, size);
            memcpy(&said, part, sizeof said);
            assert_int_equal(said, size);
            assert_memory_equal(part + sizeof said, whole + sizeof said,
                                (size < kinds[k].size ? size : kinds[k].size) - sizeof said);
            for (size_t i = kinds[k].size; i < size; i++) {
                assert_int_equal(part[i], 0);
            }
            for (size_t i = size; i < sizeof part; i++) {
                assert_int_equal(part[i], 0xA5);
            }
        }
        memset(part, 0xA5, sizeof part);
        kinds[k].init(part, 3); /* not even room for its size */
        kinds[k].init(NULL, kinds[k].size);
        assert_int_equal(part[0], 0xA5);
    }
}

/* What is no size of a struct, and a field that only a newer library knows. */
static void test_refusals(void **state) {
    static const size_t none[] = {0, 1, 7, sizeof(size_t), sizeof(ballast_plan_options) - 1, 4104, SIZE_MAX};
    studio s;
    ballast_error err;
    (void)state;
    studio_open(&s);
    for (size_t k = 0; k < KINDS; k++) {
        unsigned char larger[1024];
        for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
            kinds[k].init(larger, sizeof larger);
            memcpy(larger, &none[i], sizeof none[i]);
            assert_int_equal(kinds[k].call(&s, larger, &err), BALLAST_E_ARGUMENT);
            EXPECT_SAYS(&err, kinds[k].name, "struct_size", "_init");
        }
        for (size_t at = kinds[k].size; at < sizeof larger; at += 97) {
            kinds[k].init(larger, sizeof larger);
            larger[at] = 1;
            assert_int_equal(kinds[k].call(&s, larger, &err), BALLAST_E_ARGUMENT);
            EXPECT_SAYS(&err, kinds[k].name, "newer version");
        }
    }
    studio_close(&s);
}

/* A struct of the caller's own size, on the heap, so that a sanitizer sees who reads behind it. */
static void *shortened(const void *options, size_t size) {
    void *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, options, size);
    memcpy(copy, &size, sizeof size);
    return copy;
}

static int take_sum(void *payload, const ballast_image *image) {
    uint64_t *sum = payload;
    for (int i = 0; i < 3 * image->width * image->height; i++) {
        *sum = *sum * 31 + image->rgb[i];
    }
    return 0;
}

static uint64_t picture(const studio *s, const ballast_generate_options *o, uint64_t *sum) {
    ballast_error err = {0};
    *sum = 0;
    if (ballast_generate(NULL, s->model, o, &err)) {
        fail_msg("%s", err.message);
    }
    return *sum;
}

/* Shorter and longer structs give the same picture; what the shorter one ends before has its default. */
static void test_other_sizes(void **state) {
    const size_t size = sizeof(ballast_generate_options);
    studio s;
    uint64_t sum = 0;
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    ballast_generate_options o = studio_request();
    o.image = take_sum;
    o.payload = &sum;
    uint64_t wanted = picture(&s, &o, &sum);
    unsigned char larger[1024];
    ballast_generate_options_init((ballast_generate_options *)(void *)larger, sizeof larger);
    memcpy(larger + sizeof size, (const unsigned char *)&o + sizeof size, size - sizeof size);
    assert_true(picture(&s, (ballast_generate_options *)(void *)larger, &sum) == wanted);

    /* with a second pass the request differs; a program whose header had none gets none */
    o.hires_scale = 1.5;
    assert_true(picture(&s, &o, &sum) != wanted);
    o.image = NULL; /* is cut off, too */
    ballast_generate_options *old = shortened(&o, offsetof(ballast_generate_options, init_rgb));
    char *report = NULL;
    if (ballast_generate(&report, s.model, old, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *object = json_loads(report, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(object, "width")), SIDE);
    json_decref(object);
    ballast_string_free(&report);
    free(old);
    studio_close(&s);
}

/* Plans with a list of what is expected whose entries are `size` bytes, each a copy of `x`. */
static int plan_with(const studio *s, const ballast_expected *x, size_t size, ballast_error *err) {
    unsigned char list[3 * 256] = {0};
    ballast_generate_options o = studio_request();
    for (size_t i = 0; i < 3; i++) {
        memcpy(list + i * size, x, size < sizeof *x ? size : sizeof *x);
        memcpy(list + i * size, &size, sizeof size);
    }
    o.next = (const ballast_expected *)(const void *)list;
    o.next_count = 3;
    return ballast_plan(NULL, NULL, s->model, &o, NULL, err);
}

/* A list's entries lie as far apart as they are long in their own version; one that ends before the
 * likelihood is certain. */
static void test_lists(void **state) {
    studio s;
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    ballast_generate_options next = studio_request();
    ballast_expected x, pair[2];
    ballast_expected_init(&x, sizeof x);
    x.model = s.model;
    x.options = &next;
    assert_int_equal(plan_with(&s, &x, sizeof x, &err), 0);
    assert_int_equal(plan_with(&s, &x, 256, &err), 0);
    assert_int_equal(plan_with(&s, &x, offsetof(ballast_expected, likelihood), &err), 0);
    pair[0] = pair[1] = x;
    pair[1].struct_size -= sizeof(double);
    next.next = pair;
    next.next_count = 2;
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &next, NULL, &err), BALLAST_E_ARGUMENT);
    EXPECT_SAYS(&err, "next[1]", "struct_size");
    studio_close(&s);
}

/* So for the other structs: each as short as it can be and still say what is wanted. */
static void test_short_structs(void **state) {
    static const uint8_t rgb[4 * 4 * 3] = {1, 2, 3};
    studio s;
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    ballast_context_options co = studio_options(&s);
    void *given = shortened(&co, offsetof(ballast_context_options, isa));
    assert_int_equal(call_context(&s, given, &err), 0);
    free(given);
    ballast_plan_options po;
    ballast_plan_options_init(&po, sizeof po);
    po.svg_path = "is cut off";
    given = shortened(&po, offsetof(ballast_plan_options, svg_path));
    assert_int_equal(call_plan(&s, given, &err), 0);
    free(given);
    ballast_png_options png;
    ballast_png_options_init(&png, sizeof png);
    png.rgb = rgb;
    png.width = png.height = 4;
    png.parameters = "\xff is cut off";
    assert_int_equal(call_png(&s, &png, &err), BALLAST_E_ARGUMENT);
    given = shortened(&png, offsetof(ballast_png_options, parameters));
    assert_int_equal(call_png(&s, given, &err), 0);
    free(given);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    char path[BL_TEST_PATH];
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE);
    mo.path = path;
    mo.vae_path = "is cut off";
    given = shortened(&mo, offsetof(ballast_model_options, vae_path));
    assert_int_equal(call_model(&s, given, &err), 0);
    free(given);
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_writes_no_more), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_sizes),         cmocka_unit_test(test_lists),
        cmocka_unit_test(test_short_structs),
    };
    return cmocka_run_group_tests_name("api.options", tests, rig_open, rig_close);
}
