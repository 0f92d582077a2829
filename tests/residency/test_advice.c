/* What other settings would do: sweeps, comparisons, hints; and what was measured before: calibration. */
#include "described.h"

#include "residency/run/calibration.h"
#include "residency/tell/explain.h"
#include "residency/tell/hints.h"
#include "residency/tell/sweep.h"

#include <math.h>
#include <unistd.h>

static void sweeps_fall(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sd15", &card);
    bl_sweep_row rows[8];
    bl_offload_settings s = bl_offload_defaults();
    CHECK(bl_sweep(rows, 8, p, &s, 300000000, 2900000000, NULL, &described_error));
    assert_false(rows[0].works);
    assert_true(rows[7].works && rows[7].moved_bytes == 0);
    for (int i = 1; i < 8; i++) {
        if (rows[i - 1].works) {
            assert_true(rows[i].seconds <= rows[i - 1].seconds * 1.02);
            assert_true(rows[i].bound_seconds <= rows[i - 1].bound_seconds * 1.0001);
        }
    }
    json_t *j = bl_sweep_json(rows, 8);
    assert_int_equal(json_array_size(j), 8);
    json_decref(j);
    bl_error err;
    assert_int_equal(bl_sweep(rows, 1, p, &s, 1, 2, NULL, &err), BL_E_ARGUMENT);
    bl_problem_free(&p);
}

static void comparisons_have_a_row_for_each_mode(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sdxl", &card);
    bl_offload_settings s = bl_offload_defaults();
    bl_sweep_row rows[BL_COMPARE_ROWS];
    s.never = "";
    CHECK(bl_compare(rows, p, &s, &described_error));
    assert_true(rows[0].works && rows[0].moved_bytes == 0);
    assert_true(rows[3].moved_bytes > 0 && rows[4].moved_bytes == 0 && rows[5].moved_bytes == 0);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    bl_sweep_print(f, rows, BL_COMPARE_ROWS);
    fclose(f);
    assert_non_null(strstr(text, "balanced, reactive"));
    free(text);
    bl_problem_free(&p);
}

/* Where weights come through a host store, rows tell what is read from the file; elsewhere nothing of it. */
static void rows_tell_loads(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.file_rate = 2e9;
    card.file_latency = 1e-4;
    for (int store = 0; store < 2; store++) {
        card.host_bytes = store ? 3000000000 : 0;
        bl_problem *p = described_model("sdxl", &card);
        bl_offload_settings s = bl_offload_defaults();
        bl_sweep_row rows[BL_COMPARE_ROWS];
        p->budget_bytes = 3000000000;
        CHECK(bl_compare(rows, p, &s, &described_error));
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        bl_sweep_print(f, rows, BL_COMPARE_ROWS);
        fclose(f);
        const bl_sweep_row *last = &rows[BL_COMPARE_ROWS - 1];
        json_t *j = bl_sweep_json(rows, BL_COMPARE_ROWS), *row = json_array_get(j, BL_COMPARE_ROWS - 1);
        assert_true(last->works && last->has_store == (store == 1));
        assert_true((last->loaded_bytes > 0) == store && (last->load_seconds > 0) == store);
        assert_true((strstr(text, "loaded") != NULL) == store && (strstr(text, "reading") != NULL) == store);
        assert_true((uint64_t)json_integer_value(json_object_get(row, "loaded_bytes")) == last->loaded_bytes);
        assert_true(json_real_value(json_object_get(row, "load_seconds")) == last->load_seconds);
        json_decref(j);
        free(text);
        bl_problem_free(&p);
    }
}

/* A plan that is not near its bound says where and why; so does a mode that does not plan. */
static void gaps_are_explained(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.flops_bf16 = 600e12;
    bl_problem *p = described_model("sd15", &card);
    bl_offload_settings s = bl_offload_defaults();
    p->budget_bytes = 1100000000;
    for (int m = 0; m < 2; m++) {
        bl_plan *plan;
        char *text;
        s.mode = m ? BL_OFFLOAD_SEQUENTIAL : BL_OFFLOAD_AUTO;
        CHECK(bl_plan_steady(&plan, p, &s, &described_error));
        CHECK(bl_plan_explain(&text, plan, p, &described_error));
        assert_true(plan->seconds > 1.03 * plan->bound_seconds);
        assert_non_null(strstr(text, "over the bound, most of it waits for copies in phase denoise"));
        assert_non_null(strstr(text, m ? "--offload auto plans ahead" : "counts blocks in parts"));
        free(text);
        bl_plan_free(&plan);
    }
    bl_problem_free(&p);
}

/* Everything fits and comes for the first time: room is not what is missing. */
static void a_first_picture_is_explained(void **state) {
    (void)state;
    bl_problem *p;
    bl_problem_block blocks[2];
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    char *text;
    int number;
    memset(blocks, 0, sizeof blocks);
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 1000;
    p->async_copy = true;
    p->budget_bytes = p->memory_bytes = 1 << 20;
    for (int b = 0; b < 2; b++) {
        snprintf(blocks[b].name, sizeof blocks[b].name, "b%d", b);
        blocks[b].bytes = b ? 3072 : 1024;
        blocks[b].copy_seconds = blocks[b].load_seconds = -1;
        blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
    }
    CHECK(bl_problem_add_module(&number, p, "m", "bf16", blocks, 2, &described_error));
    CHECK(bl_problem_add_phase(&number, p, "work", "work", number, 1, 64, (double[]){0.1, 2},
                               &described_error));
    CHECK(bl_problem_finish(p, &described_error));
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(bl_plan_explain(&text, plan, p, &described_error));
    assert_non_null(strstr(text, "over the bound"));
    assert_non_null(strstr(text, "all weights fit, but they are not there yet"));
    assert_null(strstr(text, "share"));
    free(text);
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

static void hint_for(bl_hint *out, bl_problem *p, const bl_offload_settings *s) {
    bl_plan *plan;
    CHECK(bl_plan_steady(&plan, p, s, &described_error));
    CHECK(bl_hint_find(out, p, plan, s, NULL, plan->seconds, &described_error));
    bl_plan_free(&plan);
}

/* bf16 is spoken of where it saves enough and nothing that changes no picture does. */
static void the_hint_of_last_resort_is_bf16(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.copy_rate = 10e9;
    bl_problem *p = described_model("sdxl", &card), *half = described_model("sdxl", &card);
    for (int m = 0; m < p->module_count; m++) {
        snprintf(p->modules[m].dtype, sizeof p->modules[m].dtype, "f32");
        for (int b = 0; b < half->modules[m].block_count; b++) {
            half->modules[m].blocks[b].bytes /= 2;
            half->modules[m].blocks[b].copy_seconds = -1;
        }
    }
    CHECK(bl_problem_finish(half, &described_error));
    bl_offload_settings s = bl_offload_defaults();
    bl_hint_bf16 bf16 = {half, "--dtype"};
    bl_plan *plan;
    bl_hint hint;
    /* Everything fits: nothing to save. */
    CHECK(bl_plan_steady(&plan, p, &s, &described_error));
    CHECK(bl_hint_find(&hint, p, plan, &s, &bf16, plan->seconds, &described_error));
    assert_string_equal(hint.text, "");
    bl_plan_free(&plan);
    /* More budget would help as well, and leaves the picture as it is. */
    p->budget_bytes = half->budget_bytes = 2600000000;
    CHECK(bl_plan_steady(&plan, p, &s, &described_error));
    CHECK(bl_hint_find(&hint, p, plan, &s, &bf16, plan->seconds, &described_error));
    assert_non_null(strstr(hint.text, "GB more budget"));
    assert_false(hint.changes_picture);
    /* There is no more. */
    p->memory_bytes = half->memory_bytes = p->budget_bytes;
    CHECK(bl_hint_find(&hint, p, plan, &s, &bf16, plan->seconds, &described_error));
    double weights = 0, seconds = plan->seconds;
    for (int m = 0; m < p->module_count; m++) {
        bool used = false;
        for (int i = 0; i < p->phase_count; i++) {
            used = used || p->phases[i].module == m;
        }
        weights += used ? (double)p->modules[m].bytes * 1e-9 : 0;
    }
    bl_plan_free(&plan);
    CHECK(bl_plan_steady(&plan, half, &s, &described_error));
    char wanted[256];
    snprintf(wanted, sizeof wanted,
             "bf16 halves the weights (%.2f GB to %.2f GB): --dtype bf16 saves about %.1f s of each %.1f s; "
             "it changes "
             "the picture a little",
             weights, weights / 2, seconds - plan->seconds, seconds);
    assert_string_equal(hint.text, wanted);
    assert_string_equal(hint.flag, "--dtype");
    assert_string_equal(hint.value, "bf16");
    assert_true(hint.changes_picture && hint.saves_seconds > 0);
    bl_plan_free(&plan);
    bl_problem_free(&half);
    bl_problem_free(&p);
}

static void hints_name_the_setting_and_the_number(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.copy_rate = 10e9; /* slow enough for moves to be worth a word */
    bl_problem *p = described_model("sdxl", &card);
    bl_offload_settings s = bl_offload_defaults();
    bl_hint hint;
    hint_for(&hint, p, &s);
    assert_string_equal(hint.text, "");
    s.mode = BL_OFFLOAD_BALANCED;
    s.never = "";
    hint_for(&hint, p, &s);
    assert_string_equal(hint.text, "");
    s.fit_check = false;
    hint_for(&hint, p, &s);
    assert_non_null(
        strstr(hint.text, "unet (5.14 GB) was loaded 2x although the working set (9.34 GB) fits the budget"));
    assert_non_null(strstr(hint.text, "--fit-check on saves about 1."));
    assert_string_equal(hint.flag, "--fit-check");
    assert_string_equal(hint.value, "on");
    assert_true(hint.saves_seconds > 0.95 && hint.saves_seconds < 2.05);
    s.mode = BL_OFFLOAD_SEQUENTIAL;
    hint_for(&hint, p, &s);
    assert_non_null(strstr(hint.text, "--offload auto saves about"));
    assert_string_equal(hint.flag, "--offload");
    assert_string_equal(hint.value, "auto");
    s.mode = BL_OFFLOAD_AUTO;
    p->budget_bytes = 2600000000;
    hint_for(&hint, p, &s);
    assert_non_null(strstr(hint.text, "GB more budget"));
    assert_non_null(strstr(hint.text, "becomes about"));
    assert_string_equal(hint.flag, "--budget");
    /* what it says is enough: with it, there is no such hint any more */
    uint64_t megabytes = strtoull(hint.value, NULL, 10);
    assert_true(hint.value[0] && hint.value[strlen(hint.value) - 1] == 'M');
    assert_true(megabytes * 1000000 > p->budget_bytes);
    p->budget_bytes = megabytes * 1000000;
    hint_for(&hint, p, &s);
    assert_string_equal(hint.text, "");
    bl_problem_free(&p);
}

static bl_calibration_key key_for(const char *device) {
    static const char *const shapes[] = {"77", "2x64x64", "64x64", "96x96", "2x96x96", "96x96"};
    static const char *const models[] = {"sd15", "sd15", "sd15", "sd15", "sd15", "sd15", "sd15", "sd15"};
    return (bl_calibration_key){.device = device, .models = models, .dtype = "bf16", .shapes = shapes};
}

/* Plans with wrong figures on a machine that is twice as slow, learns, and plans again: within 15%. */
static void learn_and_apply(const char *path) {
    bl_sim_card slow = described_card(), wrong = slow;
    slow.flops_bf16 /= 2;
    slow.memory_rate /= 2;
    slow.copy_rate /= 3;
    bl_problem *truth = described_model("sd15", &slow), *p = described_model("sd15", &wrong);
    truth->budget_bytes = p->budget_bytes = 1600000000;
    bl_calibration *c;
    bl_calibration_key key = key_for("slow machine");
    CHECK(bl_calibration_open(&c, path, NULL, &described_error));
    described_machine x;
    machine_open(&x, truth, &slow, NULL);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    int known;
    CHECK(bl_calibration_apply(c, &key, p, &known, &described_error));
    assert_int_equal(known, 0);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run(&x, truth, plan, &described_error));
    assert_true(bl_ledger_device_seconds(&x.ledger) > 1.5 * plan->seconds);
    CHECK(bl_calibration_learn(c, &key, p, plan, &x.ledger, &described_error));
    bl_plan_free(&plan);
    bl_calibration_close(&c);

    /* Another process, if there is a file. */
    if (path) {
        CHECK(bl_calibration_open(&c, path, NULL, &described_error));
        bl_executor_resident(x.executor, p);
        double guess[256] = {0};
        const bl_problem_level *levels = p->phases[0].levels;
        CHECK(bl_problem_add_level(p, 0, levels[0].arena_bytes / 2, guess, &described_error));
        CHECK(bl_calibration_apply(c, &key, p, &known, &described_error));
        assert_int_equal(known, p->phase_count);
        /* a level that never ran counts as the one that did */
        assert_true(levels[0].pass_seconds > 0 && levels[1].pass_seconds == levels[0].pass_seconds);
        assert_true(p->copy_rate > 0.9 * slow.copy_rate && p->copy_rate < 1.1 * slow.copy_rate);
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(machine_run(&x, truth, plan, &described_error));
        double ratio = bl_ledger_device_seconds(&x.ledger) / plan->seconds;
        assert_true(ratio > 0.85 && ratio < 1.15);
        bl_plan_free(&plan);
        /* Another machine's figures are not ours. */
        bl_calibration_key other = key_for("other machine");
        CHECK(bl_calibration_apply(c, &other, p, &known, &described_error));
        assert_int_equal(known, 0);
        /* Nor are those of a module in another type. */
        snprintf(p->modules[p->phases[0].module].dtype, sizeof p->modules[0].dtype, "f32");
        CHECK(bl_calibration_apply(c, &key, p, &known, &described_error));
        int same = 0;
        for (int i = 0; i < p->phase_count; i++) {
            same += p->phases[i].module != p->phases[0].module;
        }
        assert_int_equal(known, same);
        bl_calibration_close(&c);
    }
    machine_close(&x);
    bl_problem_free(&p);
    bl_problem_free(&truth);
}

static void calibration_makes_plans_true(void **state) {
    (void)state;
    char path[] = "/tmp/ballast-calibration-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    learn_and_apply(path);
    learn_and_apply(NULL);
    unlink(path);
}

static void damaged_calibrations_are_replaced(void **state) {
    (void)state;
    static const char *const bad[] = {
        "this is no database at all, and longer than a header of one would be ........."
        "..........................................................",
        "SQLite format 3"};
    for (size_t i = 0; i < 2; i++) {
        char path[] = "/tmp/ballast-calibration-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        size_t length = strlen(bad[i]) + (i == 1);
        for (int k = 0; k < (i == 1 ? 200 : 20); k++) {
            assert_int_equal(write(fd, bad[i], length), length);
        }
        close(fd);
        learn_and_apply(path);
        unlink(path);
    }
    /* A path that cannot be a file: kept in memory, and the folder is left alone. */
    bl_calibration *c;
    CHECK(bl_calibration_open(&c, "/tmp", NULL, &described_error));
    bl_calibration_close(&c);
    CHECK(bl_calibration_open(&c, "/nowhere/at/all.db", NULL, &described_error));
    bl_calibration_close(&c);
    assert_int_equal(access("/tmp", R_OK), 0);
}

/* Learns that each block of phase 1 took `seconds` run by run; returns what the first is then said to take.
 */
static double learned(bl_calibration *c, bl_problem *p, const bl_plan *plan, const double *seconds,
                      int runs) {
    bl_calibration_key key = key_for("some machine");
    bl_ledger l;
    bl_ledger_init(&l);
    int stage = bl_ledger_stage_of(&l, "pipeline", &described_error);
    assert_true(stage >= 0);
    int blocks = p->modules[p->phases[1].module].block_count;
    for (int i = 0; i < runs * blocks; i++) {
        bl_ledger_entry e = {.work = BL_WORK_COMPUTE,
                             .stage = stage,
                             .phase = 1,
                             .module = p->phases[1].module,
                             .block = i % blocks,
                             .seconds = seconds[i / blocks]};
        CHECK(bl_ledger_add(&l, e, &described_error));
    }
    CHECK(bl_calibration_learn(c, &key, p, plan, &l, &described_error));
    CHECK(bl_calibration_apply(c, &key, p, NULL, &described_error));
    bl_ledger_free(&l);
    return p->phases[1].levels[plan->phases[1].level].block_seconds[0];
}

/* A machine whose copies are reads that share the cores: `first`: it reads blocks that never came, of which
 * each second one takes three times as long as the others; else it reads them again. */
static void learn_reads(bl_calibration *c, const bl_problem *p, const bl_plan *plan, bool first,
                        double rate) {
    bl_calibration_key key = key_for("a machine that reads");
    bl_ledger l;
    bl_ledger_init(&l);
    int stage = bl_ledger_stage_of(&l, "onload", &described_error);
    assert_true(stage >= 0);
    for (int b = 0; b < p->modules[1].block_count; b++) {
        const double bytes = (double)p->modules[1].blocks[b].bytes;
        for (int k = 0; k < 2; k++) {
            bl_ledger_entry e = {.work = BL_WORK_ONLOAD,
                                 .stage = stage,
                                 .phase = 1,
                                 .module = 1,
                                 .block = b,
                                 .bytes = (uint64_t)bytes,
                                 .share = first ? BL_SHARE_FIRST_LOAD : BL_SHARE_SWAP,
                                 .seconds = bytes / rate * (k ? 3 : 1)};
            CHECK(bl_ledger_add(&l, e, &described_error));
        }
    }
    CHECK(bl_calibration_learn(c, &key, p, plan, &l, &described_error));
    bl_ledger_free(&l);
}

/* What is brought for the first time takes longer than what comes again: plan, bound and what counts as known
 * are right for either, after one picture of each. */
static void first_reads_are_known_apart(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.shares_cores = true;
    bl_problem *p = described_model("sd15", &card);
    bl_offload_settings s = bl_offload_defaults();
    bl_calibration_key key = key_for("a machine that reads");
    bl_calibration *c;
    bl_plan *plan, *later;
    CHECK(bl_calibration_open(&c, NULL, NULL, &described_error));
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    learn_reads(c, p, plan, true, 1e9);
    CHECK(bl_calibration_apply(c, &key, p, NULL, &described_error));
    assert_true(fabs(p->copy_rate / 1e9 - 1) <
                0.01); /* there is no other, and the slower half does not count */
    learn_reads(c, p, plan, false, 4e9);
    bl_plan_free(&plan);
    CHECK(bl_calibration_apply(c, &key, p, NULL, &described_error));
    assert_true(fabs(p->copy_rate / 4e9 - 1) < 0.01);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    const double more = bl_problem_first_seconds(p), bytes = (double)plan->moved_bytes;
    assert_true(fabs(more / (bytes / 1e9 - bytes / 4e9) - 1) < 0.02);
    assert_true(plan->seconds < 1.001 * plan->bound_seconds); /* the bound has them, too */
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].came = true;
        }
    }
    CHECK(bl_plan_make(&later, p, &s, &described_error));
    assert_true(bl_problem_first_seconds(p) == 0 && later->moved_bytes == plan->moved_bytes);
    assert_true(fabs(plan->seconds - later->seconds - more) < 1e-9 * plan->seconds);
    assert_true(fabs(plan->bound_seconds - later->bound_seconds - more) < 1e-6 * plan->seconds);
    bl_plan_free(&later);
    bl_plan_free(&plan);
    bl_calibration_close(&c);
    bl_problem_free(&p);
}

/* Passes of a module in one shape say what they take in another. */
static void other_shapes_are_guessed_from_those_measured(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sd15", &card);
    bl_offload_settings s = bl_offload_defaults();
    const char *module = p->modules[p->phases[1].module].name, *dtype = p->modules[p->phases[1].module].dtype;
    bl_calibration_key key = key_for("some machine");
    bl_calibration *c;
    bl_plan *plan;
    double seconds;
    CHECK(bl_calibration_open(&c, NULL, NULL, &described_error));
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    p->phases[1].levels[plan->phases[1].level].work = 5e12;
    p->phases[1].levels[plan->phases[1].level].widen_seconds = 0.5;
    assert_false(bl_calibration_pass(&seconds, c, &key, module, dtype, 5e12));
    const double each =
        learned(c, p, plan, (const double[]){0.25}, 1) * p->modules[p->phases[1].module].block_count;
    assert_true(bl_calibration_pass(&seconds, c, &key, module, dtype, 5e12));
    assert_true(fabs(seconds - (each - 0.5)) < 1e-9);
    assert_true(bl_calibration_pass(&seconds, c, &key, module, dtype, 1e13));
    assert_true(fabs(seconds - 2 * (each - 0.5)) < 1e-9);
    assert_false(bl_calibration_pass(&seconds, c, &key, module, "another", 5e12));
    bl_plan_free(&plan);
    bl_calibration_close(&c);
    bl_problem_free(&p);
}

static void first_runs_and_slow_ones_count_less(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sd15", &card);
    bl_offload_settings s = bl_offload_defaults();
    bl_calibration *c;
    bl_plan *plan;
    CHECK(bl_calibration_open(&c, NULL, NULL, &described_error));
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    assert_true(fabs(learned(c, p, plan, (const double[]){9}, 1) - 9) < 1e-9); /* there is no other */
    assert_true(fabs(learned(c, p, plan, (const double[]){9, 1, 1}, 3) - 5) < 1e-9);
    assert_true(fabs(learned(c, p, plan, (const double[]){1, 13, 13}, 3) - 7) < 1e-9);
    bl_plan_free(&plan);
    bl_calibration_close(&c);
    bl_problem_free(&p);
}

/* A machine whose file is read four times as fast as was said, and whose host could hold more than it was
 * allowed: the first is learned, the second is a hint. */
static void loads_are_learned_and_hosts_hinted(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.host_bytes = 16000000000;
    card.file_rate = 4e9;
    card.file_latency = 1e-4;
    bl_problem *p = described_model("sd15", &card);
    p->has_store = true;
    p->load_rate = 1e9;
    p->host_bytes = 1000000000;
    p->host_memory_bytes = card.host_bytes;
    p->memory_bytes = 1600000000; /* no larger budget could be hinted */
    p->budget_bytes = 1600000000;
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].load_seconds = -1;
        }
    }
    CHECK(bl_problem_finish(p, &described_error));
    bl_offload_settings s = bl_offload_defaults();
    bl_hint hint;
    hint_for(&hint, p, &s);
    assert_string_equal(hint.flag, "--host-budget");
    assert_non_null(strstr(hint.text, "ends reading weights again"));

    bl_calibration *c;
    bl_calibration_key key = key_for("a machine with a host");
    bl_plan *plan;
    described_machine x;
    machine_open(&x, p, &card, NULL);
    CHECK(bl_calibration_open(&c, NULL, NULL, &described_error));
    CHECK(bl_executor_open_store(x.executor, p, NULL, &described_error));
    bl_executor_resident(x.executor, p);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run(&x, p, plan, &described_error));
    CHECK(bl_calibration_learn(c, &key, p, plan, &x.ledger, &described_error));
    CHECK(bl_calibration_apply(c, &key, p, NULL, &described_error));
    assert_true(p->load_rate > 0.9 * card.file_rate && p->load_rate < 1.1 * card.file_rate);
    assert_true(p->copy_rate > 0.9 * card.copy_rate && p->copy_rate < 1.1 * card.copy_rate);
    bl_plan_free(&plan);
    bl_calibration_close(&c);
    machine_close(&x);
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_are_learned_and_hosts_hinted),
        cmocka_unit_test(sweeps_fall),
        cmocka_unit_test(other_shapes_are_guessed_from_those_measured),
        cmocka_unit_test(first_reads_are_known_apart),
        cmocka_unit_test(comparisons_have_a_row_for_each_mode),
        cmocka_unit_test(rows_tell_loads),
        cmocka_unit_test(gaps_are_explained),
        cmocka_unit_test(a_first_picture_is_explained),
        cmocka_unit_test(hints_name_the_setting_and_the_number),
        cmocka_unit_test(the_hint_of_last_resort_is_bf16),
        cmocka_unit_test(calibration_makes_plans_true),
        cmocka_unit_test(damaged_calibrations_are_replaced),
        cmocka_unit_test(first_runs_and_slow_ones_count_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
