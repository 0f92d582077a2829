/* One table says everything that is known of a sampler by its name alone. */
#include "sample/names.h"

#include <stdio.h>
#include <string.h>

#define ALIASES 4
#define KEY_BYTES 64

typedef struct sampler_row {
    const char *name;
    const char *aliases[ALIASES]; /* reduced to their keys, see reduce() */
    bl_noise_use noise;
    int evaluations;         /* of a step that does not end at 0 */
    bl_schedule_id schedule; /* A1111's "automatic" */
} sampler_row;

static const sampler_row samplers[BL_SAMPLER_COUNT] = {
    [BL_SAMPLER_EULER] = {"Euler", {"keuler"}, BL_NOISE_NONE, 1, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_EULER_A] = {"Euler a",
                            {"eulerancestral", "keulera", "keulerancestral"},
                            BL_NOISE_SUCCESSIVE,
                            1,
                            BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_HEUN] = {"Heun", {"kheun"}, BL_NOISE_NONE, 2, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_DPM2] = {"DPM2", {"kdpm2"}, BL_NOISE_NONE, 2, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_DPM2_A] = {"DPM2 a", {"dpm2ancestral", "kdpm2a"}, BL_NOISE_SUCCESSIVE, 2, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_DPMPP_2S_A] =
        {"DPM++ 2S a", {"dpmpp2sancestral", "kdpmpp2sa"}, BL_NOISE_SUCCESSIVE, 2, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_DPMPP_2M] = {"DPM++ 2M", {"kdpmpp2m"}, BL_NOISE_NONE, 1, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_DPMPP_SDE] =
        {"DPM++ SDE", {"dpmppsdegpu", "kdpmppsde"}, BL_NOISE_BROWNIAN, 2, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_DPMPP_2M_SDE] =
        {"DPM++ 2M SDE", {"dpmpp2msdegpu", "kdpmpp2msde"}, BL_NOISE_BROWNIAN, 1, BL_SCHEDULE_EXPONENTIAL},
    [BL_SAMPLER_DPMPP_2M_SDE_HEUN] =
        {"DPM++ 2M SDE Heun", {"dpmpp2msdeheungpu"}, BL_NOISE_BROWNIAN, 1, BL_SCHEDULE_EXPONENTIAL},
    [BL_SAMPLER_DPMPP_3M_SDE] =
        {"DPM++ 3M SDE", {"dpmpp3msdegpu", "kdpmpp3msde"}, BL_NOISE_BROWNIAN, 1, BL_SCHEDULE_EXPONENTIAL},
    [BL_SAMPLER_DDIM] = {"DDIM", {NULL}, BL_NOISE_NONE, 1, BL_SCHEDULE_DDIM_UNIFORM},
    [BL_SAMPLER_UNIPC] = {"UniPC", {NULL}, BL_NOISE_NONE, 1, BL_SCHEDULE_SGM_UNIFORM},
    [BL_SAMPLER_UNIPC_BH2] = {"UniPC bh2", {NULL}, BL_NOISE_NONE, 1, BL_SCHEDULE_SGM_UNIFORM},
    [BL_SAMPLER_LCM] = {"LCM", {NULL}, BL_NOISE_SUCCESSIVE, 1, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_LMS] = {"LMS", {"klms"}, BL_NOISE_NONE, 1, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_PLMS] = {"PLMS", {"pndm"}, BL_NOISE_NONE, 1, BL_SCHEDULE_DDIM_UNIFORM},
    [BL_SAMPLER_DPM_FAST] = {"DPM fast", {"kdpmfast"}, BL_NOISE_SUCCESSIVE, 1, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_DPM_ADAPTIVE] =
        {"DPM adaptive", {"kdpmad", "kdpmadaptive"}, BL_NOISE_SUCCESSIVE, 1, BL_SCHEDULE_NORMAL},
    [BL_SAMPLER_RESTART] = {"Restart", {NULL}, BL_NOISE_SUCCESSIVE, 2, BL_SCHEDULE_KARRAS},
    [BL_SAMPLER_TCD] = {"TCD", {NULL}, BL_NOISE_SUCCESSIVE, 1, BL_SCHEDULE_SGM_UNIFORM},
};

static const struct {
    const char *name;
    const char *aliases[ALIASES];
} schedules[BL_SCHEDULE_COUNT] = {
    [BL_SCHEDULE_AUTOMATIC] = {"automatic", {"auto"}},
    [BL_SCHEDULE_NORMAL] = {"normal", {"uniform"}},
    [BL_SCHEDULE_KARRAS] = {"karras", {NULL}},
    [BL_SCHEDULE_EXPONENTIAL] = {"exponential", {NULL}},
    [BL_SCHEDULE_SGM_UNIFORM] = {"sgm_uniform", {NULL}},
    [BL_SCHEDULE_SIMPLE] = {"simple", {NULL}},
    [BL_SCHEDULE_DDIM_UNIFORM] = {"ddim_uniform", {"ddim"}},
    [BL_SCHEDULE_BETA] = {"beta", {NULL}},
    [BL_SCHEDULE_POLYEXPONENTIAL] = {"polyexponential", {NULL}},
    [BL_SCHEDULE_KL_OPTIMAL] = {"kl_optimal", {NULL}},
    [BL_SCHEDULE_ALIGN_YOUR_STEPS] = {"align_your_steps", {"ays"}},
    [BL_SCHEDULE_TURBO] = {"turbo", {NULL}},
    [BL_SCHEDULE_LEADING] = {"leading", {NULL}},
    [BL_SCHEDULE_LINSPACE] = {"linspace", {NULL}},
    [BL_SCHEDULE_TRAILING] = {"trailing", {NULL}},
};

static const char *const compats[BL_COMPAT_COUNT] = {"a1111", "comfyui", "diffusers"};

const char *bl_sampler_name(bl_sampler_id id) {
    return samplers[id].name;
}

const char *bl_schedule_name(bl_schedule_id id) {
    return schedules[id].name;
}

const char *bl_compat_name(bl_compat compat) {
    return compats[compat];
}

bl_noise_use bl_sampler_noise(bl_sampler_id id, bl_compat compat) {
    bool multistep = samplers[id].evaluations == 1;
    if (compat == BL_COMPAT_DIFFUSERS && multistep && samplers[id].noise == BL_NOISE_BROWNIAN) {
        return BL_NOISE_SUCCESSIVE;
    }
    bool ode = (id == BL_SAMPLER_DPM_FAST || id == BL_SAMPLER_DPM_ADAPTIVE) &&
               compat == BL_COMPAT_COMFYUI; /* called with eta 0 */
    return ode ? BL_NOISE_NONE : samplers[id].noise;
}

bool bl_sampler_takes_eta(bl_sampler_id id) {
    return id == BL_SAMPLER_DDIM || (samplers[id].noise != BL_NOISE_NONE && id != BL_SAMPLER_LCM);
}

bool bl_sampler_takes_ensd(bl_sampler_id id) {
    return id == BL_SAMPLER_DDIM || samplers[id].noise == BL_NOISE_SUCCESSIVE;
}

bool bl_sampler_adapts(bl_sampler_id id) {
    return id == BL_SAMPLER_DPM_ADAPTIVE;
}

int bl_sampler_evaluations(bl_sampler_id id, int steps) {
    int more = id == BL_SAMPLER_PLMS && steps > 1; /* the first step takes two */
    if (bl_sampler_adapts(id)) {
        return BL_ADAPTIVE_MOST;
    }
    return steps < 1 ? 0 : samplers[id].evaluations * (steps - 1) + 1 + more;
}

bl_schedule_id bl_sampler_schedule(bl_sampler_id id, bl_compat compat) {
    switch (compat) {
    case BL_COMPAT_COMFYUI:
        return BL_SCHEDULE_NORMAL;
    case BL_COMPAT_DIFFUSERS:
        return BL_SCHEDULE_LEADING;
    default:
        return samplers[id].schedule;
    }
}

/* What is left of a name when spelling does not count: "DPM++ 2M SDE" and "dpmpp_2m_sde" are "dpmpp2msde". A
 * name too long for any key becomes "". */
static void reduce(char key[KEY_BYTES], const char *name) {
    size_t n = 0;
    for (const char *p = name; *p; p++) {
        char c = *p;
        if (c == ' ' || c == '_' || c == '-' || c == '.') {
            continue;
        }
        if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        if (n + 1 == KEY_BYTES) {
            n = 0;
            break;
        }
        key[n++] = c == '+' ? 'p' : c;
    }
    key[n] = 0;
}

static bool matches(const char *key, const char *name, const char *const *aliases) {
    char own[KEY_BYTES];
    reduce(own, name);
    if (strcmp(key, own) == 0) {
        return true;
    }
    for (int a = 0; a < ALIASES && aliases[a]; a++) {
        if (strcmp(key, aliases[a]) == 0) {
            return true;
        }
    }
    return false;
}

static int sampler_of(const char *key) {
    for (int i = 0; i < BL_SAMPLER_COUNT; i++) {
        if (matches(key, samplers[i].name, samplers[i].aliases)) {
            return i;
        }
    }
    return -1;
}

static int schedule_of(const char *key) {
    for (int i = 0; i < BL_SCHEDULE_COUNT; i++) {
        if (matches(key, schedules[i].name, schedules[i].aliases)) {
            return i;
        }
    }
    return -1;
}

static const char *name_of_sampler(int i) {
    return samplers[i].name;
}

static const char *name_of_schedule(int i) {
    return schedules[i].name;
}

/* The line for a name that is none of these. */
static int unknown(const char *what, const char *name, const char *(*name_of)(int), int count,
                   bl_error *err) {
    char list[512] = "";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", name_of(i));
    }
    return bl_fail(err, BL_E_NOT_FOUND, "%s: no %s \"%.100s\"; there are %s", what, what, name, list);
}

int bl_sampler_find(bl_sampler_id *out, bl_schedule_id *schedule, const char *name, bl_error *err) {
    char key[KEY_BYTES];
    reduce(key, name);
    int id = sampler_of(key);
    for (size_t cut = 1; id < 0 && schedule && cut < strlen(key); cut++) {
        /* "dpmpp2mkarras": a sampler, then a schedule. */
        char head[KEY_BYTES];
        memcpy(head, key, cut);
        head[cut] = 0;
        int tail = schedule_of(key + cut);
        if (tail >= 0 && (id = sampler_of(head)) >= 0) {
            *schedule = (bl_schedule_id)tail;
        }
    }
    if (id < 0) {
        return unknown("sampler", name, name_of_sampler, BL_SAMPLER_COUNT, err);
    }
    *out = (bl_sampler_id)id;
    return 0;
}

static bool is_spacing(int id) {
    return id == BL_SCHEDULE_LEADING || id == BL_SCHEDULE_LINSPACE || id == BL_SCHEDULE_TRAILING;
}

static bool is_curve(int id) {
    return id == BL_SCHEDULE_KARRAS || id == BL_SCHEDULE_EXPONENTIAL || id == BL_SCHEDULE_BETA;
}

int bl_schedule_find(bl_schedule_id *out, bl_schedule_id *spacing, const char *name, bl_error *err) {
    char key[KEY_BYTES];
    reduce(key, name);
    int id = schedule_of(key);
    for (int s = 0; id < 0 && spacing && s < BL_SCHEDULE_COUNT; s++) {
        size_t length = strlen(schedules[s].name);
        if (is_spacing(s) && strncmp(key, schedules[s].name, length) == 0) {
            int tail = schedule_of(key + length);
            if (is_curve(tail)) {
                id = tail;
                *spacing = (bl_schedule_id)s;
            }
        }
    }
    if (id < 0) {
        return unknown("schedule", name, name_of_schedule, BL_SCHEDULE_COUNT, err);
    }
    *out = (bl_schedule_id)id;
    return 0;
}

int bl_compat_find(bl_compat *out, const char *name, bl_error *err) {
    char key[KEY_BYTES];
    reduce(key, name);
    for (int i = 0; i < BL_COMPAT_COUNT; i++) {
        if (strcmp(key, compats[i]) == 0) {
            *out = (bl_compat)i;
            return 0;
        }
    }
    return bl_fail(err, BL_E_NOT_FOUND, "compat: no \"%.100s\"; there are a1111, comfyui, diffusers", name);
}
