/* Where a model's weights lie. */
#include "api/api.h"

#include "core/json_text.h"

static json_t *offset(uint64_t at) {
    return at == BL_NOWHERE ? json_null() : json_integer((json_int_t)at);
}

/* One module; adds what of it lies where. NULL: no memory. */
static json_t *module_json(const bl_memory_places *x, uint64_t *resident, uint64_t *stored) {
    uint64_t bytes = 0, here = 0, kept = 0;
    json_t *blocks = json_array();
    for (int b = 0; b < x->block_count; b++) {
        bytes += x->blocks[b].bytes;
        here += x->at[b] == BL_NOWHERE ? 0 : x->blocks[b].bytes;
        kept += x->stored[b] == BL_NOWHERE ? 0 : x->blocks[b].bytes;
        json_array_append_new(blocks, json_pack("{s:s, s:I, s:o, s:o}", "name", x->blocks[b].name, "bytes",
                                                (json_int_t)x->blocks[b].bytes, "at", offset(x->at[b]),
                                                "stored", offset(x->stored[b])));
    }
    *resident += here;
    *stored += kept;
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o}", "name", x->name, "dtype", x->dtype, "bytes",
                     (json_int_t)bytes, "resident_bytes", (json_int_t)here, "stored_bytes", (json_int_t)kept,
                     "blocks", blocks);
}

static json_t *residency(const ballast_model *m) {
    const bl_memory *memory = m->context->memory;
    uint64_t resident = 0, stored = 0;
    json_t *modules = json_array();
    for (int i = 0; bl_modules_at(m->modules, i); i++) {
        bl_memory_places places;
        if (bl_memory_look(&places, memory, bl_modules_at(m->modules, i)->id)) {
            json_array_append_new(modules, module_json(&places, &resident, &stored));
        }
    }
    uint64_t region = bl_executor_region_bytes(bl_memory_executor(memory));
    return json_pack("{s:I, s:I, s:I, s:o}", "region_bytes", (json_int_t)region, "resident_bytes",
                     (json_int_t)resident, "stored_bytes", (json_int_t)stored, "modules", modules);
}

int ballast_model_residency(char **json, ballast_model *model, ballast_error *err) {
    bl_turn turn;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(model);
    bool ours = bl_turn_is_ours(model->context);
    int result = ours ? 0 : bl_turn_begin(&turn, model->context, NULL, __func__, err);
    if (result) {
        return result;
    }
    json_t *object = residency(model);
    if (!ours) {
        bl_turn_end(&turn);
    }
    return object ? bl_json_text(json, object, err) : bl_fail_memory(err, "the list of weights", 0);
}
