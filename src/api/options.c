/* Structs that programs fill: their defaults, and how one of another version of the header is read. */
#include "api/api.h"

#include "sample/names.h"

#include <string.h>

#define LEAST (2 * sizeof(size_t)) /* `struct_size` and what follows it in the first version */
#define MOST 4096                  /* bytes: more is no struct but a size that nobody set */

/* A struct of another version ends where a field of this one begins: there is no padding at its end, in which
 * a later field could come to lie. So append two ints together. */
#define ENDS_WITH(type, field)                                                            \
    _Static_assert(sizeof(type) == offsetof(type, field) + sizeof(((type *)NULL)->field), \
                   #type " ends with " #field)
ENDS_WITH(ballast_context_options, text_cache);
ENDS_WITH(ballast_model_options, taesd_path);
ENDS_WITH(ballast_generate_options, guidance);
ENDS_WITH(ballast_adapter, denoiser);
ENDS_WITH(ballast_placement_options, host_budget);
ENDS_WITH(ballast_plan_options, advise);
ENDS_WITH(ballast_tune_options, payload);
ENDS_WITH(ballast_png_options, parameters);
ENDS_WITH(ballast_expected, likelihood);
ENDS_WITH(ballast_image, step);
ENDS_WITH(ballast_latents, seed);
ENDS_WITH(ballast_progress, loaded_bytes);

static const ballast_context_options context_defaults = {
    .struct_size = sizeof context_defaults, .isa = "auto", .device = "cpu", .text_cache = 64};

static const ballast_model_options model_defaults = {
    .struct_size = sizeof model_defaults, .dtype = "auto", .prediction = "auto", .zsnr = "auto"};

static const ballast_generate_options generate_defaults = {.struct_size = sizeof generate_defaults,
                                                           .cfg = -1,
                                                           .eta = -1,
                                                           .batch = 1,
                                                           .count = 1,
                                                           .rng = "cpu",
                                                           .compat = "a1111",
                                                           .strength = 0.75,
                                                           .hires_strength = 0.5,
                                                           .hires_upscaler = "latent",
                                                           .low = -1,
                                                           .high = -1,
                                                           .fit_check = -1,
                                                           .tiled_decode = "off",
                                                           .hints = 1,
                                                           .fit = "crop",
                                                           .previews = "linear",
                                                           .preview_every = 1,
                                                           .decode = "vae",
                                                           .guidance = -1};

static const ballast_placement_options placement_defaults = {
    .struct_size = sizeof placement_defaults, .offload = "auto", .low = -1, .high = -1, .fit_check = 1};

static const ballast_plan_options plan_defaults = {.struct_size = sizeof plan_defaults};
static const ballast_tune_options tune_defaults = {
    .struct_size = sizeof tune_defaults, .seconds = 180, .bits = "same"};
static const ballast_expected expected_defaults = {.struct_size = sizeof expected_defaults, .likelihood = 1};
static const ballast_adapter adapter_defaults = {
    .struct_size = sizeof adapter_defaults, .text = 1, .denoiser = 1};
static const ballast_png_options png_defaults = {.struct_size = sizeof png_defaults};

/* Writes `size` bytes, no more: what the caller's version of the struct has. */
static void fill(void *to, size_t size, const void *defaults, size_t known) {
    if (!to || size < sizeof size) {
        return;
    }
    memset(to, 0, size);
    memcpy(to, defaults, size < known ? size : known);
    memcpy(to, &size, sizeof size);
}

/* Reads a caller's struct into one of ours, which has its defaults: no byte behind the caller's is looked at.
 */
static int take(void *own, size_t known, const void *given, const char *what, bl_error *err) {
    const unsigned char *bytes = given;
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size < LEAST || size > MOST || size % sizeof(void *)) {
        return bl_fail(
            err, BL_E_ARGUMENT,
            "%s: a struct_size of %zu is none; fill the struct with %s_init, called with its sizeof", what,
            size, what);
    }
    for (size_t i = known; i < size; i++) {
        if (bytes[i]) {
            return bl_fail(err, BL_E_ARGUMENT,
                           "%s: byte %zu of %zu is set, and Ballast " BALLAST_VERSION
                           " knows %zu: the program was built for a newer version and uses what is new in it",
                           what, i, size, known);
        }
    }
    memcpy((unsigned char *)own + sizeof size, bytes + sizeof size,
           (size < known ? size : known) - sizeof size);
    return 0;
}

void ballast_context_options_init(ballast_context_options *options, size_t struct_size) {
    fill(options, struct_size, &context_defaults, sizeof context_defaults);
}

void ballast_model_options_init(ballast_model_options *options, size_t struct_size) {
    fill(options, struct_size, &model_defaults, sizeof model_defaults);
}

void ballast_generate_options_init(ballast_generate_options *options, size_t struct_size) {
    fill(options, struct_size, &generate_defaults, sizeof generate_defaults);
}

void ballast_placement_options_init(ballast_placement_options *options, size_t struct_size) {
    fill(options, struct_size, &placement_defaults, sizeof placement_defaults);
}

void ballast_tune_options_init(ballast_tune_options *options, size_t struct_size) {
    fill(options, struct_size, &tune_defaults, sizeof tune_defaults);
}

void ballast_plan_options_init(ballast_plan_options *options, size_t struct_size) {
    fill(options, struct_size, &plan_defaults, sizeof plan_defaults);
}

void ballast_expected_init(ballast_expected *expected, size_t struct_size) {
    fill(expected, struct_size, &expected_defaults, sizeof expected_defaults);
}

void ballast_adapter_init(ballast_adapter *adapter, size_t struct_size) {
    fill(adapter, struct_size, &adapter_defaults, sizeof adapter_defaults);
}

void ballast_png_options_init(ballast_png_options *options, size_t struct_size) {
    fill(options, struct_size, &png_defaults, sizeof png_defaults);
}

int bl_take_context_options(ballast_context_options *own, const ballast_context_options *given,
                            bl_error *err) {
    *own = context_defaults;
    return given ? take(own, sizeof *own, given, "ballast_context_options", err) : 0;
}

int bl_take_model_options(ballast_model_options *own, const ballast_model_options *given, bl_error *err) {
    *own = model_defaults;
    return take(own, sizeof *own, given, "ballast_model_options", err);
}

/* A sampler that adapts chooses its steps by the latents that it is given: each picture's are its own, and so
 * it is the same alone and among others. */
static void one_at_a_time(ballast_generate_options *o) {
    bl_sampler_id id;
    bl_schedule_id schedule;
    bool adapts = o->sampler && !bl_sampler_find(&id, &schedule, o->sampler, NULL) && bl_sampler_adapts(id);
    if (adapts && o->batch > 1 && o->batch <= 64 && o->count > 0 && o->count <= 100000) {
        o->count *= o->batch;
        o->batch = 1;
    }
}

int bl_take_generate_options(ballast_generate_options *own, const ballast_generate_options *given,
                             bl_error *err) {
    *own = generate_defaults;
    int result = take(own, sizeof *own, given, "ballast_generate_options", err);
    if (!result) {
        one_at_a_time(own);
    }
    return result;
}

int bl_take_placement_options(ballast_placement_options *own, const ballast_placement_options *given,
                              bl_error *err) {
    *own = placement_defaults;
    return given ? take(own, sizeof *own, given, "ballast_placement_options", err) : 0;
}

int bl_take_tune_options(ballast_tune_options *own, const ballast_tune_options *given, bl_error *err) {
    *own = tune_defaults;
    return given ? take(own, sizeof *own, given, "ballast_tune_options", err) : 0;
}

int bl_take_plan_options(ballast_plan_options *own, const ballast_plan_options *given, bl_error *err) {
    *own = plan_defaults;
    return given ? take(own, sizeof *own, given, "ballast_plan_options", err) : 0;
}

int bl_take_png_options(ballast_png_options *own, const ballast_png_options *given, bl_error *err) {
    *own = png_defaults;
    return take(own, sizeof *own, given, "ballast_png_options", err);
}

int bl_take_adapter(ballast_adapter *own, const ballast_adapter *given, bl_error *err) {
    *own = adapter_defaults;
    return take(own, sizeof *own, given, "ballast_adapter", err);
}

int bl_take_expected(ballast_expected *own, const ballast_expected *given, bl_error *err) {
    *own = expected_defaults;
    return take(own, sizeof *own, given, "ballast_expected", err);
}
