/* Merged weights against the reference, which sums in F64 and rounds once: every tensor that any adapter of
 * tests/data touches, by its two sums, and rows of some, by the tolerance of a merge in F32. */
#include "adapter/rig.h"

#define CASE_ADAPTERS 4

/* What a case merges. */
typedef struct merged_case {
    bl_wanted wanted[CASE_ADAPTERS];
    int count;
} merged_case;

/* "<lora:kohya:0.3:0.8><lora:locon:0.4:0.4>" */
static void read_tags(merged_case *c, const rig *r, const char *tags) {
    *c = (merged_case){.count = 0};
    for (const char *p = tags; (p = strstr(p, "<lora:")); p++) {
        char name[128];
        bl_wanted *w = &c->wanted[c->count++];
        assert_true(c->count <= CASE_ADAPTERS);
        assert_int_equal(sscanf(p, "<lora:%127[^:]:%lf:%lf>", name, &w->text, &w->denoiser), 3);
        w->adapter = rig_adapter(r, name);
    }
}

static void set_case(rig *r, merged_case *c) {
    bl_error err = {0};
    for (int m = 0; m < RIG_MODULES; m++) {
        if (r->merge[m]) {
            rig_ok(bl_merge_set(r->merge[m], &(bl_changes){c->wanted, c->count, NULL}, &err), &err);
        }
    }
}

static void end_case(merged_case *c) {
    for (int i = 0; i < c->count; i++) {
        bl_adapter_drop(&c->wanted[i].adapter);
    }
}

/* The weight and its part of a name; fails where there is none. */
static const bl_weight *weight_named(const bl_graph *g, const char *name, int *part) {
    for (int i = 0; i < g->weight_count; i++) {
        for (*part = 0; *part < g->weights[i].parts; ++*part) {
            if (!strcmp(g->weights[i].name[*part], name)) {
                return &g->weights[i];
            }
        }
    }
    fail_msg("no weight %s", name);
    return NULL;
}

/* A merged tensor, whole, in pieces of `step` rows. Caller: free. */
static float *read_merged(rig *r, const char *full_name, int64_t *rows, int64_t *columns, int64_t step) {
    static const char *const modules[RIG_MODULES] = {"text_encoder.", "text_encoder_2.", "text_encoder_3.",
                                                     "unet."};
    bl_error err = {0};
    for (int m = 0; m < RIG_MODULES; m++) {
        size_t n = strlen(modules[m]);
        if (strncmp(full_name, modules[m], n) != 0) {
            continue;
        }
        int part = 0;
        const bl_weight *w = weight_named(r->graph[m], full_name + n, &part);
        *rows = w->shape[0] / w->parts;
        *columns = bl_weight_elements(w) / w->shape[0];
        float *all = malloc((size_t)(*rows * *columns) * sizeof *all);
        bl_source s = bl_merge_source(r->merge[m]);
        assert_non_null(all);
        assert_int_equal(s.dtype(s.payload, w, part), BL_F32);
        for (int64_t b = 0; b < *rows; b += step) {
            int64_t e = b + step < *rows ? b + step : *rows;
            rig_ok(s.read(s.payload, w, part, b, e, all + b * *columns, &err), &err);
        }
        return all;
    }
    fail_msg("no module of %s", full_name);
    return NULL;
}

/* The reference's two sums: root of the sum of squares, and one that depends on the order. */
static void sums_of(const float *all, int64_t n, double *length, double *ordered) {
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t k = ((uint64_t)i * 2654435761u) & 0xffffffffu;
        squares += (double)all[i] * (double)all[i];
        sum += (double)all[i] * ((double)k / 4294967296.0 - 0.5);
    }
    *length = sqrt(squares);
    *ordered = sum;
}

static void check_tensor(rig *r, const char *case_name, const char *name, json_t *sums) {
    int64_t rows = 0, columns = 0;
    double length, ordered;
    float *all = read_merged(r, name, &rows, &columns, 1000000), *again;
    sums_of(all, rows * columns, &length, &ordered);
    double wanted = json_number_value(json_array_get(sums, 0)),
           other = json_number_value(json_array_get(sums, 1));
    if (!(fabs(length - wanted) <= 2e-6 * wanted && fabs(ordered - other) <= 2e-6 * (wanted + 1))) {
        fail_msg("%s %s %s: sums %.9g %.9g, the reference has %.9g %.9g", r->family, case_name, name, length,
                 ordered, wanted, other);
    }
    again = read_merged(r, name, &rows, &columns, 3); /* the same bits, however many rows are asked for */
    assert_memory_equal(all, again, (size_t)(rows * columns) * sizeof *all);
    free(all);
    free(again);
}

/* All tensors of all cases at strength 1. */
static void check_sums(rig *r) {
    json_t *cases = rig_json(r, "golden/cases.json"), *merged = rig_json(r, "golden/merged.json"), *entry,
           *sums;
    const char *name, *tensor;
    int checked = 0;
    json_object_foreach(merged, name, entry) {
        merged_case c;
        json_t *each = json_object_get(entry, "each");
        const char *tags = json_string_value(json_object_get(json_object_get(cases, "tags"), name));
        if (!each || !tags) {
            continue;
        }
        read_tags(&c, r, tags);
        set_case(r, &c);
        json_object_foreach(each, tensor, sums) {
            check_tensor(r, name, tensor, sums);
            checked++;
        }
        end_case(&c);
    }
    assert_true(checked > 400);
    json_decref(cases);
    json_decref(merged);
}

/* Rows n/3 and n-1 of n; of long rows only the first, of vectors all. */
static void check_rows(rig *r, const bl_golden *golden, const char *key) {
    const char *name = strchr(key, '/') + 1;
    int64_t rows = 0, columns = 0, count = 1;
    const bl_file_tensor *t = bl_golden_tensor(golden, key);
    float *all = read_merged(r, name, &rows, &columns, 7),
          *mine = malloc((size_t)(2 * rows * columns) * sizeof *mine);
    for (int i = 0; i < t->rank; i++) {
        count *= t->shape[i];
    }
    assert_non_null(mine);
    if (columns == 1 && count == rows) {
        memcpy(mine, all, (size_t)rows * sizeof *mine);
    } else {
        memcpy(mine, all + rows / 3 * columns, (size_t)columns * sizeof *mine);
        memcpy(mine + columns, all + (rows - 1) * columns, (size_t)columns * sizeof *mine);
    }
    bl_golden_check(golden, key, mine, count, BL_F32);
    free(mine);
    free(all);
}

static void check_golden_rows(rig *r) {
    bl_golden golden;
    char inside[256], last[128] = "";
    int count;
    merged_case c = {.count = 0};
    json_t *cases = rig_json(r, "golden/cases.json");
    snprintf(inside, sizeof inside, "%s/adapters/golden/merged.safetensors", r->family);
    bl_golden_open(&golden, inside);
    const bl_file_tensor *t = bl_safetensors_tensors(golden.file, &count);
    for (int i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(t[i].name, "/"), t[i].name);
        if (strcmp(name, last) != 0) {
            const char *tags = json_string_value(json_object_get(json_object_get(cases, "tags"), name));
            assert_non_null(tags);
            end_case(&c);
            read_tags(&c, r, tags);
            set_case(r, &c);
            memcpy(last, name, sizeof last);
        }
        check_rows(r, &golden, t[i].name);
    }
    assert_true(count > 50);
    end_case(&c);
    bl_golden_close(&golden);
    json_decref(cases);
}

static void test_sums(void **state) {
    (void)state;
    for (int i = 0; i < RIG_FAMILIES; i++) {
        rig r;
        rig_open(&r, rig_families[i], i % 2 ? BL_SYNTH_FOLDER : BL_SYNTH_SINGLE);
        check_sums(&r);
        rig_close(&r);
    }
}

static void test_rows(void **state) {
    (void)state;
    for (int i = 0; i < RIG_FAMILIES; i++) {
        rig r;
        rig_open(&r, rig_families[i], i % 2 ? BL_SYNTH_SINGLE : BL_SYNTH_FOLDER);
        check_golden_rows(&r);
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
