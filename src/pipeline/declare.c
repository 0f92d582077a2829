#include "pipeline/job.h"

#include "core/size_text.h"
#include "pipeline/request_schedule.h"
#include "text/adapter_tags.h"

#include <stdlib.h>
#include <string.h>

#define BATCHES_AHEAD 2 /* of those that follow a first batch */

void bl_job_close(bl_job *j) {
    bl_generation_free(&j->generation);
    bl_generation_free(&j->after);
    for (int i = 0; i < j->follower_count; i++) {
        bl_job_close(&j->followers[i]);
    }
    free(j->followers);
    for (int b = 0; b < 64; b++) {
        bl_noise_free(&j->noise[b]);
    }
    free(j->x);
    free(j->init_latents);
    bl_adapters_clear(&j->adapters);
    bl_embeddings_clear(&j->embeddings);
    bl_condition_clear(&j->condition);
    bl_request_clear(&j->r);
}

static int read_request(bl_job *j, const ballast_generate_options *o, bl_error *err) {
    const bl_pipeline *p = j->p;
    int result = bl_request_check(&j->r, o, p->arch, p->native_size, err);
    result = result ? result
                    : bl_embeddings_open(&j->embeddings, p->arch, p->ckpt, p->tokenizer, o, j->r.compat, err);
    result = result
                 ? result
                 : bl_condition_parse(&j->condition, &j->r, p->arch, j->embeddings.tokenizer, &p->words, err);
    return result ? result : bl_embeddings_place(&j->embeddings, &j->condition, p->arch, err);
}

static bl_changes changes_of(const bl_job *j) {
    return (bl_changes){j->adapters.list, j->adapters.count, &j->embeddings.rows};
}

/* Finds out which texts were encoded before. */
static int look(bl_job *j, bool anew, bl_error *err) {
    bl_encoder who = {.encodings = anew ? NULL : j->p->encodings,
                      .model = bl_modules_serial(j->p->modules),
                      .encoders = bl_job_family(j)->encoders,
                      .changes = changes_of(j)};
    return bl_condition_look(&j->condition, &who, err);
}

int bl_job_open(bl_job *j, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    *j = (bl_job){.p = p, .untuned = p->untuned};
    int result = read_request(j, o, err);
    result =
        result ? result
               : bl_adapters_open(&j->adapters, p->shelf, p->ckpt, o, bl_modules_given(p->modules)->log, err);
    return result ? result : look(j, false, err);
}

void bl_job_tell(const bl_job *j, const bl_placement *placement) {
    const bl_pipeline *p = j->p;
    const bl_log *log = bl_modules_given(p->modules)->log;
    bl_placement_tell(placement, bl_memory_caps(bl_modules_given(p->modules)->memory)->memory_bytes, log);
    if (p->recommended && p->recommended[0]) {
        bl_log_line(log, BL_LOG_INFO, "%s", p->recommended);
    }
    bl_request_tell(&j->r, p->arch->family, log);
    bl_condition_tell(&j->condition, &j->r, p->arch, log);
    if (j->r.previews == BL_PREVIEW_TAESD && j->r.o->preview && bl_job_cannot_preview(j)) {
        bl_log_line(
            log, BL_LOG_INFO,
            "Previews are linear: nobody knows beforehand when this sampler's steps end, and TAESD has its "
            "turn by plan");
    }
    if (j->r.o->verbose) {
        bl_adapters_show(&j->adapters, log);
        bl_condition_show(&j->condition, &j->r, &j->embeddings, log);
    }
}

/* The UNet's graph for a pass. */
static bl_shape_key denoiser_key(const bl_job *j, int height, int width) {
    const bool unet = bl_job_family(j)->net == BL_NET_UNET;
    /* a side that no level has to round up is a multiple of it */
    int whole = unet ? 1 << (j->p->arch->unet.levels - 1) : 1;
    return (bl_shape_key){.batch = j->condition.rows * j->r.o->batch,
                          .height = height,
                          .width = width,
                          .tokens = j->condition.tokens,
                          .own_lengths = j->condition.own_lengths,
                          .late_crop = j->r.compat == BL_COMPAT_A1111 && (height % whole || width % whole)};
}

int bl_job_times(const bl_job *j, bool second) {
    return bl_request_times(&j->r, bl_job_family(j), second);
}

/* The denoiser's phases in one of the two passes. `kept`: what the prologue keeps is there already. */
static int declare_denoiser(bl_job *j, bool hires, bl_shape_key key, bool kept, bl_error *err) {
    int *prologue = hires ? &j->at.prologue_hires : &j->at.prologue;
    int result = 0;
    key.times = bl_job_times(j, hires);
    if (j->in_two && (!kept || key.times)) { /* of a text it is the same in both passes, not of times */
        bl_shape_key of_text = {.batch = key.batch,
                                .tokens = key.times ? 0 : key.tokens,
                                .form = BL_UNET_PROLOGUE,
                                .times = key.times};
        result = *prologue =
            bl_generation_phase(j->generation, hires ? "prologue hires" : "prologue", "pipeline",
                                bl_family_denoiser(bl_job_family(j)), of_text, 1, err);
    }
    if (result < 0) {
        return result;
    }
    key.form = j->in_two ? BL_UNET_STEP : BL_UNET_WHOLE;
    result = bl_job_declare_walk(j, hires, key, err);
    *(hires ? &j->at.denoise_hires : &j->at.denoise) = result;
    return result;
}

static int declare_phases(bl_job *j, bl_error *err) {
    const bl_request *r = &j->r;
    const int scale = bl_job_family(j)->downscale, packed = bl_family_packed(bl_job_family(j));
    int h = r->height / scale, w = r->width / scale, batch = r->o->batch;
    j->at = (bl_job_phases){-1, -1, -1, -1, -1, -1, -1, -1};
    bl_generation_free(&j->generation);
    int result = bl_generation_new(&j->generation, j->p->modules, err);
    if (result) {
        return result;
    }
    bl_generation *e = j->generation;
    bl_generation_adapt(e, changes_of(j));
    if (j->untuned) {
        bl_generation_untuned(e);
    }
    if (j->p->measured) {
        bl_generation_measured(e);
    }
    if (j->looked_at) {
        bl_generation_all_levels(e);
    }
    if (!j->condition.context && !(j->later && j->p->encodings)) {
        result = bl_condition_phases(&j->condition, e, j->p->arch, err);
    }
    if (!result && r->o->init_rgb && !j->init_latents && !j->later) {
        result = j->at.encode_init =
            bl_encode_phase(e, "encode image", 1, packed * h, packed * w, j->side, err);
    }
    if (result >= 0) {
        result = declare_denoiser(j, false, denoiser_key(j, h, w), false, err);
    }
    if (result >= 0 && r->second) {
        if (!r->upscaler->latent) {
            result = j->at.decode_base =
                bl_decode_phase(e, "decode base", r->taesd, batch, packed * h, packed * w, j->side, err);
            if (result >= 0) {
                result = j->at.encode_hires =
                    bl_encode_phase(e, "encode hires", batch, packed * (r->hires_height / scale),
                                    packed * (r->hires_width / scale), j->side, err);
            }
        }
        h = r->hires_height / scale;
        w = r->hires_width / scale;
        if (result >= 0) {
            result = declare_denoiser(j, true, denoiser_key(j, h, w), r->upscaler->latent, err);
        }
    }
    if (result >= 0) {
        result = j->at.decode =
            bl_decode_phase(e, "decode", r->taesd, batch, packed * h, packed * w, j->side, err);
    }
    return result < 0 ? result : 0;
}

/* Declares the batch's phases with the denoiser in two, or whole where what a prologue keeps does not fit.
 * j->least becomes the smallest budget of either form. */
static int declare_with_room(bl_job *j, const bl_placement *placement, bl_error *err) {
    bl_room two, whole;
    /* what a prologue makes of a text is kept throughout */
    const bool timed = bl_job_family(j)->timed_prologue;
    j->in_two = timed || (bl_job_family(j)->net == BL_NET_UNET && bl_texts_constant(&j->condition.texts));
    j->weigh = false;
    int result = declare_phases(j, err);
    if (!result) {
        result = bl_generation_room(&two, j->generation, placement, err);
    }
    if (result) {
        return result;
    }
    if (!j->in_two || timed) {
        j->least = two.least;
        return 0;
    }
    bool plans = placement->offload.mode == BL_OFFLOAD_AUTO;
    bool fits = two.kept_least <= two.budget && (plans || two.spares);
    j->weigh = plans && (!two.spares || two.async_copy);
    j->least = two.least;
    if (fits && two.kept_least < two.mode_least) { /* the whole would need as much elsewhere */
        return 0;
    }
    j->in_two = false;
    result = declare_phases(j, err);
    if (!result) {
        result = bl_generation_room(&whole, j->generation, placement, err);
    }
    if (result) {
        return result;
    }
    j->least = whole.least < two.least ? whole.least : two.least;
    j->in_two = fits || (whole.mode_least > whole.budget && two.mode_least < whole.mode_least);
    return j->in_two ? declare_phases(j, err) : 0;
}

/* The whole may be the faster form where more is kept than weights are spared; and where copies run beside
 * the steps, for few of these: the weights of a prologue come before the first one, and not beside it. There
 * both are planned, and the better is declared. */
static int weigh_forms(bl_job *j, const bl_placement *placement, bl_error *err) {
    if (!j->in_two || !j->weigh) {
        return 0;
    }
    double in_two, whole;
    int result = bl_generation_weigh(&in_two, j->generation, placement, err);
    j->in_two = false;
    if (!result) {
        result = declare_phases(j, err);
    }
    if (!result) {
        result = bl_generation_weigh(&whole, j->generation, placement, err);
    }
    if (result || whole < in_two) {
        return result;
    }
    j->in_two = true;
    return declare_phases(j, err);
}

/* Modes that want whole modules need more than the smallest budget of all. */
static bool wants_blocks(const bl_placement *placement) {
    return placement->offload.mode != BL_OFFLOAD_NONE && placement->offload.mode != BL_OFFLOAD_MODEL;
}

static int largest_tile(const bl_job *j) {
    return bl_tiles_side(j->p->native_size / bl_family_vae_downscale(bl_job_family(j)));
}

static int declare_tiled(bl_job *j, const bl_placement *placement, bl_error *err) {
    const int largest = largest_tile(j);
    const bool may = placement->tiled == BL_TILED_AUTO;
    uint64_t least = 0, tiled_least, budget = 0;
    j->side = placement->tiled == BL_TILED_ON ? largest : 0;
    j->tiled_least = j->whole_least = 0;
    int result = declare_with_room(j, placement, err);
    result = result ? result : bl_generation_budget(j->generation, placement, &least, &budget, err);
    if (!result && least > budget && bl_generation_is_tuned(j->generation)) {
        j->untuned = true; /* more threads need more memory: a budget that does without them still does */
        return declare_tiled(j, placement, err);
    }
    if (result || j->side) {
        return result;
    }
    tiled_least = least;
    for (int side = may ? largest : BL_TILES_SMALLEST; !result && side && tiled_least > budget;
         side = bl_tiles_smaller(side)) {
        j->side = side;
        result = declare_phases(j, err);
        if (!result) {
            result = bl_generation_budget(j->generation, placement, &tiled_least, &budget, err);
        }
    }
    if (result || !j->side) {
        return result;
    }
    if (may && tiled_least < least) {
        j->whole_least = least + placement->reserved_bytes;
        j->budget = budget + placement->reserved_bytes;
        return 0;
    }
    j->side = 0;
    j->tiled_least =
        tiled_least < least && wants_blocks(placement) ? tiled_least + placement->reserved_bytes : 0;
    return declare_phases(j, err);
}

/* Of a budget that is too small: whether it, or what else, would do with TAESD in the decoder's place. What
 * is declared stays. */
static int weigh_taesd(bl_job *j, const bl_placement *placement, bl_error *err) {
    uint64_t least, budget;
    j->taesd_least = 0;
    j->taesd_might = false;
    int result = bl_generation_budget(j->generation, placement, &least, &budget, err);
    if (result || least <= budget || j->r.taesd || !wants_blocks(placement)) {
        return result;
    }
    if (!j->p->arch->taesd.channels) {
        j->taesd_might = bl_generation_hungriest(j->generation) == j->at.decode;
        return 0;
    }
    const uint64_t own_least = j->least;
    const bool in_two = j->in_two, weigh = j->weigh;
    j->r.taesd = true;
    result = declare_with_room(j, placement, err);
    j->r.taesd = false;
    if (!result && j->least < least) {
        j->taesd_least = j->least + placement->reserved_bytes;
    }
    j->least = own_least;
    j->in_two = in_two;
    j->weigh = weigh;
    return result ? result : declare_phases(j, err);
}

int bl_job_declare(bl_job *j, const bl_placement *placement, bl_error *err) {
    int result = declare_tiled(j, placement, err);
    result = result ? result : weigh_taesd(j, placement, err);
    if (!result) {
        result = weigh_forms(j, placement, err);
    }
    if (!result && !j->side) {
        bl_generation_set_least(j->generation, j->least);
    }
    return result;
}

bool bl_job_differs_later(const bl_job *j) {
    bool texts = j->p->encodings && j->condition.missing && !j->condition.context;
    return texts || (j->r.o->init_rgb && !j->init_latents);
}

int bl_job_declare_after(bl_job *j, bl_error *err) {
    bl_generation *first = j->generation;
    bl_job_phases at = j->at;
    const bl_job_walk base = j->walk[0], second = j->walk[1];
    bl_generation_free(&j->after);
    j->generation = NULL;
    j->later = true;
    int result = declare_phases(j, err);
    j->after = j->generation;
    j->later = false;
    j->generation = first;
    j->at = at;
    j->walk[0] = base;
    j->walk[1] = second;
    for (int i = 0; i < BATCHES_AHEAD && !result; i++) {
        bl_generation_follow(first, j->after, 1);
    }
    return result;
}

/* Which may change the encoders. They are not opened for requests that are only expected: what these encode
 * counts as new. */
static bool has_adapters(const ballast_generate_options *o) {
    char *words = bl_without_adapter_tags(o->prompt);
    bool tags = !words || strcmp(words, o->prompt) != 0;
    free(words);
    return o->adapter_count || tags;
}

/* Of `j` and its followers, in their order. */
static const bl_job *next_job(const bl_job *j, const bl_job *at) {
    return at == j ? j->followers : at + 1;
}

/* Declares what is expected, as far as it goes: once, for all batches. */
static int declare_follower(bl_job *f, const bl_job *j, const bl_expected *x, const bl_placement *placement,
                            bl_error *err) {
    bl_error ignored = {0};
    *f = (bl_job){.p = &x->pipeline, .in_two = j->in_two};
    int result = read_request(f, &x->options, x->habit ? &ignored : err);
    result = result ? result : look(f, x->anew || has_adapters(&x->options), x->habit ? &ignored : err);
    for (const bl_job *before = j; !result && before != f; before = next_job(j, before)) {
        bl_condition_comes_after(&f->condition, &before->condition);
    }
    f->r.previews = BL_PREVIEW_NONE; /* TAESD's weights are few */
    if (!result) {
        f->in_two = f->in_two && bl_texts_constant(&f->condition.texts);
        f->side = placement->tiled == BL_TILED_ON ? largest_tile(f) : 0;
        result = declare_phases(f, x->habit ? &ignored : err);
    }
    if (result && x->habit) {
        bl_job_close(f);
        *f = (bl_job){.p = &x->pipeline};
        result = 0;
    }
    return result;
}

int bl_job_expect(bl_job *j, const bl_placement *placement, bl_error *err) {
    int count = j->p->next_count, result = 0;
    if (count && !j->followers) {
        j->followers = calloc((size_t)count, sizeof *j->followers);
        if (!j->followers) {
            return bl_fail_memory(err, "what is expected next", (size_t)count * sizeof *j->followers);
        }
    }
    for (int i = 0; i < count && !result; i++) {
        const bl_expected *x = &j->p->next[i];
        if (i == j->follower_count) {
            j->follower_count++;
            result = x->again ? 0 : declare_follower(&j->followers[i], j, x, placement, err);
        }
        const bl_generation *next = x->again ? j->generation : j->followers[i].generation;
        if (!result && next) {
            bl_generation_follow(j->generation, next, x->likelihood);
        }
    }
    return result;
}

/* The refusal with another way behind it. */
static int add_way(int result, bl_error *err, const char *way, uint64_t bytes) {
    bl_error refused = *err;
    return bl_fail(err, result, "%s; %s needs %llu bytes (%s)", refused.message, way,
                   (unsigned long long)bytes, bl_size_of(bytes).text);
}

int bl_job_mention(const bl_job *j, int result, bl_error *err) {
    if (!result && j->whole_least && !j->first_image) {
        bl_log_line(bl_generation_log(j->generation), BL_LOG_INFO,
                    "The VAE works in tiles of %d x %d pixels, which changes the picture slightly: whole "
                    "needs a budget of %s, this is %s",
                    bl_family_vae_downscale(bl_job_family(j)) * j->side,
                    bl_family_vae_downscale(bl_job_family(j)) * j->side, bl_size_of(j->whole_least).text,
                    bl_size_of(j->budget).text);
    }
    if (result != BL_E_BUDGET || !err) {
        return result;
    }
    if (j->tiled_least) {
        add_way(result, err, "--tiled-decode auto, which changes the picture slightly,", j->tiled_least);
    }
    if (j->taesd_least) {
        add_way(result, err, "--decode taesd, for a draft,", j->taesd_least);
    } else if (j->taesd_might) {
        bl_error refused = *err;
        bl_fail(err, result, "%s; for a draft, --decode taesd with a --taesd FILE decodes in less",
                refused.message);
    }
    return result;
}
