#include "pipeline/engine_parts.h"

#include "graph/arena.h"
#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_TOKENS 49408 /* those that the tokenizer knows */
#define VAE_LEVELS 4      /* each but one halves the picture: a latent stands for 8x8 pixels */

bl_dtype bl_engine_dtype(const bl_engine *e, bl_module module) {
    return module == BL_VAE_DECODER || module == BL_VAE_ENCODER ? e->o.vae_dtype : e->o.dtype;
}

static int text_graph(bl_graph **out, const bl_engine *e, bl_module module, bl_shape_key key,
                      const char *const *taps, bl_error *err) {
    const bl_text_architecture *t = &e->o.arch->text[module == BL_TEXT_ENCODER_2];
    bool pooled = module == BL_TEXT_ENCODER_2 && t->projection;
    bl_clip_text_outputs want = {.context = true, .clip_skip = key.clip_skip, .text_embeds = pooled};
    return bl_clip_text_graph(out, module, t, key.batch, BL_CHUNK_TOKENS, want, bl_engine_dtype(e, module),
                              taps, err);
}

int bl_engine_graph(bl_graph **out, const bl_engine *e, bl_module module, bl_shape_key key,
                    const char *const *taps, bl_error *err) {
    const bl_architecture *arch = e->o.arch;
    switch (module) {
    case BL_UNET: {
        bl_unet_shape shape = {key.batch, key.height, key.width, key.tokens};
        return bl_unet_graph(out, &arch->unet, shape, bl_engine_dtype(e, module), taps, err);
    }
    case BL_VAE_DECODER:
        return bl_vae_decoder_graph(out, &arch->vae, (bl_vae_shape){key.batch, key.height, key.width},
                                    bl_engine_dtype(e, module), taps, err);
    case BL_VAE_ENCODER:
        return bl_vae_encoder_graph(out, &arch->vae, (bl_vae_shape){key.batch, key.height, key.width},
                                    bl_engine_dtype(e, module), taps, err);
    default:
        return text_graph(out, e, module, key, taps, err);
    }
}

/* ---- modules on the device */

static void close_prepared(bl_engine *e, bl_prepared *p) {
    for (int l = 0; l < p->level_count; l++) {
        e->ops->executable_close(p->executable[l]);
    }
    bl_graph_free(&p->graph);
    memset(p, 0, sizeof *p);
}

static void close_module(bl_engine *e, bl_module module) {
    bl_engine_module *m = &e->modules[module];
    for (int i = 0; i < BL_ENGINE_PREPARED; i++) {
        bl_prepared *p = &e->prepared[i];
        if (p->used && p->module == module) {
            close_prepared(e, p);
        }
    }
    if (m->device) {
        e->ops->module_close(m->device);
        m->device = NULL;
    }
    bl_graph_free(&m->reference);
}

static int open_module(bl_engine *e, bl_module module, int clip_skip, bl_error *err) {
    bl_engine_module *m = &e->modules[module];
    bl_shape_key key = {.batch = 1, .height = 8, .width = 8, .tokens = 77, .clip_skip = clip_skip};
    m->weights = (bl_model_weights){e->o.ckpt, module};
    int result = bl_engine_graph(&m->reference, e, module, key, NULL, err);
    if (!result) {
        result = bl_model_check(m->reference, e->o.ckpt, err);
    }
    if (!result) {
        bl_source source = bl_model_source(&m->weights);
        result = e->ops->module_open(&m->device, e->o.device, m->reference, &source, err);
    }
    return result;
}

static bool is_there(const bl_engine *e, bl_module module) {
    const bl_architecture *arch = e->o.arch;
    switch (module) {
    case BL_TEXT_ENCODER:
        return arch->text[0].present;
    case BL_TEXT_ENCODER_2:
        return arch->text[1].present;
    case BL_VAE_ENCODER:
        return arch->vae.has_encoder;
    default:
        return true;
    }
}

static int poll_executor(void *payload) {
    bl_engine *e = payload;
    return e->poll ? e->poll(e->payload) : 0;
}

int bl_engine_open_modules(bl_engine *e, int clip_skip, bl_error *err) {
    if (e->executor && clip_skip == e->clip_skip) {
        return 0;
    }
    /* Another clip skip is another list of weights, and the executor knows a fixed list of modules. */
    bl_executor_close(&e->executor);
    close_module(e, BL_TEXT_ENCODER);
    bl_device_module *devices[BL_MODULE_COUNT];
    e->listed_count = 0;
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        bl_module module = (bl_module)i;
        e->number[i] = -1;
        if (!is_there(e, module)) {
            continue;
        }
        int result =
            e->modules[i].device ? 0 : open_module(e, module, module == BL_TEXT_ENCODER ? clip_skip : 0, err);
        if (result) {
            return result;
        }
        e->number[i] = e->listed_count;
        e->listed[e->listed_count] = module;
        devices[e->listed_count++] = e->modules[i].device;
    }
    const char *debug = getenv("BALLAST_MOVE_DEBUG");
    bl_executor_options options = {.cancel = poll_executor,
                                   .payload = e,
                                   .log = e->o.log,
                                   .move_debug = debug && *debug && strcmp(debug, "0") != 0};
    e->clip_skip = clip_skip;
    return bl_executor_open(&e->executor, e->o.device, devices, e->listed_count, &options, err);
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
    if (arch->vae.levels != VAE_LEVELS) {
        int side = 1 << (arch->vae.levels - 1);
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.400s: this autoencoder (VAE) has %d levels, so that its latents stand for %dx%d pixels; "
            "those of SD 1.x, SD 2.x and SDXL stand for 8x8",
            bl_safetensors_path(bl_checkpoint_module_file(ckpt, BL_VAE_DECODER)), arch->vae.levels, side,
            side);
    }
    return 0;
}

int bl_engine_open(bl_engine **out, const bl_engine_options *options, bl_error *err) {
    *out = NULL;
    bl_engine *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "the engine", sizeof *e);
    }
    e->o = *options;
    e->ops = options->device->ops;
    e->current = -1;
    e->ops->caps(options->device, &e->caps);
    bl_ledger_init(&e->ledger);
    snprintf(e->model_key, sizeof e->model_key, "%s, %d channels, context %d",
             bl_family_name(options->arch->family), options->arch->unet.channels[0],
             options->arch->unet.context_dim);
    int result = check_sizes(options->ckpt, options->arch, err);
    if (!result) {
        result = bl_calibration_open(&e->calibration, options->calibration_path, options->log, err);
    }
    if (!result) {
        result = bl_engine_open_modules(e, 0, err);
    }
    if (result) {
        bl_engine_close(&e);
        return result;
    }
    *out = e;
    return 0;
}

void bl_engine_close(bl_engine **engine) {
    bl_engine *e = *engine;
    if (!e) {
        return;
    }
    bl_engine_end(e, false, NULL);
    bl_executor_close(&e->executor);
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        close_module(e, (bl_module)i);
    }
    bl_plan_free(&e->plan);
    bl_problem_free(&e->problem);
    bl_ledger_free(&e->ledger);
    bl_calibration_close(&e->calibration);
    free(e);
    *engine = NULL;
}

uint64_t bl_engine_memory(const bl_engine *e) {
    return e->caps.memory_bytes;
}

const bl_log *bl_engine_log(const bl_engine *e) {
    return e->o.log;
}

/* ---- graphs that are ready */

/* Refuses a picture whose activations alone are more than the machine has, before any kernel is looked for.
 * The smallest of a device's arenas is about half of what is alive at once when nothing is done to make it
 * smaller. */
static int check_size(const bl_engine *e, const bl_graph *g, bl_error *err) {
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
    if (bytes > e->caps.memory_bytes) {
        return bl_fail(err, BL_E_BUDGET,
                       "%s: a picture of this size needs %.1f GB for activations alone; this machine has "
                       "%.1f GB: take a "
                       "smaller width, height or batch",
                       bl_module_name(g->module), (double)bytes / 1e9, (double)e->caps.memory_bytes / 1e9);
    }
    return 0;
}

static bl_prepared *find_place(bl_engine *e) {
    bl_prepared *oldest = &e->prepared[0];
    for (int i = 0; i < BL_ENGINE_PREPARED; i++) {
        if (e->prepared[i].used < oldest->used) {
            oldest = &e->prepared[i];
        }
    }
    return oldest;
}

/* Prepares the graph at every level that has a smaller arena than the one before. */
static int prepare_levels(bl_prepared *p, bl_engine *e, bl_error *err) {
    int most = e->caps.arena_levels < BL_PROBLEM_LEVELS ? e->caps.arena_levels : BL_PROBLEM_LEVELS;
    for (int l = 0; l < most; l++) {
        bl_prepare_options options = {.arena_level = l};
        bl_executable *x = NULL;
        int result = e->ops->prepare(&x, e->modules[p->module].device, p->graph, &options, err);
        if (result) {
            return result;
        }
        bl_exec_info info;
        e->ops->executable_info(x, &info);
        if (p->level_count && info.arena_bytes >= p->info[p->level_count - 1].arena_bytes) {
            e->ops->executable_close(x);
            continue;
        }
        p->executable[p->level_count] = x;
        p->info[p->level_count++] = info;
    }
    return 0;
}

int bl_engine_prepare(bl_prepared **out, bl_engine *e, bl_module module, bl_shape_key key, bl_error *err) {
    *out = NULL;
    for (int i = 0; i < BL_ENGINE_PREPARED; i++) {
        bl_prepared *p = &e->prepared[i];
        if (p->used && p->module == module && !memcmp(&p->key, &key, sizeof key)) {
            p->used = ++e->clock;
            *out = p;
            return 0;
        }
    }
    bl_prepared made = {.module = module, .key = key};
    int result = bl_engine_graph(&made.graph, e, module, key, NULL, err);
    if (!result) {
        result = check_size(e, made.graph, err);
    }
    if (!result) {
        result = prepare_levels(&made, e, err);
    }
    if (result) {
        close_prepared(e, &made);
        return result;
    }
    bl_prepared *p = find_place(e);
    if (p->used) {
        close_prepared(e, p);
    }
    made.used = ++e->clock;
    *p = made;
    *out = p;
    return 0;
}
