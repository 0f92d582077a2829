#include "pipeline/inspect.h"

#include "checkpoint/recommended.h"
#include "core/utf8.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types of the module's tensors as the file has them, each once: "F16, F32, Q8_0". */
static void list_dtypes(char *text, size_t room, const bl_graph *g, const bl_checkpoint *ckpt, int *tensors,
                        uint64_t *bytes) {
    bool seen[BL_DTYPE_COUNT + BL_STORAGE_COUNT] = {false};
    *tensors = 0;
    *bytes = 0;
    for (int i = 0; i < g->weight_count; i++) {
        for (int part = 0; part < g->weights[i].parts; part++) {
            bl_view view;
            if (bl_checkpoint_find(&view, ckpt, g->module, g->weights[i].name[part])) {
                (*tensors)++;
                *bytes += bl_view_stored_bytes(&view);
                seen[view.stored->storage ? BL_DTYPE_COUNT + (int)view.stored->storage : (int)view.dtype] =
                    true;
            }
        }
    }
    text[0] = 0;
    for (int t = 0; t < BL_DTYPE_COUNT + BL_STORAGE_COUNT; t++) {
        if (seen[t]) {
            size_t used = strlen(text);
            snprintf(text + used, room - used, "%s%s", used ? ", " : "",
                     t < BL_DTYPE_COUNT ? bl_dtype_name((bl_dtype)t)
                                        : bl_storage_of((bl_storage)(t - BL_DTYPE_COUNT))->name);
        }
    }
}

/* NULL: no memory. */
static json_t *blocks_of(const bl_device *device, const bl_opened *m, uint64_t *packed, uint64_t *wide) {
    const bl_block_cost *costs = bl_device_module_costs(device, m->device);
    json_t *blocks = json_array();
    bool fine = blocks;
    *packed = *wide = 0;
    for (int b = 0; b < m->reference->block_count && fine; b++) {
        *packed += costs[b].packed_bytes;
        *wide += costs[b].wide_bytes ? costs[b].wide_bytes : costs[b].packed_bytes;
        fine =
            !json_array_append_new(blocks, json_pack("{s:s, s:I, s:I}", "name", m->reference->blocks[b].name,
                                                     "bytes", (json_int_t)costs[b].packed_bytes,
                                                     "source_bytes", (json_int_t)costs[b].source_bytes));
    }
    if (!fine) {
        json_decref(blocks);
    }
    return fine ? blocks : NULL;
}

/* The shape in which one picture with guidance runs through the module. */
static bl_shape_key key_of(bl_module module, int width, int height, const bl_family *f) {
    const bool denoises = module == bl_family_denoiser(f);
    const int scale = denoises ? f->downscale : bl_family_vae_downscale(f);
    const int tokens = f->words.filled ? bl_family_filled_rows(f) : BL_CHUNK_TOKENS;
    bl_shape_key key = {.batch = 1, .height = height / scale, .width = width / scale};
    if (denoises) {
        key.batch = 2;
        key.tokens = tokens;
    } else if (f->reader != BL_READER_CLIP && module == bl_family_words_module(f)) { /* a text a pass */
        key = (bl_shape_key){.batch = 1, .tokens = tokens - f->words.beside};
    } else if (module == BL_TEXT_ENCODER || module == BL_TEXT_ENCODER_2) {
        key = (bl_shape_key){.batch = 2, .tokens = BL_CHUNK_TOKENS};
    }
    return key;
}

/* What one module holds, and with a size what its arena takes. */
static int add_module(json_t *list, bl_modules *modules, const bl_opened *m, const bl_checkpoint *ckpt,
                      const bl_shape_key *key, bl_error *err) {
    const bl_device *device = bl_memory_device(bl_modules_given(modules)->memory);
    char dtypes[128];
    int tensors;
    uint64_t bytes, packed, wide;
    bl_prepared *prepared = NULL;
    int result = key ? bl_modules_take(&prepared, modules, m->module, *key, NULL, err) : 0;
    if (!result && prepared) {
        result = bl_modules_prepare_levels(modules, prepared, err);
    }
    if (result) {
        if (prepared) {
            bl_modules_give(modules, prepared);
        }
        return result;
    }
    list_dtypes(dtypes, sizeof dtypes, m->reference, ckpt, &tensors, &bytes);
    json_t *blocks = blocks_of(device, m, &packed, &wide);
    json_t *entry =
        json_pack("{s:i, s:s, s:I, s:s, s:I, s:I, s:o}", "tensors", tensors, "dtypes", dtypes, "bytes",
                  (json_int_t)bytes, "runs_in", bl_dtype_name(m->reference->dtype), "packed_bytes",
                  (json_int_t)packed, "wide_bytes", (json_int_t)wide, "blocks", blocks);
    bool fine = !json_object_set_new(list, bl_module_name(m->module), entry);
    if (prepared) {
        const bl_exec_info *most = &prepared->info[0], *least = &prepared->info[prepared->level_count - 1];
        fine =
            fine && !json_object_set_new(entry, "arena_bytes", json_integer((json_int_t)most->arena_bytes)) &&
            !json_object_set_new(entry, "smallest_arena_bytes", json_integer((json_int_t)least->arena_bytes));
        bl_modules_give(modules, prepared);
    }
    return fine ? 0 : bl_fail_memory(err, "the report", 0);
}

int bl_inspect(json_t **out, bl_modules *modules, const bl_checkpoint *ckpt, const bl_architecture *arch,
               int width, int height, bl_error *err) {
    *out = NULL;
    const int side = bl_family_side(arch->family);
    if (width % side || height % side || width < 0 || height < 0 || width > 65535 || height > 65535) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "a picture of %dx%d: width and height are multiples of %d, at most 65535", width,
                       height, side);
    }
    json_t *list = json_object();
    int result = list ? 0 : bl_fail_memory(err, "the report", 0);
    for (int i = 0; i < BL_MODULE_COUNT && !result; i++) {
        const bl_opened *m;
        bl_shape_key key = key_of((bl_module)i, width, height, arch->family);
        if (bl_modules_have(modules, (bl_module)i)) {
            result = bl_modules_find(&m, modules, (bl_module)i, 0, BL_UNET_WHOLE, err);
            result = result ? result : add_module(list, modules, m, ckpt, width && height ? &key : NULL, err);
        }
    }
    if (result) {
        json_decref(list);
        return result;
    }
    const bl_recommended r = bl_recommended_of(ckpt, arch->family);
    json_t *recommended =
        json_pack("{s:o, s:o, s:o, s:s?, s:s}", "steps", r.steps ? json_integer(r.steps) : json_null(), "cfg",
                  r.cfg >= 0 ? json_real(r.cfg) : json_null(), "guidance",
                  arch->family->guidance ? json_real(arch->family->guidance) : json_null(), "sampler",
                  arch->family->sampler, "from", r.whose);
    char *file = bl_utf8_copy(bl_checkpoint_path(ckpt));
    *out = json_pack("{s:s, s:s, s:i, s:s, s:s, s:b, s:o, s:o}", "file", file, "architecture",
                     arch->family->name, "multiple", bl_family_side(arch->family), "prediction",
                     bl_prediction_name(arch->prediction), "prediction_from",
                     arch->prediction_source ? arch->prediction_source : "", "zero_terminal_snr",
                     arch->zero_snr, "recommended", recommended, "modules", list);
    free(file);
    return *out ? 0 : bl_fail_memory(err, "the report", 0);
}
