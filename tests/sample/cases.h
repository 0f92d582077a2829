/* The names of the golden cases, read: "euler.leading.karras.n8" is a sampler, a schedule and what goes with
 * it. */
#ifndef BALLAST_TESTS_SAMPLE_CASES_H
#define BALLAST_TESTS_SAMPLE_CASES_H

#include "sample/sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct diffusers_case {
    bl_schedule_options schedule;
    bl_sampler_options sampler;
} diffusers_case;

/* diffusers' schedulers that have no counterpart among our samplers. */
static inline bool not_ours(const char *name) {
    return strncmp(name, "pndm", 4) == 0 || strncmp(name, "dpmpp_2s.", 9) == 0 ||
           strncmp(name, "dpmpp_3m.", 9) == 0 || strncmp(name, "dpmpp_2m.lu", 11) == 0;
}

static inline int read_head(diffusers_case *c, const char *word) {
    static const struct {
        const char *name;
        bl_sampler_id id;
        int order;
    } heads[] = {
        {"euler", BL_SAMPLER_EULER, 0},
        {"euler_ancestral", BL_SAMPLER_EULER_A, 0},
        {"heun", BL_SAMPLER_HEUN, 0},
        {"kdpm2", BL_SAMPLER_DPM2, 0},
        {"kdpm2_ancestral", BL_SAMPLER_DPM2_A, 0},
        {"dpmpp_2m", BL_SAMPLER_DPMPP_2M, 0},
        {"dpmpp_2m_sde", BL_SAMPLER_DPMPP_2M_SDE, 0},
        {"unipc", BL_SAMPLER_UNIPC, 0},
        {"unipc3", BL_SAMPLER_UNIPC, 3},
        {"ddim", BL_SAMPLER_DDIM, 0},
        {"lcm", BL_SAMPLER_LCM, 0},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (strcmp(word, heads[i].name) == 0) {
            c->schedule.sampler = heads[i].id;
            c->sampler.order = heads[i].order;
            return 0;
        }
    }
    return -1;
}

static inline int read_word(diffusers_case *c, const char *word) {
    bl_schedule_options *s = &c->schedule;
    bl_schedule_id id;
    if (strcmp(word, "eta1") == 0) {
        c->sampler.eta = 1;
    } else if (strcmp(word, "alpha_to_one") == 0) {
        s->schedule = BL_SCHEDULE_LEADING;
        s->alpha_to_one = true;
    } else if (strcmp(word, "zsnr_v") == 0) { /* diffusers' default for what this config does not say */
        s->schedule = BL_SCHEDULE_TRAILING;
        s->zero_snr = s->alpha_to_one = true;
    } else if (word[0] == 'n' && word[1] >= '0' && word[1] <= '9') {
        s->steps = atoi(word + 1);
    } else if (bl_schedule_find(&id, NULL, word, NULL) == 0) {
        if (id >= BL_SCHEDULE_LEADING) {
            s->spacing = id;
            s->schedule = s->schedule ? s->schedule : id;
        } else {
            s->schedule = id;
        }
    } else {
        return -1;
    }
    return 0;
}

/* `name`: "heun.linspace.karras.n4". Returns -1 for a name that it cannot read. */
static inline int read_case(diffusers_case *c, const char *name) {
    char copy[128];
    *c = (diffusers_case){.schedule = {.compat = BL_COMPAT_DIFFUSERS, .strength = 1}, .sampler = {.eta = -1}};
    if (snprintf(copy, sizeof copy, "%s", name) >= (int)sizeof copy) {
        return -1;
    }
    char *rest = NULL, *word = strtok_r(copy, ".", &rest);
    if (!word || read_head(c, word)) {
        return -1;
    }
    while ((word = strtok_r(NULL, ".", &rest))) {
        if (read_word(c, word)) {
            return -1;
        }
    }
    if (!c->schedule.spacing) {
        c->schedule.spacing = BL_SCHEDULE_LINSPACE; /* diffusers' default where these configs say nothing */
    }
    return c->schedule.steps > 0 ? 0 : -1;
}

#endif
