#include "pipeline/request.h"

#include "model/clip_text.h"
#include "pipeline/finite.h"
#include "pipeline/request_schedule.h"
#include "text/unicode.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const bl_upscaler upscalers[] = {
    {"Latent", true, BL_INTERPOLATE_BILINEAR, BL_RESIZE_COUNT},
    {"Latent (antialiased)", true, BL_INTERPOLATE_BILINEAR_ANTIALIAS, BL_RESIZE_COUNT},
    {"Latent (bicubic)", true, BL_INTERPOLATE_BICUBIC, BL_RESIZE_COUNT},
    {"Latent (bicubic antialiased)", true, BL_INTERPOLATE_BICUBIC_ANTIALIAS, BL_RESIZE_COUNT},
    {"Latent (nearest)", true, BL_INTERPOLATE_NEAREST, BL_RESIZE_COUNT},
    {"Latent (nearest-exact)", true, BL_INTERPOLATE_NEAREST_EXACT, BL_RESIZE_COUNT},
    {"Lanczos", false, BL_INTERPOLATE_COUNT, BL_RESIZE_LANCZOS},
    {"Bicubic", false, BL_INTERPOLATE_COUNT, BL_RESIZE_BICUBIC},
    {"Bilinear", false, BL_INTERPOLATE_COUNT, BL_RESIZE_BILINEAR},
    {"Box", false, BL_INTERPOLATE_COUNT, BL_RESIZE_BOX},
    {"Nearest", false, BL_INTERPOLATE_COUNT, BL_RESIZE_NEAREST},
};
#define UPSCALERS (sizeof upscalers / sizeof *upscalers)

const char *bl_upscaler_name(int index) {
    return index >= 0 && (size_t)index < UPSCALERS ? upscalers[index].name : NULL;
}

/* Are the names equal but for case, blanks, brackets, '-' and '_'? "latent-bilinear" is "Latent" under its
 * full name. */
static bool same_name(const char *a, const char *b) {
    for (;;) {
        while (*a && !isalnum((unsigned char)*a)) {
            a++;
        }
        while (*b && !isalnum((unsigned char)*b)) {
            b++;
        }
        if (!*a || !*b) {
            return *a == *b;
        }
        if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++)) {
            return false;
        }
    }
}

int bl_upscaler_find(const bl_upscaler **out, const char *name, bl_error *err) {
    *out = NULL;
    for (size_t i = 0; i < UPSCALERS; i++) {
        if (same_name(name, upscalers[i].name)) {
            *out = &upscalers[i];
            return 0;
        }
    }
    if (same_name(name, "latent bilinear")) {
        *out = &upscalers[0];
        return 0;
    }
    return bl_fail(
        err, BL_E_NOT_FOUND,
        "hires-upscaler: no upscaler \"%.60s\"; there are Latent, Latent (antialiased), Latent (bicubic), "
        "Latent (bicubic antialiased), Latent (nearest), Latent (nearest-exact), Lanczos, Bicubic, Bilinear, "
        "Box, Nearest",
        name);
}

static int check_side(int side, int scale, const char *what, bl_error *err) {
    if (side <= 0 || side % scale) {
        int near = side < scale ? scale : side / scale * scale;
        return bl_fail(err, BL_E_ARGUMENT, "%s: %d is not a positive multiple of %d; the next below is %d",
                       what, side, scale, near);
    }
    if (side > BL_MAX_SIDE) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: %d is more than the %d pixels a side can have", what, side,
                       BL_MAX_SIDE);
    }
    return 0;
}

static int check_between(double v, double low, double high, const char *what, bl_error *err) {
    if (!(v >= low && v <= high)) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: %g is not between %g and %g", what, v, low, high);
    }
    return 0;
}

/* The side to choose for `pixels`, a multiple of `scale`. */
static int near_side(double pixels, int scale) {
    double side = floor(pixels / scale + 0.5) * scale;
    return side < scale                         ? scale
           : side > BL_MAX_SIDE / scale * scale ? BL_MAX_SIDE / scale * scale
                                                : (int)side;
}

/* Sizes that were not given: the model's own, or of a start picture its shape at the model's number of
 * pixels. One that was given decides the other. */
static void choose_size(bl_request *r, const ballast_generate_options *o, int scale, int native_size) {
    r->width = o->width ? o->width : native_size;
    r->height = o->height ? o->height : native_size;
    if (!o->init_rgb || o->init_width <= 0 || o->init_height <= 0 || (o->width && o->height)) {
        return;
    }
    double shape = (double)o->init_width / o->init_height;
    r->own_shape = true;
    if (!o->width) {
        r->width = near_side(o->height ? o->height * shape : native_size * sqrt(shape), scale);
    }
    if (!o->height) {
        r->height = near_side(o->width ? o->width / shape : native_size / sqrt(shape), scale);
    }
}

/* A line for a picture of which not all is seen, or more than all. */
static void tell_fit(const bl_request *r, const bl_log *log) {
    const ballast_generate_options *o = r->o;
    int64_t height, width;
    bl_fit_size(&height, &width, r->height, r->width, o->init_height, o->init_width, r->fit);
    if (height != r->height || width != r->width) {
        bool crop = r->fit == BL_FIT_CROP;
        bl_log_line(log, BL_LOG_INFO,
                    "The start picture has another shape, %d x %d: %s; --fit %s or %s does otherwise",
                    o->init_width, o->init_height,
                    crop ? "what sticks out is cut off" : "its edges are repeated", crop ? "pad" : "crop",
                    "stretch");
    }
}

/* Two numbers go by that name. */
static void tell_guidance(const bl_request *r, const bl_family *family, const bl_log *log) {
    if (r->unguided) {
        bl_log_line(log, BL_LOG_WARNING, "cfg %g is left out, as diffusers does it %s", r->o->cfg,
                    family->cfg_needs_negative
                        ? "without a negative prompt"
                        : "with distilled models: model_index.json has \"is_distilled\"");
    } else if (family->guidance && r->cfg != 1) {
        bl_log_line(log, BL_LOG_INFO,
                    "cfg %g guides %s by the negative prompt, at twice the work; the guidance that it was "
                    "distilled with is --guidance, now %g",
                    r->cfg, family->name, r->guidance);
    }
    if (r->o->guidance != -1 && !family->guidance) {
        bl_log_line(log, BL_LOG_WARNING, "guidance %g changes nothing: %s is told no such number",
                    r->o->guidance, family->name);
    }
}

void bl_request_tell(const bl_request *r, const bl_family *family, const bl_log *log) {
    if (r->own_shape) {
        bl_log_line(
            log, BL_LOG_INFO,
            "The picture gets the start picture's shape, %d x %d; --width and --height choose another",
            r->width, r->height);
    } else if (r->o->init_rgb && r->fit != BL_FIT_STRETCH) {
        tell_fit(r, log);
    }
    tell_guidance(r, family, log);
    if (bl_sampler_adapts(r->sampler)) {
        bl_log_line(log, BL_LOG_INFO,
                    "%s chooses its steps while it runs, whatever --steps says: planned are the %d "
                    "evaluations that it "
                    "may take at most; it ends when it is done",
                    bl_sampler_name(r->sampler), bl_request_evaluations(r, false));
    }
}

static int check_size(bl_request *r, const ballast_generate_options *o, const bl_family *family,
                      int native_size, bl_error *err) {
    const int channels = family->latent_channels, scale = family->downscale, side = bl_family_side(family);
    choose_size(r, o, side, native_size);
    int result = check_side(r->width, side, "width", err);
    if (!result) {
        result = check_side(r->height, side, "height", err);
    }
    if (!result && o->latents &&
        (o->latents_height != r->height / scale || o->latents_width != r->width / scale ||
         (o->latents_channels && o->latents_channels != (size_t)channels) ||
         (o->latents_batch != 1 && o->latents_batch != r->images))) {
        result = bl_fail(
            err, BL_E_ARGUMENT,
            "latents: [%d, %zu, %d, %d] does not fit a picture of %dx%d, which needs [%d, %d, %d, %d]",
            o->latents_batch, o->latents_channels ? o->latents_channels : (size_t)channels, o->latents_height,
            o->latents_width, r->width, r->height, r->images, channels, r->height / scale, r->width / scale);
    }
    if (!result && o->latents) {
        size_t n = (size_t)o->latents_batch * (size_t)channels * (size_t)(r->height / scale) *
                   (size_t)(r->width / scale);
        result = bl_all_finite(o->latents, n)
                     ? 0
                     : bl_fail(err, BL_E_ARGUMENT, "latents: NaN or infinity in them");
    }
    return result;
}

/* The start picture, and how it is made to fit. */
static int check_start(bl_request *r, const ballast_generate_options *o, bl_error *err) {
    int64_t height, width;
    int result = bl_fit_find(&r->fit, o->fit ? o->fit : "crop", err);
    if (result || !o->init_rgb) {
        return result;
    }
    if (o->init_width <= 0 || o->init_height <= 0) {
        return bl_fail(err, BL_E_ARGUMENT, "init image: %dx%d is no size", o->init_width, o->init_height);
    }
    bl_fit_size(&height, &width, r->height, r->width, o->init_height, o->init_width, r->fit);
    if (height > BL_RESIZE_MAX_SIDE || width > BL_RESIZE_MAX_SIDE) {
        return bl_fail(err, BL_E_ARGUMENT, "fit: a picture of %d x %d is too long to be cut to %d x %d",
                       o->init_width, o->init_height, r->width, r->height);
    }
    return 0;
}

static int check_hires_size(bl_request *r, double times, const bl_family *family, bl_error *err) {
    const int scale = bl_family_side(family);
    int result = check_between(times, 1, 8, "hires", err);
    if (!result) {
        r->hires_width = (int)(r->width * times / scale) * scale;
        r->hires_height = (int)(r->height * times / scale) * scale;
        bool a1111 = r->compat == BL_COMPAT_A1111; /* tells the size before it is cut to whole latents */
        r->hires_told_width = a1111 ? (int)(r->width * times) : r->hires_width;
        r->hires_told_height = a1111 ? (int)(r->height * times) : r->hires_height;
        result = check_side(r->hires_width, scale, "hires", err);
    }
    return result ? result : check_side(r->hires_height, scale, "hires", err);
}

static int check_counts(bl_request *r, const ballast_generate_options *o, bl_error *err) {
    int result = check_between(o->batch, 1, 64, "batch", err);
    if (!result) {
        result = check_between(o->count, 1, 100000, "count", err);
    }
    if (!result) {
        result = check_between(o->cfg, 0, 1000, "cfg", err);
    }
    if (!result) {
        result = check_between(o->cfg_rescale, 0, 1, "cfg-rescale", err);
    }
    if (!result && o->guidance != -1) {
        result = check_between(o->guidance, 0, 100, "guidance", err);
    }
    if (!result) {
        result = check_between(o->variation_strength, 0, 1, "variation-strength", err);
    }
    if (!result) {
        result = check_between(o->ensd, 0, INT32_MAX, "ensd", err);
    }
    if (!result && o->eta != -1) {
        result = check_between(o->eta, 0, 1, "eta", err);
    }
    if (!result) {
        r->images = o->batch * o->count;
        result = !o->seeds || o->seed_count == (size_t)r->images
                     ? 0
                     : bl_fail(err, BL_E_ARGUMENT, "seeds: %zu for %d pictures", o->seed_count, r->images);
    }
    return result;
}

/* How the three programs count. A1111: from the last layer, of SD 1.x alone. ComfyUI: from the last there is,
 * which of SD 2.x nothing was trained to read. diffusers: 2 is one layer less than the model's own, of the
 * prompt alone. */
static int check_clip_skip(bl_request *r, const bl_architecture *arch, bl_error *err) {
    const bl_family *f = arch->family;
    r->ensd = r->compat == BL_COMPAT_A1111 ? r->o->ensd : 0;
    if (f->reader != BL_READER_CLIP) {
        return r->o->clip_skip == 0 || r->o->clip_skip == 1
                   ? 0
                   : bl_fail(
                         err, BL_E_UNSUPPORTED,
                         "clip-skip: %s reads the prompt with a language model, of whose layers one is read",
                         f->name);
    }
    int n = r->o->clip_skip, own = 1 + f->encoder[0].context_skip, extra = 0;
    if (r->compat == BL_COMPAT_COMFYUI) {
        extra = -f->untrained_layers;
    } else if (r->compat == BL_COMPAT_DIFFUSERS) {
        extra = own - 1;
    }
    int layers = bl_clip_text_layers(&arch->text[0]) - extra;
    if (n < 0 || n > layers) {
        return bl_fail(err, BL_E_ARGUMENT, "clip-skip: %d is not between 0 and %d, the text encoder's layers",
                       n, layers);
    }
    if (n && n + extra < 1) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "clip-skip: in ComfyUI %d is the last layer of %s, which nothing was trained to read; %d is the "
            "model's own",
            n, f->name, own - extra);
    }
    bool can = r->compat == BL_COMPAT_A1111 ? f->a1111_clip_skip : f->clip_skip;
    r->clip_skip = can && n && n + extra != own ? n + extra : 0;
    r->negative_own_context = r->compat == BL_COMPAT_DIFFUSERS && r->clip_skip;
    return 0;
}

static int check_sampling(bl_request *r, const bl_architecture *arch, bl_error *err) {
    const ballast_generate_options *o = r->o;
    bl_schedule_id schedule = BL_SCHEDULE_AUTOMATIC, spacing = BL_SCHEDULE_AUTOMATIC;
    int result = bl_compat_find(&r->compat, o->compat ? o->compat : "a1111", err);
    if (!result) {
        result = bl_rng_find(&r->rng, o->rng ? o->rng : "cpu", err);
    }
    if (!result) {
        const char *usual = arch->family->sampler ? arch->family->sampler : "DPM++ 2M";
        result = bl_sampler_find(&r->sampler, &schedule, o->sampler ? o->sampler : usual, err);
    }
    if (!result && o->schedule) {
        result = bl_schedule_find(&schedule, &spacing, o->schedule, err);
    }
    if (!result && o->hires_scale != 0) {
        result = check_hires_size(r, o->hires_scale, arch->family, err);
        if (!result) {
            result = bl_request_schedule(&r->second, r, arch, schedule, spacing, true, err);
        }
    }
    return result ? result : bl_request_schedule(&r->base, r, arch, schedule, spacing, false, err);
}

/* diffusers counts some families' guidance from the prompt: 0 is none. Who asks for 0 by that count elsewhere
 * means the same: everybody's 0 would be a picture of the negative prompt. */
static void take_guidance(bl_request *r, const bl_architecture *arch) {
    const double own = arch->family->guidance;
    r->guidance = own && r->o->guidance != -1 ? r->o->guidance : own;
    r->cfg = r->o->cfg;
    if (arch->family->cfg_from_prompt) {
        r->cfg = r->compat == BL_COMPAT_DIFFUSERS ? r->cfg + 1 : r->cfg == 0 ? 1 : r->cfg;
    }
    const bool alone = arch->family->cfg_needs_negative && !r->o->negative_prompt;
    r->unguided = (arch->distilled || alone) && r->compat == BL_COMPAT_DIFFUSERS && r->cfg != 1;
    r->cfg = r->unguided ? 1 : r->cfg;
}

static int check_decode(bl_request *r, const bl_architecture *arch, bl_error *err) {
    const char *name = r->o->decode ? r->o->decode : "vae";
    r->taesd = !strcmp(name, "taesd");
    if (!r->taesd && strcmp(name, "vae") != 0) {
        return bl_fail(err, BL_E_NOT_FOUND, "decode: no \"%.40s\"; there are vae and taesd", name);
    }
    return !r->taesd || arch->taesd.channels
               ? 0
               : bl_fail(err, BL_E_ARGUMENT, "decode: taesd needs its file; name it with --taesd FILE");
}

static int check_previews(bl_request *r, const bl_architecture *arch, bl_error *err) {
    static const char *const names[] = {
        [BL_PREVIEW_NONE] = "none", [BL_PREVIEW_LINEAR] = "linear", [BL_PREVIEW_TAESD] = "taesd"};
    const char *name = r->o->previews ? r->o->previews : "linear";
    int kind = BL_PREVIEW_TAESD;
    while (kind >= 0 && strcmp(name, names[kind]) != 0) {
        kind--;
    }
    if (kind < 0) {
        return bl_fail(err, BL_E_NOT_FOUND, "preview: no \"%.40s\"; there are none, linear and taesd", name);
    }
    if (kind == BL_PREVIEW_TAESD && !arch->taesd.channels) {
        return bl_fail(err, BL_E_ARGUMENT, "preview: taesd needs its file; name it with --taesd FILE");
    }
    r->previews = (bl_preview_kind)kind;
    return check_between((double)r->o->preview_every, 1, BL_MAX_STEPS, "preview-every", err);
}

/* Also where there is no init image and no second pass: who mistypes a value that is not used yet learns of
 * it now, not when it is. */
static int check_passes(bl_request *r, const ballast_generate_options *o, bl_error *err) {
    int result = check_between(o->strength, 0, 1, "strength", err);
    if (!result) {
        result = check_between(o->hires_strength, 0, 1, "hires-strength", err);
    }
    if (!result && o->hires_steps) {
        result = check_between(o->hires_steps, 1, BL_MAX_STEPS, "hires-steps", err);
    }
    return result ? result
                  : bl_upscaler_find(&r->upscaler, o->hires_upscaler ? o->hires_upscaler : "Latent", err);
}

static bool is_word(const char *word, size_t length, const char *known) {
    return strlen(known) == length && !strncmp(word, known, length);
}

static bool is_listable(const char *word, size_t length, bool types) {
    bool found = false;
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        found = found || is_word(word, length, bl_module_name((bl_module)i));
    }
    for (const bl_family *const *f = bl_families; types && *f; f++) {
        found = found || is_word(word, length, (*f)->type);
    }
    return found;
}

/* "text_encoder, text_encoder_2, ...", with `types` also the families'. */
static void list_listable(char *text, size_t room, bool types) {
    size_t at = 0;
    for (int i = 0; i < BL_MODULE_COUNT && at < room; i++) {
        at += (size_t)snprintf(text + at, room - at, "%s%s", i ? ", " : "", bl_module_name((bl_module)i));
    }
    for (const bl_family *const *f = bl_families; types && *f && at < room; f++) {
        at += (size_t)snprintf(text + at, room - at, ", %s", (*f)->type);
    }
}

/* A list of modules, with `types` also of model types, as bl_offload_lists reads it. */
static int check_list(const char *list, bool types, const char *what, bl_error *err) {
    const char *p = list ? list : "";
    while (*(p += strspn(p, ", \t\r\n"))) {
        size_t n = strcspn(p, ","), length = n;
        while (isspace((unsigned char)p[length - 1])) {
            length--;
        }
        if (!is_listable(p, length, types)) {
            char known[256];
            list_listable(known, sizeof known, types);
            return bl_fail(err, BL_E_NOT_FOUND, "%s: no module \"%.*s\"; there are %s", what,
                           length > 40 ? 40 : (int)length, p, known);
        }
        p += n;
    }
    return 0;
}

/* Which of the two texts it is, the parser does not know. */
static int check_text(const char *text, const char *what, bl_error *err) {
    bl_error own;
    int result = text ? bl_text_check(text, strlen(text), &own) : 0;
    return result ? bl_fail(err, result, "%s: %s", what, own.message) : 0;
}

int bl_request_check(bl_request *out, const ballast_generate_options *o, const bl_architecture *arch,
                     int native_size, bl_error *err) {
    bl_request r = {.o = o};
    int result = o->prompt ? 0 : bl_fail(err, BL_E_ARGUMENT, "prompt: there is none");
    if (!result) {
        result = check_text(o->prompt, "prompt", err);
    }
    if (!result) {
        result = check_text(o->negative_prompt, "negative", err);
    }
    if (!result) {
        result = check_counts(&r, o, err);
    }
    if (!result) {
        result = check_size(&r, o, arch->family, native_size, err);
    }
    if (!result) {
        result = check_start(&r, o, err);
    }
    if (!result) {
        result = check_passes(&r, o, err);
    }
    if (!result) {
        result = check_list(o->never, true, "never", err);
    }
    if (!result) {
        result = check_list(o->always, false, "always", err);
    }
    if (!result) {
        result = check_sampling(&r, arch, err);
    }
    if (!result) {
        result = check_clip_skip(&r, arch, err);
    }
    take_guidance(&r, arch);
    r.plain = arch->family->reader != BL_READER_CLIP;
    result = result ? result : check_decode(&r, arch, err);
    result = result ? result : check_previews(&r, arch, err);
    if (result) {
        bl_request_clear(&r);
        return result;
    }
    *out = r;
    return 0;
}

void bl_request_clear(bl_request *r) {
    bl_schedule_free(&r->base);
    bl_schedule_free(&r->second);
}

int bl_request_evaluations(const bl_request *r, bool second) {
    return bl_sampler_evaluations(r->sampler, second ? r->second->steps : r->base->steps);
}
