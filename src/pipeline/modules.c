#include "pipeline/modules_parts.h"

#include "core/size_text.h"
#include "graph/arena.h"
#include "model/unet.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_TOKENS 49408                  /* those that the tokenizer knows */
#define PROLOGUE "unet.context"            /* what plans and reports call the UNet's prologue, */
#define TIMED_PROLOGUE "transformer.times" /* and a transformer's */
#define KEPT_PREPARED 24 /* graphs kept ready that nobody holds; the least recently used one gives way */

const bl_modules_options *bl_modules_given(const bl_modules *m) {
    return &m->o;
}

uint64_t bl_modules_serial(const bl_modules *m) {
    return m->serial;
}

const char *bl_modules_key(const bl_modules *m) {
    return m->key;
}

const char *bl_modules_dtype_text(const bl_modules *m) {
    for (int i = 0; i < m->opened_count; i++) {
        if (m->opened[i]->module == bl_family_denoiser(m->o.arch->family)) {
            return m->opened[i]->dtype;
        }
    }
    return bl_dtype_name(m->o.dtype);
}

bool bl_modules_news(bl_modules *m, uint64_t arena_bytes) {
    bool news = m->told_arena != arena_bytes;
    m->told_arena = arena_bytes;
    return news;
}

const bl_opened *bl_modules_at(const bl_modules *m, int index) {
    return index >= 0 && index < m->opened_count ? m->opened[index] : NULL;
}

bl_dtype bl_modules_dtype(const bl_modules *m, bl_module module) {
    return bl_module_is_vae(module) ? m->o.vae_dtype : m->o.dtype;
}

/* ---- modules on the device */

static void close_opened(bl_modules *m, bl_opened **xp) {
    bl_opened *x = *xp;
    if (x->id >= 0) {
        bl_memory_remove(m->o.memory, x->id);
    }
    bl_device_module_close(m->device, x->device);
    bl_merge_free(&x->merge);
    bl_model_weights_close(&x->weights);
    bl_graph_free(&x->reference);
    free(x);
    *xp = NULL;
}

/* The storage that most of the module's small weights have, by bytes; PLAIN: none stays small. */
static bl_storage most_stored(const bl_modules *m, const bl_opened *x, const bl_source *source) {
    uint64_t bytes[BL_STORAGE_COUNT] = {0};
    bl_storage most = BL_STORED_PLAIN;
    const bl_block_cost *costs = bl_device_module_costs(m->device, x->device);
    for (int i = 0; i < x->reference->weight_count; i++) {
        const bl_weight *w = &x->reference->weights[i];
        bl_small_weight small;
        if (costs[w->block].small_bytes && bl_source_small(&small, source, w)) {
            bl_storage s = small.form[0].storage;
            bytes[s] += small.bytes;
            most = bytes[s] > bytes[most] ? s : most;
        }
    }
    return most;
}

static void name_dtype(const bl_modules *m, bl_opened *x, const bl_source *source) {
    const bl_storage stored = most_stored(m, x, source);
    snprintf(x->dtype, sizeof x->dtype, "%s%s%s", bl_dtype_name(x->reference->dtype), stored ? ", " : "",
             stored ? bl_storage_of(stored)->name : "");
}

uint64_t bl_opened_bytes(const bl_modules *m, const bl_opened *x, int block, bool changed) {
    const bl_block_cost *cost = &bl_device_module_costs(m->device, x->device)[block];
    return !cost->wide_bytes ? cost->packed_bytes : changed ? cost->wide_bytes : cost->small_bytes;
}

/* Tells the memory owner of the module. */
static int add_to_memory(bl_modules *m, bl_opened *x, bl_error *err) {
    const bl_block_cost *costs = bl_device_module_costs(m->device, x->device);
    int count = x->reference->block_count;
    bl_problem_block *blocks = calloc((size_t)count, sizeof *blocks);
    if (!blocks) {
        return bl_fail_memory(err, "the module's blocks", (unsigned long long)count * sizeof *blocks);
    }
    for (int b = 0; b < count; b++) {
        snprintf(blocks[b].name, sizeof blocks[b].name, "%.63s", x->reference->blocks[b].name);
        blocks[b].bytes = costs[b].packed_bytes;
        blocks[b].source_bytes = costs[b].source_bytes;
        blocks[b].copy_seconds = blocks[b].load_seconds = -1;
        blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
    }
    bl_memory_module known = {.device = x->device,
                              .name = x->form != BL_UNET_PROLOGUE ? bl_module_name(x->module)
                                      : x->module == BL_UNET      ? PROLOGUE
                                                                  : TIMED_PROLOGUE,
                              .dtype = x->dtype,
                              .model = m->o.name,
                              .blocks = blocks,
                              .block_count = count};
    int result = bl_memory_add(&x->id, m->o.memory, &known, err);
    free(blocks);
    return result;
}

static int fill_opened(bl_modules *m, bl_opened *x, bl_error *err) {
    bl_shape_key key = {.batch = 1,
                        .height = 8,
                        .width = 8,
                        .tokens = BL_CHUNK_TOKENS,
                        .clip_skip = x->clip_skip,
                        .form = x->form,
                        .times = m->o.arch->family->timed_prologue && x->form != BL_UNET_WHOLE};
    int result = bl_modules_graph(&x->reference, m, x->module, key, NULL, err);
    if (!result) {
        result = bl_model_weights_open(&x->weights, x->reference, m->o.ckpt, err);
    }
    if (!result) {
        bl_source base = bl_model_source(&x->weights);
        result = bl_merge_new(&x->merge, x->reference, &base, err);
    }
    if (!result) { /* before adapters change any weight: it learns which ones stay small without them */
        bl_source source = bl_merge_source(x->merge);
        result = bl_device_module_open(&x->device, m->device, x->reference, &source, err);
        if (!result) {
            name_dtype(m, x, &source);
        }
    }
    result =
        result ? result : bl_merge_set(x->merge, &(bl_changes){m->adapters, m->adapter_count, &m->rows}, err);
    if (!result) {
        bl_device_module_refresh(m->device, x->device);
        result = add_to_memory(m, x, err);
    }
    return result;
}

static int open_module(bl_opened **out, bl_modules *m, bl_module module, int clip_skip, bl_unet_form form,
                       bl_error *err) {
    *out = NULL;
    size_t count = (size_t)m->opened_count + 1;
    bl_opened **list = realloc(m->opened, count * sizeof *list);
    if (!list) {
        return bl_fail_memory(err, "the model's modules", count * sizeof *list);
    }
    m->opened = list;
    bl_opened *x = calloc(1, sizeof *x);
    if (!x) {
        return bl_fail_memory(err, "a module", sizeof *x);
    }
    *x = (bl_opened){.module = module, .clip_skip = clip_skip, .form = form, .id = -1};
    int result = fill_opened(m, x, err);
    if (result) {
        close_opened(m, &x);
        return result;
    }
    m->opened[m->opened_count++] = x;
    *out = x;
    return 0;
}

bool bl_modules_have(const bl_modules *m, bl_module module) {
    const bl_architecture *arch = m->o.arch;
    switch (module) {
    case BL_TEXT_ENCODER:
        return arch->text[0].present || arch->family->reader != BL_READER_CLIP;
    case BL_TEXT_ENCODER_2:
        return arch->text[1].present ||
               (arch->t5.layers && bl_family_words_module(arch->family) == BL_TEXT_ENCODER_2);
    case BL_TEXT_ENCODER_3:
        return arch->t5.layers && bl_family_words_module(arch->family) == BL_TEXT_ENCODER_3;
    case BL_VAE_ENCODER:
        return arch->vae.has_encoder;
    case BL_TAESD:
        return arch->taesd.channels > 0;
    case BL_UNET:
    case BL_TRANSFORMER:
        return module == bl_family_denoiser(arch->family);
    default:
        return true;
    }
}

int bl_modules_find(const bl_opened **out, bl_modules *m, bl_module module, int clip_skip, bl_unet_form form,
                    bl_error *err) {
    *out = NULL;
    for (int i = 0; i < m->opened_count; i++) {
        const bl_opened *x = m->opened[i];
        if (x->module == module && x->clip_skip == clip_skip && x->form == form) {
            *out = m->opened[i];
            return 0;
        }
    }
    if (!bl_modules_have(m, module)) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%s: this checkpoint has none", bl_module_name(module));
    }
    bl_opened *made = NULL;
    int result = open_module(&made, m, module, clip_skip, form, err);
    if (!result) {
        *out = made;
    }
    return result;
}

/* Sizes that the buffers between the modules are made for, whatever the file says. */
static int check_sizes(const bl_checkpoint *ckpt, const bl_architecture *arch, bl_error *err) {
    for (int e = 0; e < 2; e++) {
        const bl_text_architecture *t = &arch->text[e];
        if (t->present && (t->vocab < CLIP_TOKENS || t->positions < BL_CHUNK_TOKENS)) {
            return bl_fail(
                err, BL_E_UNSUPPORTED,
                "%.400s: the %s has %d tokens and %d positions; CLIP, as SD and SDXL use it, has %d "
                "and %d",
                bl_checkpoint_path(ckpt), bl_module_name(e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER), t->vocab,
                t->positions, CLIP_TOKENS, BL_CHUNK_TOKENS);
        }
    }
    const int side = 1 << (arch->vae.levels - 1), usual = bl_family_vae_downscale(arch->family);
    if (side != usual) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.400s: this autoencoder (VAE) has %d levels, so that its latents stand for %dx%d pixels; "
            "those of %s stand for %dx%d",
            bl_safetensors_path(bl_checkpoint_module_file(ckpt, BL_VAE_DECODER)), arch->vae.levels, side,
            side, arch->family->name, usual, usual);
    }
    return 0;
}

/* In the form in which it will mostly run, which has all of its weights. */
static int open_first(bl_modules *m, bl_module module, bl_error *err) {
    const bl_opened *x;
    const bl_family *f = m->o.arch->family;
    if (module != BL_UNET && !(f->timed_prologue && module == bl_family_denoiser(f))) {
        return bl_modules_find(&x, m, module, 0, BL_UNET_WHOLE, err);
    }
    int result = bl_modules_find(&x, m, module, 0, BL_UNET_STEP, err);
    return result ? result : bl_modules_find(&x, m, module, 0, BL_UNET_PROLOGUE, err);
}

static _Atomic uint64_t serials;

int bl_modules_open(bl_modules **out, const bl_modules_options *options, bl_error *err) {
    *out = NULL;
    bl_modules *m = calloc(1, sizeof *m);
    if (!m) {
        return bl_fail_memory(err, "the model's modules", sizeof *m);
    }
    m->o = *options;
    m->serial = atomic_fetch_add(&serials, 1) + 1;
    m->device = bl_memory_device(options->memory);
    snprintf(m->key, sizeof m->key, "%s, %d channels, context %d", options->arch->family->name,
             options->arch->width, options->arch->context_dim);
    int result = check_sizes(options->ckpt, options->arch, err);
    for (int i = 0; i < BL_MODULE_COUNT && !result; i++) {
        result = bl_modules_have(m, (bl_module)i) ? open_first(m, (bl_module)i, err) : 0;
    }
    if (result) {
        bl_modules_close(&m);
        return result;
    }
    *out = m;
    return 0;
}

static void close_prepared(bl_modules *m, bl_prepared *p) {
    for (int l = 0; l < p->level_count; l++) {
        bl_device_executable_close(m->device, p->executable[l]);
    }
    bl_graph_free(&p->graph);
    free(p);
}

void bl_modules_close(bl_modules **mp) {
    bl_modules *m = *mp;
    if (!m) {
        return;
    }
    for (int i = 0; i < m->prepared_count; i++) {
        close_prepared(m, m->prepared[i]);
    }
    for (int i = 0; i < m->opened_count; i++) {
        close_opened(m, &m->opened[i]);
    }
    for (int i = 0; i < m->adapter_count; i++) {
        bl_adapter_drop(&m->adapters[i].adapter);
    }
    bl_rows_clear(&m->rows);
    free(m->prepared);
    free(m->opened);
    free(m);
    *mp = NULL;
}

void bl_modules_release(bl_modules *m) {
    for (int i = 0; i < m->opened_count; i++) {
        bl_memory_release(m->o.memory, m->opened[i]->id);
    }
}

/* ---- graphs that are ready */

/* Refuses a picture whose activations alone are more than the machine has, before any kernel is looked for.
 * The smallest of a device's arenas is about half of what is alive at once when nothing is done to make it
 * smaller. */
static int check_size(bl_modules *m, const bl_graph *g, bl_error *err) {
    uint64_t memory = bl_memory_caps(m->o.memory)->memory_bytes;
    bl_op_memory *none = calloc((size_t)g->op_count, sizeof *none);
    bl_arena_plan plan;
    int result =
        none ? 0 : bl_fail_memory(err, "the arena plan", (unsigned long long)g->op_count * sizeof *none);
    for (int i = 0; none && i < g->op_count; i++) {
        none[i].inplace = -1;
    }
    if (!result) {
        result = bl_arena_plan_make(&plan, g, none, err);
    }
    free(none);
    if (result) {
        return result;
    }
    uint64_t bytes = plan.live_bytes / 2;
    bl_arena_plan_free(&plan);
    if (bytes > memory) {
        return bl_fail(err, BL_E_BUDGET,
                       "width, height, batch: a picture of this size needs %s for the activations of the "
                       "%s alone; this machine has %s: take a smaller one",
                       bl_size_of(bytes).text, bl_module_name(g->module), bl_size_of(memory).text);
    }
    return 0;
}

/* Prepares the next level of the device; one whose arena is no smaller than that of the one before is left
 * out. */
static int prepare_next(bl_prepared *p, bl_modules *m, bl_error *err) {
    bl_prepare_options options = {.arena_level = p->tuning.level + p->tried++, .tuning = p->tuning};
    bl_executable *x = NULL;
    int result = bl_device_prepare(&x, m->device, p->opened->device, p->graph, &options, err);
    if (result) {
        return result;
    }
    bl_exec_info info = bl_device_executable_info(m->device, x);
    if (p->level_count && info.arena_bytes >= p->info[p->level_count - 1].arena_bytes) {
        bl_device_executable_close(m->device, x);
        return 0;
    }
    p->executable[p->level_count] = x;
    p->info[p->level_count++] = info;
    return 0;
}

int bl_modules_prepare_levels(bl_modules *m, bl_prepared *p, bl_error *err) {
    int levels = bl_memory_caps(m->o.memory)->arena_levels - p->tuning.level, result = 0;
    while (p->tried < levels && p->tried < BL_PROBLEM_LEVELS && !result) {
        result = prepare_next(p, m, err);
    }
    return result;
}

/* The clip skip whose module a graph belongs to: the one without where it reads the layers behind its context
 * all the same. */
static int skip_of_weights(const bl_modules *m, bl_module module, bl_shape_key key) {
    bool text = module == BL_TEXT_ENCODER || module == BL_TEXT_ENCODER_2;
    bool pooled = text && (module == BL_TEXT_ENCODER_2) == m->o.arch->family->pooled;
    return pooled || key.own_context ? 0 : key.clip_skip;
}

static int prepare(bl_prepared **out, bl_modules *m, bl_module module, bl_shape_key key,
                   const bl_tuning *tuning, bl_error *err) {
    *out = NULL;
    bl_prepared *p = calloc(1, sizeof *p);
    if (!p) {
        return bl_fail_memory(err, "a prepared graph", sizeof *p);
    }
    p->key = key;
    p->tuning = *tuning;
    int clip_skip = skip_of_weights(m, module, key);
    int result = bl_modules_find(&p->opened, m, module, clip_skip, key.form, err);
    if (!result) {
        result = bl_modules_graph(&p->graph, m, module, key, NULL, err);
    }
    if (!result) {
        result = check_size(m, p->graph, err);
    }
    if (!result) {
        result = prepare_next(p, m, err);
    }
    if (result) {
        close_prepared(m, p);
        return result;
    }
    *out = p;
    return 0;
}

/* Closes the graph that nobody holds and that was used longest ago, if more are kept than should be. */
static void forget_oldest(bl_modules *m) {
    int idle = 0, oldest = -1;
    for (int i = 0; i < m->prepared_count; i++) {
        const bl_prepared *p = m->prepared[i];
        if (!p->holders) {
            idle++;
            oldest = oldest < 0 || p->used < m->prepared[oldest]->used ? i : oldest;
        }
    }
    if (idle > KEPT_PREPARED) {
        close_prepared(m, m->prepared[oldest]);
        m->prepared[oldest] = m->prepared[--m->prepared_count];
    }
}

/* Together with bl_shape_same: each field of the key is in both. */
void bl_shape_text(char *out, size_t room, bl_shape_key key) {
    static const char *const forms[] = {[BL_UNET_WHOLE] = "", [BL_UNET_PROLOGUE] = "p", [BL_UNET_STEP] = "s"};
    char kept[24] = "";
    if (key.kept) {
        snprintf(kept, sizeof kept, "k%llu", (unsigned long long)key.kept);
    }
    char times[16] = "";
    if (key.times) {
        snprintf(times, sizeof times, "t%d", key.times);
    }
    char second[16] = "";
    if (key.second) {
        snprintf(second, sizeof second, "+%d", key.second);
    }
    snprintf(out, room, "%dx%dx%dx%d%sx%d%s%s%s%s%s%s", key.batch, key.height, key.width, key.tokens, second,
             key.clip_skip, forms[key.form], key.own_context ? "c" : "", key.own_lengths ? "o" : "",
             key.late_crop ? "l" : "", kept, times);
}

bool bl_shape_same(bl_shape_key a, bl_shape_key b) {
    return a.batch == b.batch && a.height == b.height && a.width == b.width && a.tokens == b.tokens &&
           a.second == b.second && a.clip_skip == b.clip_skip && a.own_context == b.own_context &&
           a.own_lengths == b.own_lengths && a.late_crop == b.late_crop && a.form == b.form &&
           a.kept == b.kept && a.times == b.times;
}

int bl_modules_take(bl_prepared **out, bl_modules *m, bl_module module, bl_shape_key key,
                    const bl_tuning *tuning, bl_error *err) {
    static const bl_tuning untuned;
    tuning = tuning ? tuning : &untuned;
    *out = NULL;
    for (int i = 0; i < m->prepared_count && !*out; i++) {
        bl_prepared *p = m->prepared[i];
        if (p->opened->module == module && bl_shape_same(p->key, key) && bl_tuning_same(&p->tuning, tuning)) {
            *out = p;
        }
    }
    if (!*out) {
        size_t count = (size_t)m->prepared_count + 1;
        bl_prepared **list = realloc(m->prepared, count * sizeof *list);
        if (!list) {
            return bl_fail_memory(err, "the prepared graphs", count * sizeof *list);
        }
        m->prepared = list;
        int result = prepare(out, m, module, key, tuning, err);
        if (result) {
            return result;
        }
        m->prepared[m->prepared_count++] = *out;
    }
    (*out)->used = ++m->clock;
    (*out)->holders++;
    return 0;
}

void bl_modules_give(bl_modules *m, bl_prepared *p) {
    p->holders--;
    forget_oldest(m);
}
