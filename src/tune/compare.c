#include "tune/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PEAK 255.0

/* The first picture of a request; later ones are passed over. */
typedef struct picture {
    uint8_t *rgb; /* [bytes] */
    size_t bytes;
    const ballast_generate_options *theirs; /* whose progress is asked */
} picture;

static int take_image(void *payload, const ballast_image *image) {
    picture *p = payload;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    if (image->index) {
        return 0;
    }
    p->rgb = malloc(bytes);
    if (p->rgb) {
        memcpy(p->rgb, image->rgb, bytes);
        p->bytes = bytes;
    }
    return !p->rgb;
}

static int ask(void *payload, const ballast_progress *progress) {
    const ballast_generate_options *o = ((picture *)payload)->theirs;
    return o->progress ? o->progress(o->payload, progress) : 0;
}

static int make(picture *out, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    ballast_generate_options own = *o;
    *out = (picture){.theirs = o};
    own.count = 1;
    own.hints = own.verbose = 0;
    own.trace_path = NULL;
    own.image = take_image;
    own.progress = ask;
    own.payload = out;
    return bl_generate(NULL, p, &own, err);
}

int bl_tune_compare(double *psnr, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    picture untuned, tuned = {0};
    bl_pipeline without = *p;
    *psnr = 0;
    without.untuned = true;
    int result = make(&untuned, &without, o, err);
    result = result ? result : make(&tuned, p, o, err);
    if (!result && untuned.rgb && tuned.bytes == untuned.bytes) {
        double sum = 0;
        for (size_t i = 0; i < tuned.bytes; i++) {
            double d = (double)tuned.rgb[i] - untuned.rgb[i];
            sum += d * d;
        }
        *psnr = sum > 0 ? 10 * log10(PEAK * PEAK * (double)tuned.bytes / sum) : 0;
    }
    free(untuned.rgb);
    free(tuned.rgb);
    return result;
}
