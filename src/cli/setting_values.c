/* Values of settings: the forms that their texts may have, and what they are read as. */
#include "cli/setting_sources.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool parse_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && !*end && !errno && isfinite(*out);
}

static bool parse_seed(const char *text, uint64_t *out, bool *random) {
    char *end;
    *random = !strcmp(text, "-1");
    if (*random) {
        return true;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && !*end && !errno;
}

bool setting_switch(const char *text, bool *on) {
    static const char *const yes[] = {"on", "1", "true", "yes"}, *const no[] = {"off", "0", "false", "no"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *on = !strcmp(text, yes[i]);
            return true;
        }
    }
    return false;
}

int setting_check(const struct setting *s, const char *text, const char *where) {
    double number;
    uint64_t seed;
    bool flag;
    char range[96];
    switch (s->kind) {
    case SET_TEXT:
    case SET_FILE:
    case SET_FILES:
        return 0;
    case SET_INT:
    case SET_NUMBER:
        if (parse_number(text, &number) && number >= s->min && number <= s->max &&
            (s->kind == SET_NUMBER || number == floor(number))) {
            return 0;
        }
        if (s->max >= 1e9) {
            snprintf(range, sizeof range, "wants a whole number from %g up", s->min);
            return setting_complain(where, range, text);
        }
        snprintf(range, sizeof range, "wants a %s from %g to %g",
                 s->kind == SET_INT ? "whole number" : "number", s->min, s->max);
        return setting_complain(where, range, text);
    case SET_SEED:
        return parse_seed(text, &seed, &flag)
                   ? 0
                   : setting_complain(
                         where, "wants a whole number from 0 to 2^64 - 1, or -1 for a random one", text);
    case SET_SWITCH:
        return setting_switch(text, &flag) ? 0 : setting_complain(where, "wants on or off", text);
    }
    return 0;
}

const char *setting_text(const struct settings *s, enum setting_id id) {
    return s->value[id].text;
}

bool setting_on(const struct settings *s, enum setting_id id) {
    bool on = false;
    return s->value[id].text && setting_switch(s->value[id].text, &on) && on;
}

const char **setting_files(const struct settings *s, enum setting_id id) {
    const char *text = s->value[id].text ? s->value[id].text : "";
    size_t files = *text ? 1 : 0;
    for (const char *p = text; *p; p++) {
        files += *p == '\n';
    }
    const char **list = malloc((files + 1) * sizeof *list + strlen(text) + 1);
    if (!list) {
        return NULL;
    }
    char *at = (char *)(list + files + 1);
    memcpy(at, text, strlen(text) + 1);
    for (size_t i = 0; i < files; i++) {
        list[i] = strsep(&at, "\n");
    }
    list[files] = NULL;
    return list;
}

double setting_number(const struct settings *s, enum setting_id id) {
    double number = 0;
    return s->value[id].text && parse_number(s->value[id].text, &number) ? number : 0;
}

int setting_int(const struct settings *s, enum setting_id id) {
    return (int)setting_number(s, id);
}

uint64_t setting_seed(const struct settings *s, enum setting_id id) {
    uint64_t seed = 0;
    bool random = true;
    if (s->value[id].text && parse_seed(s->value[id].text, &seed, &random) && !random) {
        return seed;
    }
    uint32_t bits = 0; /* 32 bits, as other tools draw them: a seed that people can retype */
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits) {
        bits = 0;
    }
    return bits;
}
