#include "residency/tell/advise.h"

#include "core/size_text.h"

#include <math.h>
#include <string.h>

#define GIB ((double)(1ull << 30))
#define WORTH_SHARE 0.01 /* of the seconds: less is not worth a change */
#define AS_GOOD_SHARE 0.002

static const struct {
    const char *name, *title;
} programs[BL_PEER_COUNT] = {[BL_SDNEXT] = {"sdnext", "SD.Next"},
                             [BL_COMFYUI] = {"comfyui", "ComfyUI"},
                             [BL_SDCPP] = {"sdcpp", "stable-diffusion.cpp"},
                             [BL_DIFFUSERS] = {"diffusers", "diffusers"}};

int bl_peer_find(bl_peer *out, const char *name, bl_error *err) {
    for (int i = 0; i < BL_PEER_COUNT; i++) {
        if (!strcmp(name, programs[i].name)) {
            *out = (bl_peer)i;
            return 0;
        }
    }
    return bl_fail(err, BL_E_ARGUMENT,
                   "advise: no program \"%.40s\"; there are sdnext, comfyui, sdcpp and diffusers", name);
}

/* What is played while the rows are made. */
typedef struct player {
    bl_advice *a;
    const bl_problem *p;
    const char *model_type;
    double memory; /* bytes of the whole card */
    bl_error *err;
} player;

static int play(player *w, const bl_offload_settings *s) {
    return bl_sweep_plan(&w->a->rows[w->a->count++].row, w->p, s, w->p->budget_bytes, w->err);
}

static char *next_text(player *w) {
    return w->a->rows[w->a->count].set;
}

static int play_mode(player *w, const char *set, bl_offload mode, int ahead) {
    bl_offload_settings s = bl_offload_defaults();
    s.mode = mode;
    s.ahead = ahead;
    snprintf(next_text(w), sizeof w->a->rows->set, "%s", set);
    return play(w, &s);
}

/* ---- SD.Next: balanced, reactive, with watermarks and lists by the card's size; up to 4 GB sequential */

/* The lowest watermark, in the steps of its slider, that everything stays below; above 1 where none is. */
static double quiet_low(const bl_problem *p, double memory) {
    uint64_t arena = 0;
    for (int i = 0; i < p->phase_count; i++) {
        const uint64_t bytes = p->phases[i].levels[0].arena_bytes;
        arena = bytes > arena ? bytes : arena;
    }
    return ceil((double)(bl_problem_weights(p, 0, p->phase_count) + arena) / memory * 100) / 100;
}

static int play_sdnext(player *w) {
    const bool tiny = w->memory <= 4.2 * GIB;
    bl_offload_settings usual = bl_offload_defaults();
    double low, high;
    char never[128];
    usual.mode = BL_OFFLOAD_BALANCED;
    usual.fit_check = false;
    usual.model_type = w->model_type;
    bl_offload_watermarks(&usual, (uint64_t)w->memory, &low, &high);
    const char *pinned = bl_offload_never(&usual, (uint64_t)w->memory);
    bl_offload_settings s = usual;
    int rc = 0;
    if (tiny) {
        rc = play_mode(w, "as it comes: Model offload mode sequential", BL_OFFLOAD_SEQUENTIAL, 0);
        snprintf(next_text(w), sizeof w->a->rows->set, "Model offload mode: balanced");
    } else {
        snprintf(next_text(w), sizeof w->a->rows->set, "as it comes: balanced, watermarks %.2f and %.2f", low,
                 high);
    }
    rc = rc ? rc : play(w, &s);
    if (w->model_type && !rc) {
        snprintf(never, sizeof never, "%s%s%s", pinned ? pinned : "", pinned ? "," : "", w->model_type);
        s.never = never;
        snprintf(next_text(w), sizeof w->a->rows->set, "Model types not to offload: %s",
                 strncmp(w->model_type, "sd1", 3) && strncmp(w->model_type, "sd2", 3) ? w->model_type : "sd");
        rc = play(w, &s);
    }
    if (!rc) {
        snprintf(never, sizeof never, "%s%sunet", pinned ? pinned : "", pinned ? "," : "");
        s.never = never;
        snprintf(next_text(w), sizeof w->a->rows->set, "Modules to never offload: unet, beside those there");
        rc = play(w, &s);
    }
    s = usual;
    s.low = quiet_low(w->p, w->memory);
    if (!rc && s.low > low && s.low <= 1) {
        snprintf(next_text(w), sizeof w->a->rows->set, "Offload low watermark: %.2f", s.low);
        rc = play(w, &s);
    }
    rc = rc ? rc : play_mode(w, "Model offload mode: none", BL_OFFLOAD_NONE, 0);
    rc = rc ? rc : play_mode(w, "Model offload mode: model", BL_OFFLOAD_MODEL, 0);
    return rc || tiny ? rc : play_mode(w, "Model offload mode: sequential", BL_OFFLOAD_SEQUENTIAL, 0);
}

/* ---- ComfyUI: what was loaded stays until room is needed; of what does not fit a part is loaded, the rest
 * copied layer by layer. Weights may take 0.88 of the card less 0.8 GB and a margin of 400 MB, 500 MB from 16
 * GB on. */

static int play_comfyui(player *w) {
    const double margin = (w->memory >= 15.5 * GIB ? 500.0 : 400.0) * 1024 * 1024;
    bl_offload_settings s = bl_offload_defaults();
    s.mode = BL_OFFLOAD_BALANCED;
    s.fit_check = false;
    s.low = 1;
    s.high = fmax(0.01, 0.88 - (0.8 * GIB + margin) / w->memory);
    s.never = "";
    snprintf(next_text(w), sizeof w->a->rows->set, "as it comes");
    int rc = play(w, &s);
    rc = rc ? rc : play_mode(w, "--highvram", BL_OFFLOAD_NONE, 0);
    rc = rc ? rc : play_mode(w, "--disable-smart-memory", BL_OFFLOAD_MODEL, 0);
    return rc ? rc : play_mode(w, "--novram", BL_OFFLOAD_SEQUENTIAL, 0);
}

static int play_sdcpp(player *w) {
    int rc = play_mode(w, "as it comes: all in the card's memory", BL_OFFLOAD_NONE, 0);
    return rc ? rc : play_mode(w, "--offload-to-cpu", BL_OFFLOAD_MODEL, 0);
}

static int play_diffusers(player *w) {
    int rc = play_mode(w, "as it comes: pipe.to(\"cuda\")", BL_OFFLOAD_NONE, 0);
    rc = rc ? rc : play_mode(w, "pipe.enable_model_cpu_offload()", BL_OFFLOAD_MODEL, 0);
    rc = rc ? rc
            : play_mode(w, "pipe.enable_group_offload(..., \"block_level\", 1, use_stream=True)",
                        BL_OFFLOAD_SEQUENTIAL, 1);
    return rc ? rc : play_mode(w, "pipe.enable_sequential_cpu_offload()", BL_OFFLOAD_SEQUENTIAL, 0);
}

/* ---- which to take */

/* The fastest; of those as good the first, which changes least; none unless it is worth it. */
static int choose(const bl_advice *a) {
    double best = INFINITY;
    for (int i = 0; i < a->count; i++) {
        best = a->rows[i].row.works && a->rows[i].row.seconds < best ? a->rows[i].row.seconds : best;
    }
    const bl_sweep_row *now = &a->rows[0].row;
    if (now->works && now->seconds - best < WORTH_SHARE * now->seconds) {
        return 0;
    }
    for (int i = 0; i < a->count; i++) {
        if (a->rows[i].row.works && a->rows[i].row.seconds <= best * (1 + AS_GOOD_SHARE)) {
            return i;
        }
    }
    return -1;
}

int bl_advise(bl_advice *out, const bl_problem *p, bl_peer program, const char *model_type, bl_error *err) {
    static int (*const players[BL_PEER_COUNT])(player *) = {[BL_SDNEXT] = play_sdnext,
                                                            [BL_COMFYUI] = play_comfyui,
                                                            [BL_SDCPP] = play_sdcpp,
                                                            [BL_DIFFUSERS] = play_diffusers};
    *out = (bl_advice){.program = program, .title = programs[program].title};
    player w = {.a = out,
                .p = p,
                .model_type = model_type,
                .memory = (double)(p->memory_bytes ? p->memory_bytes : p->budget_bytes),
                .err = err};
    bl_offload_settings ours = bl_offload_defaults();
    int rc = players[program](&w);
    rc = rc ? rc : bl_sweep_plan(&out->ours, p, &ours, p->budget_bytes, err);
    out->take = rc ? -1 : choose(out);
    return rc;
}

/* ---- telling */

void bl_advice_print(FILE *file, const bl_advice *a) {
    fprintf(file, "%-68s %10s %10s\n", a->title, "seconds", "moved");
    for (int i = 0; i < a->count; i++) {
        const bl_remedy *r = &a->rows[i];
        if (r->row.works) {
            fprintf(file, "%-68s %10.2f %10s\n", r->set, r->row.seconds, bl_size_of(r->row.moved_bytes).text);
        } else {
            fprintf(file, "%-68s %10s\n", r->set, "too large");
        }
    }
    const bl_sweep_row *now = &a->rows[0].row;
    if (a->ours.works) {
        fprintf(file, "%-68s %10.2f %10s\n", "(ballast, --offload auto)", a->ours.seconds,
                bl_size_of(a->ours.moved_bytes).text);
    }
    if (a->take < 0) {
        fprintf(file, "nothing to set makes it fit: a smaller picture, or a smaller type\n");
    } else if (a->take == 0) {
        fprintf(file, "nothing to change\n");
    } else if (now->works) {
        fprintf(file, "set \"%s\": saves about %.2f s of %.2f s a picture\n", a->rows[a->take].set,
                now->seconds - a->rows[a->take].row.seconds, now->seconds);
    } else {
        fprintf(file, "set \"%s\": without it the model does not fit\n", a->rows[a->take].set);
    }
}

json_t *bl_advice_json(const bl_advice *a) {
    json_t *rows = json_array(), *one = NULL;
    bool fine = rows;
    for (int i = 0; i < a->count && fine; i++) {
        const bl_remedy *r = &a->rows[i];
        one = r->row.works ? json_pack("{s:s, s:b, s:f, s:I, s:I}", "set", r->set, "works", 1, "seconds",
                                       r->row.seconds, "moved_bytes", (json_int_t)r->row.moved_bytes,
                                       "peak_bytes", (json_int_t)r->row.peak_bytes)
                           : json_pack("{s:s, s:b}", "set", r->set, "works", 0);
        fine = !json_array_append_new(rows, one);
    }
    json_t *out = fine ? json_pack("{s:s, s:O, s:i}", "program", programs[a->program].name, "rows", rows,
                                   "take", a->take)
                       : NULL;
    json_decref(rows);
    if (out && a->ours.works && json_object_set_new(out, "auto_seconds", json_real(a->ours.seconds))) {
        json_decref(out);
        out = NULL;
    }
    return out;
}
