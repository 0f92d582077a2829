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

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: generate MODEL PROMPT OUT.png\n");
        return 2;
    }
    ballast_error err;
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    ballast_generate_options o;
    mo.path = argv[1];
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = argv[2];
    o.width = o.height = 128;
    o.steps = 4;
    o.seed = 42;
    o.image = on_image;
    o.payload = argv[3];
    int failed = ballast_context_open(&context, NULL, &err) ||
                 ballast_model_open(&model, context, &mo, &err) || ballast_generate(NULL, model, &o, &err);
    if (failed) {
        fprintf(stderr, "%s\n", err.message);
    }
    ballast_model_close(&model);
    ballast_context_close(&context);
    return failed;
}
