/* One picture: generate MODEL PROMPT OUT.png
 *
 *     cc generate.c -o generate $(pkg-config --cflags --libs ballast) */
#include <ballast.h>

#include <stdio.h>

/* Called with each finished picture; anything but 0 stops the work. */
static int on_image(void *payload, const ballast_image *image) {
    ballast_error err;
    ballast_png_options png;
    ballast_png_options_init(&png, sizeof png);
    png.rgb = image->rgb;
    png.width = image->width;
    png.height = image->height;
    png.parameters = image->parameters; /* the prompt and the rest, as other programs read it */
    if (ballast_image_write_png(&png, payload, 0, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}

/* Notices, and after the picture where the time went. */
static void on_log(void *payload, int level, const char *line) {
    (void)payload;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static int generate(ballast_model *model, const char *prompt, char *path, ballast_error *err) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o); /* the model's own size, DPM++ 2M */
    o.prompt = prompt;
    o.negative_prompt = "blurry";
    o.seed = 42;
    o.image = on_image;
    o.payload = path;
    return ballast_generate(NULL, model, &o, err);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: generate MODEL PROMPT OUT.png\n");
        return 2;
    }
    ballast_error err;
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    co.log = on_log;
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    mo.path = argv[1];
    int failed = ballast_context_open(&context, &co, &err) ||
                 ballast_model_open(&model, context, &mo, &err) || generate(model, argv[2], argv[3], &err);
    if (failed) {
        fprintf(stderr, "%s\n", err.message);
    }
    ballast_model_close(&model);
    ballast_context_close(&context);
    return failed;
}
