/* Flags that change nothing beside the others: who gave one wanted something, and is told why he does not get
 * it. Only of the command line: what stands in a config file waits there for its turn. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void tell(enum setting_id id, const char *why) {
    fprintf(stderr, "ballast: --%s has no effect %s\n", setting_table[id].name, why);
}

static bool given(const struct settings *s, enum setting_id id) {
    return s->value[id].text && s->value[id].origin == FROM_COMMAND_LINE;
}

static void tell_of(const struct settings *s, const enum setting_id *ids, const char *why) {
    for (; *ids != S_COUNT_OF_SETTINGS; ids++) {
        if (given(s, *ids)) {
            tell(*ids, why);
        }
    }
}
#define TELL_OF(s, why, ...) tell_of(s, (const enum setting_id[]){__VA_ARGS__, S_COUNT_OF_SETTINGS}, why)

/* What the sampler makes of other flags. */
static void tell_of_sampler(const struct settings *s) {
    const char *name = setting_text(s, S_SAMPLER), *sampler, *schedule, *compat = setting_text(s, S_COMPAT);
    char why[128];
    ballast_error none;
    if (ballast_sampler_find(&sampler, &schedule, name ? name : "DPM++ 2M", &none)) {
        return;
    }
    if (name) {
        snprintf(why, sizeof why, "with --sampler \"%s\"", sampler);
    } else { /* Euler where the model is of another kind, which is no different here */
        snprintf(why, sizeof why, "with the sampler that is taken where none is named");
    }
    if (!ballast_sampler_takes(sampler, "eta")) {
        TELL_OF(s, why, S_ETA);
    }
    if (!ballast_sampler_takes(sampler, "ensd")) {
        TELL_OF(s, why, S_ENSD);
    }
    if (!strcmp(sampler, "LCM") && compat && !strcasecmp(compat, "diffusers")) {
        TELL_OF(s, "with --sampler LCM in --compat diffusers, which has levels of its own", S_SCHEDULE);
    }
    const char *other = setting_text(s, S_SCHEDULE);
    if (schedule && given(s, S_SCHEDULE) && !ballast_schedule_find(&other, other, &none) &&
        strcmp(schedule, other) != 0) {
        fprintf(stderr,
                "ballast: two schedules are given; --schedule %.40s counts, not the \"%s\" in --sampler\n",
                other, schedule);
    }
}

static bool lossy(const char *path) {
    return path && strcmp(form_of(path), "png") != 0;
}

static bool is_taesd(const char *text) {
    return text && !strcmp(text, "taesd");
}

void tell_of_unseen_previews(const struct settings *s) {
    const char *kind = setting_text(s, S_PREVIEW);
    if (!setting_on(s, S_QUIET) && !setting_text(s, S_PREVIEW_FILE) && !(kind && setting_on(s, S_SHOW))) {
        TELL_OF(s, "without --preview-file, or --show with --preview", S_PREVIEW, S_PREVIEW_EVERY);
    }
}

void tell_of_no_effect(const struct settings *s) {
    const char *mode = setting_text(s, S_OFFLOAD);
    if (setting_on(s, S_QUIET)) {
        return;
    }
    for (int i = S_PROMPT; i <= S_NEGATIVE; i++) { /* other flags are meant to be overridden by later ones */
        if (s->repeated[i]) {
            fprintf(stderr, "ballast: --%s is given more than once; the last one counts: \"%.100s\"\n",
                    setting_table[i].name, s->value[i].text);
        }
    }
    if (!setting_text(s, S_INIT_IMAGE)) {
        TELL_OF(s, "without a start picture: give one with --init-image FILE", S_STRENGTH, S_FIT);
    }
    if (setting_number(s, S_HIRES) == 0) {
        TELL_OF(s, "without a second pass: ask for one with --hires X", S_HIRES_STEPS, S_HIRES_STRENGTH,
                S_HIRES_UPSCALER);
    }
    if (mode && strcmp(mode, "balanced") != 0) {
        char why[128];
        snprintf(why, sizeof why, "with --offload %.40s: it is for --offload balanced", mode);
        TELL_OF(s, why, S_LOW, S_HIGH, S_NEVER, S_ALWAYS, S_FIT_CHECK);
    }
    if (setting_number(s, S_VARIATION_STRENGTH) == 0) {
        TELL_OF(s, "without --variation-strength X", S_VARIATION_SEED);
    }
    if (setting_number(s, S_CFG) == 1) {
        TELL_OF(s, "with --cfg 1, which has no guidance", S_NEGATIVE, S_CFG_RESCALE);
    }
    if (setting_on(s, S_JSON)) {
        TELL_OF(s, "with --json", S_SHOW);
    }
    if (!lossy(setting_text(s, S_OUTPUT)) && !lossy(setting_text(s, S_PREVIEW_FILE))) {
        TELL_OF(s, "on PNG: it is for names that end in .jpg or .webp", S_QUALITY);
    }
    if (!is_taesd(setting_text(s, S_DECODE)) && !is_taesd(setting_text(s, S_PREVIEW))) {
        TELL_OF(s, "without --decode taesd or --preview taesd", S_TAESD);
    }
    tell_of_sampler(s);
}
