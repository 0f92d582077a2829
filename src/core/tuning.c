#include "core/tuning.h"

#include <stdio.h>
#include <string.h>

/* One thread, half of the cores, all but one, all, all processors. */
static int thread_counts(int values[BL_CHOICE_VALUES], const bl_choice_place *w) {
    const int tried[] = {1, w->cores / 2, w->cores - 1, w->cores, w->processors};
    int count = 0, most = 0;
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        if (tried[i] > most) {
            most = tried[i];
            values[count] = most;
            count += most != w->threads;
        }
    }
    return w->cores ? count : 0;
}

static int ways_to_place(int values[BL_CHOICE_VALUES], const bl_choice_place *w) {
    values[0] = 1;
    values[1] = 2;
    return w->processors < 2 ? 0 : w->nodes < 2 ? 1 : 2;
}

static int ways_to_wait(int values[BL_CHOICE_VALUES], const bl_choice_place *w) {
    values[0] = 1;
    return w->processors > 1;
}

static int ways_to_launch(int values[BL_CHOICE_VALUES], const bl_choice_place *w) {
    values[0] = 1;
    values[1] = 2;
    return w->launches ? 2 : 0;
}

static int levels(int values[BL_CHOICE_VALUES], const bl_choice_place *w) {
    int count = 0;
    for (int l = 1; l < w->arena_levels && count < BL_CHOICE_VALUES; l++) {
        values[count++] = l;
    }
    return count;
}

/* The one that is not the usual one. */
static int ways_to_convolve(int values[BL_CHOICE_VALUES], int tiles) {
    values[0] = tiles < BL_TUNING_FEW_TILES ? 2 : 1;
    return tiles > 0;
}

#define CONVOLVE(size)                                                                           \
    static int ways_to_convolve_##size(int values[BL_CHOICE_VALUES], const bl_choice_place *w) { \
        return ways_to_convolve(values, w->tiles[size]);                                         \
    }
CONVOLVE(0)
CONVOLVE(1)
CONVOLVE(2)
CONVOLVE(3)
#undef CONVOLVE

int bl_tuning_size(int widest, int width) {
    int size = 0;
    for (int w = widest; size < BL_TUNING_SIZES - 1 && 4 * width < 3 * w; w = (w + 1) / 2) {
        size++;
    }
    return size;
}

const bl_choice bl_choices[BL_CHOICES] = {
    {"threads", "time alone", offsetof(bl_tuning, threads), 1024, true, true, thread_counts},
    {"level", "time and memory", offsetof(bl_tuning, level), 3, true, false, levels},
    {"pin", "time alone", offsetof(bl_tuning, pin), 2, true, true, ways_to_place},
    {"rest", "time alone", offsetof(bl_tuning, rest), 1, true, true, ways_to_wait},
    {"graphs", "time alone", offsetof(bl_tuning, graphs), 2, true, false, ways_to_launch},
    {"winograd", "the last bits", offsetof(bl_tuning, winograd[0]), 2, false, false, ways_to_convolve_0},
    {"winograd/2", "the last bits", offsetof(bl_tuning, winograd[1]), 2, false, false, ways_to_convolve_1},
    {"winograd/4", "the last bits", offsetof(bl_tuning, winograd[2]), 2, false, false, ways_to_convolve_2},
    {"winograd/8", "the last bits", offsetof(bl_tuning, winograd[3]), 2, false, false, ways_to_convolve_3},
};

bool bl_tuning_same(const bl_tuning *a, const bl_tuning *b) {
    bool same = true;
    for (int i = 0; i < BL_CHOICES; i++) {
        same = same && bl_tuning_value(a, &bl_choices[i]) == bl_tuning_value(b, &bl_choices[i]);
    }
    return same;
}

bool bl_tuning_yields(const bl_tuning *t) {
    bl_tuning rest = bl_tuning_unyielding(t);
    return !bl_tuning_same(t, &rest);
}

bl_tuning bl_tuning_unyielding(const bl_tuning *t) {
    bl_tuning rest = *t;
    for (int i = 0; i < BL_CHOICES; i++) {
        if (bl_choices[i].yields) {
            *bl_tuning_field(&rest, &bl_choices[i]) = 0;
        }
    }
    return rest;
}

void bl_tuning_text(char out[BL_TUNING_TEXT], const bl_tuning *t) {
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < BL_CHOICES; i++) {
        int value = bl_tuning_value(t, &bl_choices[i]);
        if (value) {
            n += (size_t)snprintf(out + n, BL_TUNING_TEXT - n, "%s%s=%d", n ? "," : "", bl_choices[i].name,
                                  value);
        }
    }
}

/* Digits, of which at most four count. */
static const char *read_number(int *out, const char *p) {
    int digits = 0;
    *out = 0;
    for (; *p >= '0' && *p <= '9' && digits < 5; p++, digits++) {
        *out = *out * 10 + (*p - '0');
    }
    return digits && digits < 5 ? p : NULL;
}

int bl_tuning_parse(bl_tuning *out, const char *text, bl_error *err) {
    const char *p = text;
    *out = (bl_tuning){0};
    while (*p) {
        int i = 0, value;
        size_t n = strcspn(p, "=,");
        while (i < BL_CHOICES &&
               (strlen(bl_choices[i].name) != n || strncmp(bl_choices[i].name, p, n) != 0)) {
            i++;
        }
        if (i == BL_CHOICES || p[n] != '=') {
            return bl_fail(err, BL_E_FORMAT, "\"%.60s\": no choice is called \"%.*s\"", text,
                           (int)(n < 40 ? n : 40), p);
        }
        p = read_number(&value, p + n + 1);
        if (!p || value < 1 || value > bl_choices[i].most || (*p && *p != ',') || (*p && !p[1]) ||
            bl_tuning_value(out, &bl_choices[i])) {
            return bl_fail(err, BL_E_FORMAT, "\"%.60s\": %s takes one number from 1 to %d", text,
                           bl_choices[i].name, bl_choices[i].most);
        }
        *bl_tuning_field(out, &bl_choices[i]) = value;
        p += *p == ',';
    }
    return 0;
}
