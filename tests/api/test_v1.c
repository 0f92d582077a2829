/* A program that was built with the first header of this interface, 0.2.0's, runs with the library of today.
 * ballast_v1.h is that header, and never changes. */
#include "ballast_v1.h"

#include "studio.h"

#include <ctype.h>

/* ---- the layout: what the old header has lies where it lay */

/* The text without comments. */
static char *without_comments(const char *path) {
    char *text = rig_read(path, NULL), *to = text;
    for (const char *p = text; *p;) {
        const char *end = strncmp(p, "/*", 2) ? NULL : strstr(p, "*/");
        if (end) {
            p = end + 2;
        } else {
            *to++ = *p++;
        }
    }
    *to = 0;
    return text;
}

/* The name that a declaration of a field declares: before a '[', in a function pointer's "(*name)", or last.
 */
static void field_name(char *out, size_t room, const char *begin, const char *end) {
    const char *pointer = strstr(begin, "(*"), *array = memchr(begin, '[', (size_t)(end - begin));
    if (pointer && pointer < end) {
        end = strchr(pointer, ')');
    } else if (array) {
        end = array;
    }
    while (end > begin && !isalnum((unsigned char)end[-1]) && end[-1] != '_') {
        end--;
    }
    const char *start = end;
    while (start > begin && (isalnum((unsigned char)start[-1]) || start[-1] == '_')) {
        start--;
    }
    snprintf(out, room, "%.*s", (int)(end - start), start);
}

/* Lines of C that print where each field of a struct lies and how large it is. */
static int print_struct(FILE *f, const char *name, const char *body, const char *close) {
    int fields = 0;
    while (body < close && memchr(body, ';', (size_t)(close - body))) {
        const char *end = strchr(body, ';');
        bool function = memchr(body, '(', (size_t)(end - body));
        while (body < end) {
            const char *comma = function ? NULL : memchr(body, ',', (size_t)(end - body));
            char field[64];
            field_name(field, sizeof field, body, comma ? comma : end);
            fprintf(f, "P(%s, %s)\n", name, field);
            fields++;
            body = comma ? comma + 1 : end;
        }
        body = end + 1;
    }
    return fields;
}

/* Codes of errors and levels of the log, too: "NAME = -1," or "{NAME, NAME}". */
static int print_enum(FILE *f, const char *body, const char *close) {
    int names = 0;
    while (body < close) {
        size_t length = strcspn(body, ",}");
        const char *equals = memchr(body, '=', length);
        char name[64];
        field_name(name, sizeof name, body, equals ? equals : body + length);
        if (*name) {
            fprintf(f, "printf(\"%s %%d\\n\", (int)%s);\n", name, name);
            names++;
        }
        body += length + 1;
    }
    return names;
}

static void write_program(const char *header) {
    char *text = without_comments(header), name[64];
    FILE *f = fopen("layout.c", "we");
    int fields = 0, names = 0;
    assert_non_null(f);
    fprintf(f, "#include HEADER\n#include <stdio.h>\n#define P(type, field) printf(#type \" \" #field \" "
               "%%zu %%zu\\n\","
               " offsetof(type, field), sizeof(((type *)0)->field));\nint main(void) {\n");
    for (char *p = text; (p = strstr(p, "struct ballast_")); p++) {
        char *open = strpbrk(p, "{;,)");
        if (open && *open == '{') {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(p + 7, " {"), p + 7);
            fields += print_struct(f, name, open + 1, strchr(open, '}'));
        }
    }
    for (char *p = text; (p = strstr(p, "enum ballast_")); p++) {
        char *open = strchr(p, '{');
        names += print_enum(f, open + 1, strchr(open, '}'));
    }
    fprintf(f, "return 0; }\n");
    assert_int_equal(fclose(f), 0);
    assert_true(fields >= 94);
    assert_int_equal(names, 16);
    free(text);
}

/* What the program says of the fields of the old header, built with a header. */
static char *layout_with(const char *header) {
    char define[BL_TEST_PATH + 32];
    outcome o = {0};
    snprintf(define, sizeof define, "-DHEADER=\"%s\"", header);
    rig_run(&o, (const char *const[]){CC, "-std=c17", define, "layout.c", "-o", "layout", NULL});
    if (o.code) {
        fail_msg("%s: %s", header, o.err);
    }
    rig_run(&o, (const char *const[]){"./layout", NULL});
    assert_int_equal(o.code, 0);
    char *text = strdup(o.out);
    assert_non_null(text);
    rig_free(&o);
    return text;
}

static void test_layout(void **state) {
    (void)state;
    write_program(SOURCE_FOLDER "/tests/api/ballast_v1.h");
    char *old = layout_with(SOURCE_FOLDER "/tests/api/ballast_v1.h"),
         *now = layout_with(SOURCE_FOLDER "/include/ballast.h");
    assert_string_equal(now, old);
    free(old);
    free(now);
}

/* ---- the calls */

typedef struct seen {
    int progress, images, previews, latents;
    float first_latent;
    bool cancel;
    ballast_model *model;
} seen;

static int on_progress(void *payload, const ballast_progress *p) {
    seen *s = payload;
    s->progress++;
    assert_true(p->struct_size >= sizeof *p && p->images == 2 && p->image < 2 && p->seconds >= 0);
    assert_non_null(p->stage);
    if (s->cancel) {
        assert_int_equal(ballast_cancel(s->model), 1);
    }
    return 0;
}

static int on_image(void *payload, const ballast_image *image) {
    seen *s = payload;
    uint8_t *png, *rgb;
    size_t bytes;
    int width, height;
    ballast_error err;
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = image->rgb;
    o.width = image->width;
    o.height = image->height;
    o.parameters = image->parameters;
    assert_true(image->struct_size >= sizeof *image);
    assert_int_equal(image->index, s->images);
    assert_true(image->seed == 7 + (uint64_t)s->images);
    assert_int_equal(image->step, 0);
    assert_int_equal(ballast_image_encode_png(&png, &bytes, &o, &err), 0);
    assert_memory_equal(png, "\x89PNG", 4);
    ballast_bytes_free(&png);
    assert_int_equal(ballast_image_write_png(&o, "v1.png", 1, &err), 0);
    assert_int_equal(ballast_image_read_png(&rgb, &width, &height, "v1.png", &err), 0);
    assert_true(width == SIDE && height == SIDE);
    assert_memory_equal(rgb, image->rgb, 3 * SIDE * SIDE);
    ballast_bytes_free(&rgb);
    s->images++;
    return 0;
}

static int on_preview(void *payload, const ballast_image *image) {
    seen *s = payload;
    s->previews++;
    assert_int_equal(image->step, s->previews % 2 ? 1 : 2);
    return 0;
}

static int on_latents(void *payload, const ballast_latents *latents) {
    seen *s = payload;
    int shape[4] = {1, latents->channels, latents->height, latents->width};
    float *data;
    ballast_error err;
    assert_true(latents->struct_size >= sizeof *latents);
    assert_int_equal(ballast_latents_write(latents->data, shape, "v1.safetensors", 1, &err), 0);
    assert_int_equal(ballast_latents_read(&data, shape, "v1.safetensors", "latents", &err), 0);
    assert_true(shape[0] == 1 && shape[1] == 4 && shape[2] == SIDE / 8);
    assert_true(data[0] == latents->data[0]);
    ballast_floats_free(&data);
    s->latents++;
    return 0;
}

static void test_calls(void **state) {
    studio s;
    seen got = {0};
    ballast_error err = {0};
    char *report, *plan, *text, *json;
    (void)state;
    studio_open(&s);
    ballast_generate_options o = studio_request();
    o.count = 2;
    o.progress = on_progress;
    o.image = on_image;
    o.preview = on_preview;
    o.save_latents = on_latents;
    o.payload = &got;
    if (ballast_generate(&report, s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    expect_contains(report, "\"schema\"");
    ballast_string_free(&report);
    assert_true(got.progress > 8 && got.images == 2 && got.previews == 4 && got.latents == 2);
    ballast_plan_options po;
    ballast_plan_options_init(&po, sizeof po);
    po.compare = 1;
    po.sweep = "10M:100M:3";
    po.svg_path = "v1.svg";
    if (ballast_plan(&plan, &text, s.model, &o, &po, &err)) {
        fail_msg("%s", err.message);
    }
    expect_contains(plan, "\"sweep\"");
    ballast_string_free(&plan);
    ballast_string_free(&text);
    assert_int_equal(rig_files("v1.svg"), 1);
    assert_int_equal(ballast_model_inspect(&json, s.model, SIDE, SIDE, &err), 0);
    expect_contains(json, "\"arena_bytes\"");
    ballast_string_free(&json);
    assert_int_equal(ballast_eval(s.model, "unet", "none.safetensors", "out.safetensors", 0, &err),
                     BALLAST_E_NOT_FOUND);
    got.cancel = true;
    got.model = s.model;
    assert_int_equal(ballast_calibrate(s.model, &o, &err), BALLAST_E_CANCELLED);
    assert_true(ballast_sampler_name(0) && ballast_schedule_name(0) && ballast_upscaler_name(0));
    assert_null(ballast_sampler_name(1000));
    assert_non_null(ballast_version());
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_calls)};
    return cmocka_run_group_tests_name("api.v1", tests, rig_open, rig_close);
}
