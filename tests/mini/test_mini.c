/* The embedded model: it says what its prompts say (models/README.md, "The regression check"), and its
 * pictures are those of diffusers. */
#include "pipeline/rig.h"

#include "image/png.h"

#include <float.h>
#include <math.h>

#define MODEL BALLAST_TEST_MODELS "/ballast-mini.safetensors"
#define SIDE 128 /* pixels of the model's pictures */
#define THUMB 16 /* and of a thumbnail, whose every value is the mean of CELL x CELL */
#define CELL (SIDE / THUMB)
#define COLUMNS 16 /* thumbnails in a row of check.png */
#define PROMPTS 100
#define EVERY 4      /* of them is drawn, with the argument "all" each */
#define NEEDED 60    /* percent of these, nearest to the emoji that is meant */
#define NEEDED_DB 45 /* PSNR against diffusers in f32 */

static int every = EVERY;

typedef struct taken {
    uint8_t *rgb; /* [height, width, 3] */
    int width, height;
} taken;

static int take(void *payload, const ballast_image *image) {
    taken *t = payload;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    *t = (taken){malloc(bytes), image->width, image->height};
    assert_non_null(t->rgb);
    memcpy(t->rgb, image->rgb, bytes);
    return 0;
}

/* The settings that the model is made for. */
static ballast_generate_options request(taken *t, const char *prompt, uint64_t seed) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = prompt;
    o.seed = seed;
    o.cfg = 5;
    o.schedule = "karras";
    o.hints = 0;
    o.image = take;
    o.payload = t;
    return o;
}

static void generate(rig_studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    if (ballast_generate(NULL, s->model, o, &err)) {
        fail_msg("\"%s\": %s", o->prompt, err.message);
    }
}

static void read_png(bl_picture *out, const char *path) {
    bl_error err = {0};
    if (bl_png_read(out, path, &err)) {
        fail_msg("%s", err.message);
    }
}

/* [THUMB, THUMB, 3]: means of the cells of a picture [t->height, t->width, 3], which has THUMB cells a side.
 */
static void make_thumb(float *out, const taken *t) {
    int high = t->height / THUMB, wide = t->width / THUMB;
    memset(out, 0, sizeof *out * THUMB * THUMB * 3);
    for (int y = 0; y < high * THUMB; y++) {
        for (int x = 0; x < wide * THUMB; x++) {
            for (int c = 0; c < 3; c++) {
                out[(y / high * THUMB + x / wide) * 3 + c] +=
                    (float)t->rgb[((int64_t)y * t->width + x) * 3 + c] / (float)(high * wide);
            }
        }
    }
}

/* Which of the first `count` thumbnails of check.png is nearest in the sum of squares? */
static int nearest(const bl_picture *check, int count, const taken *t) {
    float thumb[THUMB * THUMB * 3];
    double least = DBL_MAX;
    int best = -1;
    make_thumb(thumb, t);
    for (int i = 0; i < count; i++) {
        double sum = 0;
        for (int y = 0; y < THUMB; y++) {
            const uint8_t *row =
                check->rgb + ((i / COLUMNS * THUMB + y) * check->width + i % COLUMNS * THUMB) * 3;
            for (int k = 0; k < THUMB * 3; k++) {
                double d = thumb[y * THUMB * 3 + k] - row[k];
                sum += d * d;
            }
        }
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return best;
}

/* A line of check.tsv: seed, index, prompt. */
typedef struct fixed {
    uint64_t seed;
    int emoji;
    char prompt[128];
} fixed;

/* [PROMPTS] lines; *emoji: how many emoji check.png holds. */
static void read_fixed(fixed *out, int *emoji) {
    char line[256];
    int n = 0;
    FILE *f = fopen(BALLAST_TEST_MODELS "/check.tsv", "re");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "# seed\tindex in check.png (%d emoji)", emoji), 1);
    while (n < PROMPTS && fgets(line, sizeof line, f)) {
        unsigned long long seed;
        assert_int_equal(sscanf(line, "%llu\t%d\t%127[^\n]", &seed, &out[n].emoji, out[n].prompt), 3);
        assert_in_range(out[n].emoji, 0, *emoji - 1);
        out[n++].seed = seed;
    }
    assert_int_equal(n, PROMPTS);
    assert_null(fgets(line, sizeof line, f));
    fclose(f);
}

/* As a user gets them: in the type that suits the CPU. */
static void test_prompts(void **state) {
    static fixed lines[PROMPTS];
    bl_picture check;
    rig_studio s;
    int emoji, right = 0;
    (void)state;
    read_fixed(lines, &emoji);
    read_png(&check, BALLAST_TEST_MODELS "/check.png");
    assert_int_equal(check.width, COLUMNS * THUMB);
    assert_int_equal(check.height, (emoji + COLUMNS - 1) / COLUMNS * THUMB);
    rig_open(&s, MODEL, "auto", "");
    for (int i = 0; i < PROMPTS; i += every) {
        taken t;
        ballast_generate_options o = request(&t, lines[i].prompt, lines[i].seed);
        generate(&s, &o);
        assert_int_equal(t.width, SIDE);
        assert_int_equal(t.height, SIDE);
        right += nearest(&check, emoji, &t) == lines[i].emoji;
        free(t.rgb);
    }
    print_message("%d of %d nearest to the emoji that is meant\n", right, PROMPTS / every);
    assert_in_range(right * every, NEEDED * PROMPTS / 100, PROMPTS);
    rig_close(&s);
    bl_picture_clear(&check);
}

static double psnr(const taken *t, const bl_picture *gold) {
    double sum = 0;
    int64_t bytes = gold->width * gold->height * 3;
    assert_int_equal(t->width, gold->width);
    assert_int_equal(t->height, gold->height);
    for (int64_t i = 0; i < bytes; i++) {
        double d = (double)t->rgb[i] - gold->rgb[i];
        sum += d * d;
    }
    return 10 * log10(255.0 * 255.0 * (double)bytes / sum);
}

/* tools/train_mini/reference.py made these pictures from the same file. */
static void test_diffusers(void **state) {
    static const char *const prompts[] = {"a red heart", "a panda on a blue background", "a birthday cake"};
    static const char *const files[] = {"a-red-heart", "a-panda-on-a-blue-background", "a-birthday-cake"};
    rig_studio s;
    (void)state;
    rig_open(&s, MODEL, "f32", "");
    for (int i = 0; i < 3; i++) {
        char name[128], path[BL_TEST_PATH];
        bl_picture gold;
        taken t;
        snprintf(name, sizeof name, "mini/%s.png", files[i]);
        bl_test_data(path, name);
        read_png(&gold, path);
        ballast_generate_options o = request(&t, prompts[i], (uint64_t)i);
        o.compat = "diffusers";
        o.negative_prompt = "";
        generate(&s, &o);
        double db = psnr(&t, &gold);
        print_message("\"%s\": %.1f dB\n", prompts[i], db);
        assert_true(db >= NEEDED_DB);
        free(t.rgb);
        bl_picture_clear(&gold);
    }
    rig_close(&s);
}

/* A second pass at 1.5 times the size, and a picture as the start: still what the prompt says. */
static void test_larger_and_from_picture(void **state) {
    static fixed lines[PROMPTS];
    bl_picture check;
    rig_studio s;
    int emoji;
    taken first, t;
    (void)state;
    read_fixed(lines, &emoji);
    read_png(&check, BALLAST_TEST_MODELS "/check.png");
    rig_open(&s, MODEL, "auto", "");
    ballast_generate_options o = request(&first, lines[0].prompt, lines[0].seed);
    generate(&s, &o);
    o.payload = &t;
    o.hires_scale = 1.5;
    generate(&s, &o);
    assert_int_equal(t.width, SIDE * 3 / 2);
    assert_int_equal(t.height, SIDE * 3 / 2);
    assert_int_equal(nearest(&check, emoji, &t), lines[0].emoji);
    free(t.rgb);
    o.hires_scale = 0;
    o.init_rgb = first.rgb;
    o.init_width = first.width;
    o.init_height = first.height;
    o.strength = 0.5;
    generate(&s, &o);
    assert_int_equal(nearest(&check, emoji, &t), lines[0].emoji);
    assert_memory_not_equal(t.rgb, first.rgb, (size_t)SIDE * SIDE * 3);
    free(t.rgb);
    free(first.rgb);
    rig_close(&s);
    bl_picture_clear(&check);
}

int main(int argc, char **argv) {
    every = argc > 1 && !strcmp(argv[1], "all") ? 1 : EVERY;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompts), cmocka_unit_test(test_diffusers),
                                       cmocka_unit_test(test_larger_and_from_picture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
