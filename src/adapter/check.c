/* Whether the parts of a layer's change fit each other and the layer. */
#include "adapter/adapter.h"

#include <stdio.h>

static const struct {
    bl_change change;
    bl_part first, last;
} groups[] = {{BL_CHANGE_LORA, BL_PART_DOWN, BL_PART_MID},
              {BL_CHANGE_LOHA, BL_PART_W1A, BL_PART_T2},
              {BL_CHANGE_LOKR, BL_PART_K1, BL_PART_KT2},
              {BL_CHANGE_FULL, BL_PART_DIFF, BL_PART_DIFF}};

static int64_t elements(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i]; /* fits: the whole was checked against the file's size */
    }
    return n;
}

static int64_t axis(const bl_file_tensor *t, int i) {
    return i < t->rank ? t->shape[i] : 1;
}

static void format_shape(char *text, size_t room, const bl_file_tensor *t) {
    size_t n = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < t->rank && n < room; i++) {
        n += (size_t)snprintf(text + n, room - n, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    }
    if (n < room) {
        snprintf(text + n, room - n, "]");
    }
}

/* A part whose shape goes with nothing: `wants` says with what it should. */
static int wrong(const bl_adapted *x, const char *path, bl_part part, const char *wants, bl_error *err) {
    char found[192];
    format_shape(found, sizeof found, x->part[part]);
    return bl_fail(err, BL_E_FORMAT,
                   "%.300s: \"%.200s\" has shape %s, which does not go with %s; is it for another model?",
                   path, x->part[part]->name, found, wants);
}

static int wrong_for_layer(const bl_adapted *x, const char *path, bl_part part, bl_error *err) {
    char wants[320];
    const bl_layer *l = x->layer;
    snprintf(wants, sizeof wants, "layer %.127s of the %s: %lld outputs, %lld inputs, %lld places each",
             l->name, bl_module_name(l->module), (long long)x->rows, (long long)l->inner,
             (long long)l->positions);
    return wrong(x, path, part, wants, err);
}

static int missing(const bl_adapted *x, const char *path, bl_part part, bl_error *err) {
    for (int i = 0; i < BL_PART_COUNT; i++) {
        if (x->part[i]) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.300s: \"%.200s\" is there without its %s: the file is not whole", path,
                           x->part[i]->name, bl_part_name(part));
        }
    }
    return bl_fail(err, BL_E_FORMAT, "%.300s: %s is missing", path, bl_part_name(part));
}

/* Has it as many rows, and as many elements in each? */
static bool is(const bl_file_tensor *t, int64_t rows, int64_t columns) {
    return axis(t, 0) == rows && (!rows || elements(t) / rows == columns);
}

/* A factor [r, r2, kh, kw] between [.., r] and [r2, ..]. */
static bool is_core(const bl_file_tensor *t, int64_t rank, int64_t rank2, int64_t positions) {
    return t->rank >= 2 && t->shape[0] == rank && t->shape[1] == rank2 && rank && rank2 &&
           elements(t) / rank / rank2 == positions;
}

static int check_lora(bl_adapted *x, const char *path, bl_error *err) {
    const bl_layer *l = x->layer;
    const bl_file_tensor *down = x->part[BL_PART_DOWN], *up = x->part[BL_PART_UP],
                         *mid = x->part[BL_PART_MID];
    if (!down || !up) {
        return missing(x, path, down ? BL_PART_UP : BL_PART_DOWN, err);
    }
    int64_t rank = axis(down, 0), up_rank = mid ? axis(mid, 0) : rank;
    if (!rank || axis(up, 0) != x->rows) {
        return wrong_for_layer(x, path, rank ? BL_PART_UP : BL_PART_DOWN, err);
    }
    if (!is(up, x->rows, up_rank)) {
        char shape[192], wants[256];
        format_shape(shape, sizeof shape, down);
        snprintf(wants, sizeof wants, "the shape %s of its lora_down", shape);
        return wrong(x, path, BL_PART_UP, wants, err);
    }
    if (!is(down, rank, mid ? l->inner : l->inner * l->positions)) {
        return wrong_for_layer(x, path, BL_PART_DOWN, err);
    }
    return mid && !is_core(mid, up_rank, rank, l->positions) ? wrong_for_layer(x, path, BL_PART_MID, err) : 0;
}

/* One of the two products of a LoHa. */
static int check_hada(bl_adapted *x, const char *path, bl_part a, bl_part b, bl_part t, bl_error *err) {
    const bl_layer *l = x->layer;
    const bl_file_tensor *core = x->part[t];
    if (!x->part[a] || !x->part[b]) {
        return missing(x, path, x->part[a] ? b : a, err);
    }
    int64_t rank = axis(x->part[b], 0), first = core ? axis(core, 0) : rank;
    if (!rank || !is(x->part[b], rank, core ? l->inner : l->inner * l->positions)) {
        return wrong_for_layer(x, path, b, err);
    }
    if (!(core ? is(x->part[a], first, x->rows) : is(x->part[a], x->rows, rank))) {
        return wrong_for_layer(x, path, a, err);
    }
    return core && !is_core(core, first, rank, l->positions) ? wrong_for_layer(x, path, t, err) : 0;
}

static int check_loha(bl_adapted *x, const char *path, bl_error *err) {
    int rc = check_hada(x, path, BL_PART_W1A, BL_PART_W1B, BL_PART_T1, err);
    return rc ? rc : check_hada(x, path, BL_PART_W2A, BL_PART_W2B, BL_PART_T2, err);
}

/* Rows and columns of LoKr's first factor. */
static int check_first_factor(bl_adapted *x, const char *path, int64_t *rows, int64_t *columns,
                              bl_error *err) {
    const bl_file_tensor *whole = x->part[BL_PART_K1], *a = x->part[BL_PART_K1A], *b = x->part[BL_PART_K1B];
    if (!whole && (!a || !b)) {
        return missing(x, path, a ? BL_PART_K1B : b ? BL_PART_K1A : BL_PART_K1, err);
    }
    *rows = axis(whole ? whole : a, 0);
    bl_part shown = whole ? BL_PART_K1 : BL_PART_K1A;
    int64_t rank = whole ? 0 : axis(b, 0);
    if (!*rows || x->rows % *rows || (!whole && (!rank || !is(a, *rows, rank)))) {
        return wrong_for_layer(x, path, shown, err);
    }
    *columns = whole ? elements(whole) / *rows : elements(b) / rank;
    return !*columns || x->layer->inner % *columns
               ? wrong_for_layer(x, path, whole ? BL_PART_K1 : BL_PART_K1B, err)
               : 0;
}

static int check_lokr(bl_adapted *x, const char *path, bl_error *err) {
    const bl_file_tensor *whole = x->part[BL_PART_K2], *a = x->part[BL_PART_K2A], *b = x->part[BL_PART_K2B],
                         *core = x->part[BL_PART_KT2];
    int64_t o1 = 1, i1 = 1, positions = x->layer->positions;
    int rc = check_first_factor(x, path, &o1, &i1, err);
    if (rc) {
        return rc;
    }
    if (!whole && (!a || !b)) {
        return missing(x, path, a ? BL_PART_K2B : b ? BL_PART_K2A : BL_PART_K2, err);
    }
    int64_t o2 = x->rows / o1, i2 = x->layer->inner / i1;
    if (whole) {
        return is(whole, o2, i2 * positions) ? 0 : wrong_for_layer(x, path, BL_PART_K2, err);
    }
    int64_t rank = axis(b, 0);
    if (!rank || !is(b, rank, core ? i2 : i2 * positions)) {
        return wrong_for_layer(x, path, BL_PART_K2B, err);
    }
    if (core ? !is_core(core, axis(a, 0), rank, positions) : !is(a, o2, rank)) {
        return wrong_for_layer(x, path, core ? BL_PART_KT2 : BL_PART_K2A, err);
    }
    return core && !is(a, axis(core, 0), o2) ? wrong_for_layer(x, path, BL_PART_K2A, err) : 0;
}

static int check_full(bl_adapted *x, const char *path, bl_error *err) {
    const bl_layer *l = x->layer;
    bool fits = l->weight && is(x->part[BL_PART_DIFF], x->rows, l->inner * l->positions);
    return fits ? 0 : wrong_for_layer(x, path, BL_PART_DIFF, err);
}

static int check_magnitude(bl_adapted *x, const char *path, bl_error *err) {
    const bl_file_tensor *m = x->part[BL_PART_DORA];
    bl_part part = m ? BL_PART_DORA : BL_PART_MAGNITUDE;
    m = m ? m : x->part[BL_PART_MAGNITUDE];
    x->dora = m != NULL;
    if (!m) {
        return 0;
    }
    if (x->change == BL_CHANGE_NONE) {
        return missing(x, path, BL_PART_DOWN, err);
    }
    x->dora_by_output = part == BL_PART_MAGNITUDE || (axis(m, 0) == x->rows && axis(m, 1) == 1);
    if (!x->dora_by_output && x->rows != x->layer->rows) { /* the length of an input is over all of them */
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.300s: \"%.200s\" has a magnitude of each input of layers that are one in this file; "
            "such are read of single layers, or with one of each output",
            path, m->name);
    }
    int64_t wants = x->dora_by_output ? x->rows : x->layer->inner;
    return elements(m) == wants ? 0 : wrong_for_layer(x, path, part, err);
}

/* Which parts are there says what it is. */
static int find_change(bl_adapted *x, const char *path, bl_error *err) {
    bl_part seen = BL_PART_COUNT;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (int i = (int)groups[g].first; i <= (int)groups[g].last; i++) {
            if (x->part[i] && x->change != BL_CHANGE_NONE && x->change != groups[g].change) {
                return bl_fail(
                    err, BL_E_FORMAT,
                    "%.300s: layer %.127s has both \"%.160s\" and \"%.160s\", which are two kinds of adapter",
                    path, x->layer->name, x->part[seen]->name, x->part[i]->name);
            }
            if (x->part[i]) {
                x->change = groups[g].change;
                seen = (bl_part)i;
            }
        }
    }
    return 0;
}

int64_t bl_adapted_rank(const bl_adapted *x) {
    static const bl_part ranked[] = {BL_PART_DOWN, BL_PART_W1B, BL_PART_K2B, BL_PART_K1B};
    for (int i = 0; i < 4; i++) {
        if (x->part[ranked[i]]) {
            return axis(x->part[ranked[i]], 0);
        }
    }
    return 0;
}

int bl_adapted_check(bl_adapted *x, const char *path, double alpha, bl_error *err) {
    static int (*const checks[BL_CHANGE_COUNT])(bl_adapted *, const char *,
                                                bl_error *) = {[BL_CHANGE_LORA] = check_lora,
                                                               [BL_CHANGE_LOHA] = check_loha,
                                                               [BL_CHANGE_LOKR] = check_lokr,
                                                               [BL_CHANGE_FULL] = check_full};
    x->change = BL_CHANGE_NONE;
    int rc = find_change(x, path, err);
    if (!rc && x->change != BL_CHANGE_NONE && !x->layer->weight) {
        rc = bl_fail(err, BL_E_FORMAT, "%.300s: layer %.127s has no weight to change", path, x->layer->name);
    }
    if (!rc && checks[x->change]) {
        rc = checks[x->change](x, path, err);
    }
    if (!rc && x->part[BL_PART_DIFF_B] && !(x->layer->bias && elements(x->part[BL_PART_DIFF_B]) == x->rows)) {
        rc = wrong_for_layer(x, path, BL_PART_DIFF_B, err);
    }
    rc = rc ? rc : check_magnitude(x, path, err);
    int64_t rank = bl_adapted_rank(x);
    x->scale = rank && alpha == alpha ? alpha / (double)rank : 1;
    return rc;
}

const char *bl_adapted_kind(const bl_adapted *x) {
    bool norm = x->layer->inner == 1 && x->layer->positions == 1 && x->change == BL_CHANGE_FULL;
    bool tucker = x->part[BL_PART_MID] || x->part[BL_PART_T1] || x->part[BL_PART_KT2];
    switch (x->change) {
    case BL_CHANGE_LORA:
        return x->dora                   ? (x->layer->positions > 1 ? "DoRA LoCon" : "DoRA LoRA")
               : tucker                  ? "LoRA (Tucker)"
               : x->layer->positions > 1 ? "LoCon"
                                         : "LoRA";
    case BL_CHANGE_LOHA:
        return x->dora ? "DoRA LoHa" : tucker ? "LoHa (Tucker)" : "LoHa";
    case BL_CHANGE_LOKR:
        return x->dora ? "DoRA LoKr" : "LoKr";
    default:
        return norm ? "norm" : "full";
    }
}
