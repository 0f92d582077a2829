/* What is found in adapters' files, in each naming, and what is refused with which words. */
#include "adapter/rig.h"

#include "adapter/inspect.h"

static void check_found(rig *r, const char *name, json_t *expected) {
    bl_adapter *a = rig_adapter(r, name);
    json_t *by_component = json_object_get(expected, "layers_by_component"), *unmatched;
    unmatched = json_object_get(expected, "unmatched_keys");
    if (a->count != json_integer_value(json_object_get(expected, "matched_layers"))) {
        fail_msg("%s %s: %d layers, expected %d", r->family, name, a->count,
                 (int)json_integer_value(json_object_get(expected, "matched_layers")));
    }
    for (int m = 0; m < RIG_MODULES; m++) {
        assert_int_equal(a->modules[m],
                         json_integer_value(json_object_get(by_component, bl_module_name((bl_module)m))));
    }
    assert_int_equal(a->unmatched, json_array_size(unmatched));
    for (int i = 0; i < a->unmatched && i < BL_ADAPTER_NAMED; i++) {
        assert_string_equal(a->first_unmatched[i], json_string_value(json_array_get(unmatched, (size_t)i)));
    }
    assert_string_equal(a->hash, json_string_value(json_object_get(expected, "sha256_without_header")));
    assert_string_equal(a->name, name);
    bl_adapter_drop(&a);
}

static void check_refused(rig *r, const char *name) {
    static const struct {
        const char *name, *says;
    } why[] = {{"refuse_nothing_matches", "none of its 12 keys is a layer"},
               {"refuse_wrong_out", "lora_up.weight\" has shape"},
               {"refuse_wrong_in", "lora_down.weight\" has shape"},
               {"refuse_wrong_rank", "does not go with the shape"},
               {"refuse_half", "is there without its lora_up"},
               {"refuse_nan", "holds a NaN"}};
    char path[BL_TEST_PATH];
    bl_error err = {0};
    bl_adapter *a = NULL;
    rig_path(path, r, name);
    if (!bl_adapter_open(&a, path, r->layers, &err)) {
        fail_msg("%s %s was not refused", r->family, name);
    }
    for (size_t i = 0; i < sizeof why / sizeof *why; i++) {
        if (!strcmp(name, why[i].name)) {
            if (!strstr(err.message, why[i].says) || !strstr(err.message, path)) {
                fail_msg("%s: %s", name, err.message);
            }
            return;
        }
    }
    fail_msg("%s: nobody says how it is refused: %s", name, err.message);
}

static void test_files(void **state) {
    (void)state;
    for (int i = 0; i < RIG_FAMILIES; i++) {
        rig r;
        rig_open(&r, rig_families[i], BL_SYNTH_SINGLE);
        json_t *expected = rig_json(&r, "lora/expect.json"), *entry;
        const char *name;
        json_object_foreach(expected, name, entry) {
            if (strncmp(name, "refuse_", 7) != 0) {
                check_found(&r, name, entry);
            } else {
                check_refused(&r, name);
            }
        }
        json_decref(expected);
        rig_close(&r);
    }
}

/* Makes factors F64, each with *context as its first value. */
static bool in_f64(void *context, char *name, bl_tensor_data *t) {
    static double values[1 << 16];
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    if (strstr(name, "lora_down")) {
        assert_true(n <= 1 << 16);
        values[0] = *(double *)context;
        t->dtype = BL_F64;
        t->data = values;
    }
    return true;
}

/* An F64 that F32 has no number for is none, whatever it is in F64. */
static void test_beyond_f32(void **state) {
    (void)state;
    rig r;
    char folder[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    double values[] = {-3e38, 1e39, -1e300};
    rig_open(&r, "sd15", BL_SYNTH_SINGLE);
    rig_path(from, &r, "kohya");
    bl_test_folder(folder);
    bl_test_join(to, folder, "f64.safetensors");
    for (int i = 0; i < 3; i++) {
        bl_adapter *a = NULL;
        bl_error err = {0};
        bl_test_rewrite(to, from, in_f64, &values[i], NULL, 0);
        int rc = bl_adapter_open(&a, to, r.layers, &err);
        assert_int_equal(rc, i ? BL_E_FORMAT : 0);
        assert_true(!i || strstr(err.message, "what F32 has no number for"));
        bl_adapter_drop(&a);
    }
    bl_test_folder_remove(folder);
    rig_close(&r);
}

/* Blocks that a strength or a set changes, and none besides. */
static void test_blocks(void **state) {
    (void)state;
    rig r;
    bl_error err = {0};
    rig_open(&r, "sd15", BL_SYNTH_SINGLE);
    bl_merge *m = r.merge[BL_UNET];
    const int blocks = r.graph[BL_UNET]->block_count;
    bl_merge_cost *cost = calloc((size_t)blocks, sizeof *cost);
    assert_non_null(cost);
    bl_wanted locon = {rig_adapter(&r, "locon_tucker"), 1, 1}, text = {rig_adapter(&r, "te_only"), 1, 1};
    bl_wanted both[] = {locon, text}, other[] = {text, locon};
    int changed = 0, again = 0;
    rig_ok(bl_merge_look(cost, m, &(bl_changes){&locon, 1, NULL}, &err), &err);
    for (int b = 0; b < blocks; b++) {
        changed += cost[b].differs;
        assert_int_equal(cost[b].differs, cost[b].flops > 0);
        assert_int_equal(cost[b].differs, cost[b].bytes > 0);
    }
    assert_true(changed >= 1 && changed <= 6 && changed < blocks);
    rig_ok(bl_merge_set(m, &(bl_changes){&locon, 1, NULL}, &err), &err);
    rig_ok(bl_merge_look(cost, m, &(bl_changes){both, 2, NULL}, &err),
           &err); /* one that does not touch the UNet is none */
    for (int b = 0; b < blocks; b++) {
        assert_false(cost[b].differs);
    }
    rig_ok(bl_merge_look(cost, m, &(bl_changes){other, 2, NULL}, &err), &err);
    for (int b = 0; b < blocks; b++) {
        assert_false(cost[b].differs);
    }
    both[0].denoiser = 0.5;
    rig_ok(bl_merge_look(cost, m, &(bl_changes){both, 2, NULL}, &err), &err);
    for (int b = 0; b < blocks; b++) {
        again += cost[b].differs;
    }
    assert_int_equal(again, changed);
    both[0].denoiser = 0; /* the same as none */
    rig_ok(bl_merge_set(m, &(bl_changes){both, 2, NULL}, &err), &err);
    rig_ok(bl_merge_look(cost, m, &(bl_changes){NULL, 0, NULL}, &err), &err);
    for (int b = 0; b < blocks; b++) {
        assert_false(cost[b].differs);
    }
    free(cost);
    bl_adapter_drop(&locon.adapter);
    bl_adapter_drop(&text.adapter);
    rig_close(&r);
}

/* What a file says of itself, without its model. */
static void test_inspect(void **state) {
    static const struct {
        const char *family, *name, *kind, *is_for; /* NULL: tiny models have widths of their own */
    } cases[] = {{"sd15", "kohya", "LoRA", NULL},
                 {"sd15", "locon_tucker", "LoCon (Tucker)", NULL},
                 {"sdxl", "kohya", "LoRA", "SDXL"},
                 {"sdxl", "loha", "LoHa (Tucker)", "SDXL"},
                 {"sd21v", "dora", "DoRA on LoCon, LoHa", NULL},
                 {"sdxl", "full", "full differences", "SDXL"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r = {.family = cases[i].family};
        char path[BL_TEST_PATH];
        bl_error err = {0};
        json_t *told = NULL, *expected = rig_json(&r, "lora/expect.json"), *layers, *wanted;
        rig_path(path, &r, cases[i].name);
        rig_ok(bl_adapter_inspect(&told, path, &err), &err);
        assert_string_equal(json_string_value(json_object_get(told, "kind")), cases[i].kind);
        const char *is_for = json_string_value(json_object_get(told, "family"));
        assert_true(cases[i].is_for ? is_for && !strcmp(is_for, cases[i].is_for) : !is_for);
        layers = json_object_get(told, "layers");
        wanted = json_object_get(json_object_get(expected, cases[i].name), "layers_by_component");
        for (int m = 0; m < RIG_MODULES; m++) {
            const char *name = bl_module_name((bl_module)m);
            assert_int_equal(json_integer_value(json_object_get(layers, name)),
                             json_integer_value(json_object_get(wanted, name)));
        }
        json_decref(told);
        json_decref(expected);
    }
    char model[BL_TEST_PATH];
    json_t *told = NULL;
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    assert_int_equal(bl_adapter_inspect(&told, model, NULL), BL_E_FORMAT);
}

/* Metadata and no tensors. */
static void test_empty(void **state) {
    (void)state;
    rig r;
    bl_error err = {0};
    bl_adapter *a = NULL;
    char folder[] = "/tmp/ballast-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/empty.safetensors", folder);
    bl_test_write_header(path, "{\"__metadata__\":{\"ss_output_name\":\"style\"}}", 0);
    rig_open(&r, "sd15", BL_SYNTH_SINGLE);
    assert_int_equal(bl_adapter_open(&a, path, r.layers, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "nothing in it changes a layer"));
    rig_close(&r);
    remove(path);
    remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_beyond_f32),
                                       cmocka_unit_test(test_blocks), cmocka_unit_test(test_inspect),
                                       cmocka_unit_test(test_empty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
