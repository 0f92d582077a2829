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

/* The schedule that a sampler's name ends with, as in "DPM++ 2M Karras"; NULL: none. */
static const char *schedule_in(const char *sampler) {
    const char *blank = sampler ? strrchr(sampler, ' ') : NULL, *name;
    for (int i = 0; blank && (name = ballast_schedule_name(i)); i++) {
        if (!strcasecmp(blank + 1, name)) {
            return name;
        }
    }
    return NULL;
}

void tell_of_no_effect(const struct settings *s) {
    const char *schedule = setting_text(s, S_SCHEDULE), *in_name = schedule_in(setting_text(s, S_SAMPLER));
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
    if (schedule && in_name && strcasecmp(schedule, in_name) != 0 && given(s, S_SCHEDULE)) {
        fprintf(stderr,
                "ballast: two schedules are given; --schedule %.40s counts, not the \"%s\" in --sampler\n",
                schedule, in_name);
    }
}
