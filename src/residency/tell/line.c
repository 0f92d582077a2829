#include "residency/tell/line.h"

#include "core/size_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int longer(const void *a, const void *b) {
    const bl_ledger_stage *x = a, *y = b;
    return x->seconds > y->seconds ? -1 : x->seconds < y->seconds ? 1 : strcmp(x->name, y->name);
}

/* Goes on with the text, as far as there is room. */
static void add(bl_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(bl_line *line, const char *format, ...) {
    size_t used = strlen(line->text);
    va_list args;
    va_start(args, format);
    vsnprintf(line->text + used, sizeof line->text - used, format, args);
    va_end(args);
}

/* What was used of a memory, not how busy somebody was. */
static void add_memory(bl_line *line, const char *what, uint64_t used, uint64_t all) {
    double percent = 100.0 * (double)used / (double)all;
    add(line, " | %s %s %.*f%%", what, bl_size_of(used).text, percent < 9.95 ? 1 : 0, percent);
}

void bl_line_make(bl_line *out, const bl_ledger *l, double wall_seconds, const char *device,
                  uint64_t ram_bytes, uint64_t ram_total_bytes) {
    *out = (bl_line){.wall_seconds = wall_seconds,
                     .stage_count = l->stage_count < BL_LINE_STAGES ? l->stage_count : BL_LINE_STAGES,
                     .peak_bytes = l->peak_bytes,
                     .memory_bytes = l->memory_bytes,
                     .ram_bytes = ram_bytes,
                     .ram_total_bytes = ram_total_bytes};
    snprintf(out->device, sizeof out->device, "%s", device);
    for (int i = 0; i < out->stage_count; i++) {
        out->stages[i] = l->stages[i];
        out->total_seconds += out->stages[i].seconds;
    }
    if (wall_seconds > out->total_seconds && out->stage_count < BL_LINE_STAGES) {
        out->stages[out->stage_count++] =
            (bl_ledger_stage){.name = "other", .seconds = wall_seconds - out->total_seconds};
        out->total_seconds = wall_seconds;
    }
    qsort(out->stages, (size_t)out->stage_count, sizeof *out->stages, longer);
    add(out, "Time: %.2fs | total %.2f", wall_seconds, out->total_seconds);
    for (int i = 0; i < out->stage_count; i++) {
        if (out->stages[i].seconds >= 0.005 || out->stages[i].named) {
            add(out, " %s %.2f", out->stages[i].name, out->stages[i].seconds);
        }
    }
    out->first_load_seconds = bl_ledger_share(l, BL_SHARE_FIRST_LOAD);
    out->swap_seconds = bl_ledger_share(l, BL_SHARE_SWAP);
    out->steady_seconds = bl_ledger_share(l, BL_SHARE_STEADY);
    add(out, " | first load %.2f swap %.2f steady %.2f", out->first_load_seconds, out->swap_seconds,
        out->steady_seconds);
    if (out->memory_bytes) {
        char memory[32];
        snprintf(memory, sizeof memory, "%s memory", device);
        add_memory(out, memory, out->peak_bytes, out->memory_bytes);
    }
    if (ram_bytes && ram_total_bytes) {
        add_memory(out, "RAM", ram_bytes, ram_total_bytes);
    }
}

json_t *bl_line_json(const bl_line *line) {
    json_t *stages = json_array();
    for (int i = 0; stages && i < line->stage_count; i++) {
        json_t *stage =
            json_pack("{s:s, s:f}", "name", line->stages[i].name, "seconds", line->stages[i].seconds);
        if (json_array_append_new(stages, stage)) {
            json_decref(stages);
            stages = NULL;
        }
    }
    return stages
               ? json_pack("{s:s, s:f, s:f, s:o, s:f, s:f, s:f, s:s, s:I, s:I, s:I, s:I}", "text", line->text,
                           "wall_seconds", line->wall_seconds, "total_seconds", line->total_seconds, "stages",
                           stages, "first_load_seconds", line->first_load_seconds, "swap_seconds",
                           line->swap_seconds, "steady_seconds", line->steady_seconds, "device", line->device,
                           "peak_bytes", (json_int_t)line->peak_bytes, "memory_bytes",
                           (json_int_t)line->memory_bytes, "ram_bytes", (json_int_t)line->ram_bytes,
                           "ram_total_bytes", (json_int_t)line->ram_total_bytes)
               : NULL;
}
