#include "tune/pictures.h"

#include "core/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PEAK 255.0

/* The first picture of a request; later ones are passed over. */
typedef struct picture {
    uint8_t *rgb; /* [bytes] */
    size_t bytes;
    double seconds;
    const ballast_generate_options *theirs; /* whose progress is asked */
    double end;                             /* of the clock */
    bool late;                              /* it was given up */
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
    picture *p = payload;
    int stop = p->theirs->progress ? p->theirs->progress(p->theirs->payload, progress) : 0;
    p->late = !stop && bl_now() > p->end;
    return stop || p->late;
}

/* What the two ways may differ in: neither prompts, which are encoded once, nor weights on their way. */
static double seconds_of(const json_t *report) {
    static const char *const stages[] = {"encode", "pipeline", "decode"};
    const json_t *batch;
    double seconds = 0;
    size_t i;
    json_array_foreach(json_object_get(report, "batches"), i, batch) {
        const json_t *all = json_object_get(json_object_get(batch, "ledger"), "stages");
        for (int k = 0; k < 3; k++) {
            seconds += json_number_value(json_object_get(all, stages[k]));
        }
    }
    return seconds;
}

/* 1: there was no time for all of it. */
static int make(picture *out, const bl_pipeline *p, const ballast_generate_options *o, double end,
                bl_error *err) {
    ballast_generate_options own = *o;
    bl_pipeline measured = *p;
    json_t *report = NULL;
    measured.measured = true;
    *out = (picture){.theirs = o, .end = end};
    own.count = 1;
    own.hints = own.verbose = 0;
    own.trace_path = NULL;
    own.image = take_image;
    own.progress = ask;
    own.payload = out;
    int result = bl_generate(&report, &measured, &own, err);
    out->seconds = seconds_of(report);
    json_decref(report);
    return result == BL_E_CANCELLED && out->late ? 1 : result;
}

/* 0: they are the same. */
static double psnr_of(const picture *a, const picture *b) {
    double sum = 0;
    for (size_t i = 0; a->rgb && b->rgb && a->bytes == b->bytes && i < a->bytes; i++) {
        double d = (double)a->rgb[i] - b->rgb[i];
        sum += d * d;
    }
    return sum > 0 ? 10 * log10(PEAK * PEAK * (double)a->bytes / sum) : 0;
}

/* The one is first and last of two pairs, so that what drifts disturbs both alike. */
static int make_pair(bl_pairs *out, const bl_pipeline *one, const bl_pipeline *other,
                     const ballast_generate_options *o, double end, bl_error *err) {
    const bool turned = out->count & 1;
    int result = 0;
    for (int i = 0; i < 2 && !result; i++) {
        const bool second = (i == 1) != turned;
        picture p;
        result = make(&p, second ? other : one, o, end, err);
        (second ? out->other : out->present)[out->count] = p.seconds;
        free(p.rgb);
    }
    out->count += !result;
    return result;
}

int bl_tune_pictures_make(bl_tune_pictures *out, const bl_pipeline *one, const bl_pipeline *other,
                          const ballast_generate_options *o, int pairs, bl_tune_until until, bl_error *err) {
    picture a, b = {0};
    bl_pairs p = {0};
    double began, took = 0;
    *out = (bl_tune_pictures){0};
    pairs = pairs < BL_PAIRS_MOST ? pairs : BL_PAIRS_MOST;
    int result = make(&a, one, o, until.end, err);
    result = result ? result : make(&b, other, o, until.end, err);
    if (!result) {
        *out = (bl_tune_pictures){.psnr = psnr_of(&a, &b), .seconds = a.seconds, .other = b.seconds};
        took = 1.2 * (a.seconds + b.seconds);
    }
    free(a.rgb);
    free(b.rgb);
    if (result) {
        return result;
    }
    while (p.count < pairs && !result && (began = bl_now()) + took < until.begin) {
        result = make_pair(&p, one, other, o, until.end, err);
        took = bl_now() - began;
    }
    out->pairs = p.count;
    if (p.count) {
        bl_verdict v = bl_pairs_judge(&p);
        out->seconds = v.present;
        out->other = v.other;
        out->low = p.count < BL_PAIRS_LEAST ? 0 : v.low;
        out->high = p.count < BL_PAIRS_LEAST ? 0 : v.high;
    }
    return result == 1 ? 0 : result;
}

bool bl_tune_type_find(bl_tune_type *out, const bl_modules *m) {
    const bl_modules_options *o = bl_modules_given(m);
    *out = (bl_tune_type){.own = o->dtype, .other = o->dtype == BL_F32 ? BL_BF16 : BL_F32};
    return bl_memory_caps(o->memory)->bf16;
}

int bl_tune_type_try(bl_tune_type *x, const bl_pipeline *p, const ballast_generate_options *o, int pairs,
                     bl_tune_until until, bl_error *err) {
    bl_modules_options own = *bl_modules_given(p->modules);
    bl_pipeline other = *p;
    bl_modules *m = NULL;
    bl_error why = {0};
    own.dtype = x->other;
    own.vae_dtype = own.vae_follows ? x->other : own.vae_dtype;
    int result = bl_modules_open(&m, &own, &why);
    other.modules = m;
    other.again = false;
    other.next_count = 0;
    result = result ? result : bl_tune_pictures_make(&x->pictures, p, &other, o, pairs, until, &why);
    x->tried = !result;
    if (m && p->encodings) {
        bl_encodings_forget(p->encodings, bl_modules_serial(m));
    }
    bl_modules_close(&m);
    if (result == BL_E_CANCELLED) {
        return bl_fail(err, BL_E_CANCELLED, "%s", why.message);
    }
    snprintf(x->why, sizeof x->why, "%.199s", result == 1 ? "no time" : result ? why.message : "");
    return 0;
}
