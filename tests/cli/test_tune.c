/* `ballast tune`: what it finds is kept, used, told, and changes no bit of a picture. How fast anything is,
 * is no matter here: which choices win on a busy machine nobody knows. */
#include "rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <sqlite3.h>

static char model[BL_TEST_PATH];

static int setup(void **state) {
    int result = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    unsetenv("BALLAST_THREADS"); /* who gives them has chosen */
    return result;
}

#define SMALL "-m", model, "-p", "a fox", "-S", "1", "-s", "2", "-W", "64", "-H", "64"

/* Something that was found for the denoiser of these pictures, or, with another shape, of others. */
static void choose_so(const json_t *tuned, const char *choices, const char *shape, bool on_trial) {
    outcome o = {0};
    json_t *list = json_array(), *phase;
    size_t i;
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        if (!strcmp(json_string_value(json_object_get(phase, "module")), "unet")) {
            json_t *entry = json_copy(phase);
            json_object_set_new(entry, "choices", json_string(choices));
            json_object_set_new(entry, "untuned_seconds", json_real(1));
            json_object_set_new(entry, "seconds", json_real(0.001));
            json_object_set_new(entry, "on_trial", json_boolean(on_trial));
            if (shape) {
                json_object_set_new(entry, "shape", json_string(shape));
            }
            json_array_append_new(list, entry);
        }
    }
    assert_true(json_array_size(list) > 0);
    json_t *root = json_pack("{s:i, s:o}", "ballast_tuned", 1, "entries", list);
    assert_int_equal(json_dump_file(root, "chosen.json", 0), 0);
    json_decref(root);
    BALLAST(&o, "tune", "-m", model, "--import", "chosen.json");
    expect_success(&o);
    expect_contains(o.out, "taken in: ");
    rig_free(&o);
}

static void choose(const json_t *tuned, const char *choices, const char *shape) {
    choose_so(tuned, choices, shape, false);
}

/* Found while others used the machine: the second run of three goes without what may have gained by that, and
 * has the same bits. */
static void test_trial(const json_t *tuned) {
    outcome o = {0};
    choose_so(tuned, "level=1,pin=1", NULL, true);
    BALLAST(&o, "tune", "--show");
    expect_contains(o.out, "on trial");
    for (int run = 0; run < 3; run++) {
        BALLAST(&o, "generate", SMALL, "-o", "tuned.png", "--overwrite");
        assert_int_equal(o.code, 0);
        expect_contains(o.err, run == 1 ? "runs with level=1; " : "runs with level=1,pin=1; ");
        assert_int_equal(strstr(o.err, "Phase denoise goes without") != NULL, run == 1);
        expect_same_file("untuned.png", "tuned.png");
    }
    rig_free(&o);
}

/* More threads need more memory: a budget that does without them still does, with the same bits. */
static void test_short_budget(const json_t *tuned) {
    outcome o = {0};
    char budget[32], choices[40];
    BALLAST(&o, "tune", "--forget");
    BALLAST(&o, "plan", SMALL, "--json");
    json_t *plan = json_loads(o.out, 0, NULL);
    snprintf(budget, sizeof budget, "%lld",
             (long long)json_integer_value(json_object_get(plan, "min_budget_bytes")));
    json_decref(plan);
    snprintf(choices, sizeof choices, "threads=%ld", 2 * sysconf(_SC_NPROCESSORS_CONF));
    choose(tuned, choices, NULL);
    BALLAST(&o, "generate", SMALL, "-o", "tuned.png", "--overwrite", "--budget", budget);
    assert_int_equal(o.code, 0);
    assert_null(strstr(o.err, "Tuned on this machine")); /* there was no room for them */
    expect_same_file("untuned.png", "tuned.png");
    rig_free(&o);
}

/* What tuning gained at another size is worth a word, where nothing was tuned. */
static void test_hint(const json_t *tuned) {
    outcome o = {0};
    BALLAST(&o, "tune", "--forget");
    choose(tuned, "level=1", "other");
    BALLAST(&o, "generate", "-m", model, "-p", "a fox", "-W", "192", "-H", "192", "-s", "40", "-o",
            "hint.png", "--json");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "Hint: `ballast tune` would save about ");
    expect_contains(o.err, " s of ");
    json_t *report = json_loads(o.out, 0, NULL);
    const json_t *hint = json_object_get(report, "hint"); /* as in the line */
    expect_contains(o.err, json_string_value(json_object_get(hint, "text")));
    assert_string_equal(json_string_value(json_object_get(hint, "flag")), "ballast tune");
    assert_true(json_real_value(json_object_get(hint, "saves_seconds")) > 0);
    json_decref(report);
    rig_free(&o);
}

/* It ends by its time and a tenth of it, but for what opening the request takes: by its own clock. Of the
 * machine it says what there is to place threads on, and of the other type, beside bits of this one that may
 * change, what it is worth, or that there was no time. */
static void test_told(const json_t *tuned) {
    double limit = json_real_value(json_object_get(tuned, "limit_seconds")),
           took = json_real_value(json_object_get(tuned, "took_seconds"));
    assert_true(took > 0);
    if (took > 1.1 * limit + 1) {
        fail_msg("%.2f s of %.2f s", took, limit);
    }
    double others = json_real_value(json_object_get(tuned, "others"));
    assert_true(others >= 0 && others <= 1);
    const json_t *type = json_object_get(tuned, "dtype");
    assert_string_not_equal(json_string_value(json_object_get(type, "own")),
                            json_string_value(json_object_get(type, "other")));
    assert_true(json_is_boolean(json_object_get(type, "measured")));
    const json_t *machine = json_object_get(tuned, "machine");
    assert_true(json_integer_value(json_object_get(machine, "nodes")) >= 1);
    assert_true(json_integer_value(json_object_get(machine, "cores")) >= 1);
    assert_true(json_is_null(json_object_get(tuned, "not_kept")));
}

/* It ends with its line; and whatever was kept leaves every bit of a picture as it is, and is told. */
static void test_pictures(void **state) {
    static const char *const choices[] = {"pin=1,rest=1", "level=3"};
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", SMALL, "-o", "untuned.png");
    assert_int_equal(o.code, 0);
    assert_null(strstr(o.err, "Tuned on this machine"));
    BALLAST(&o, "tune", SMALL, "--time", "2s");
    assert_int_equal(o.code, 0);
    expect_contains(o.out, " NUMA node");
    expect_contains(o.out, "tuned: ");
    expect_contains(o.out, " s a picture (");
    expect_contains(o.out, " choices, ");
    BALLAST(&o, "tune", SMALL, "--time", "1s", "--json", "--bits", "any");
    assert_int_equal(o.code, 0);
    json_t *tuned = json_loads(o.out, 0, NULL);
    assert_true(json_is_real(json_object_get(tuned, "bound_seconds")));
    test_told(tuned);
    BALLAST(&o, "tune", "--forget"); /* what a busy machine has found is another matter */
    expect_success(&o);
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        choose(tuned, choices[i], NULL);
        BALLAST(&o, "generate", SMALL, "-o", "tuned.png", "--overwrite");
        assert_int_equal(o.code, 0);
        expect_contains(o.err, "Tuned on this machine: phase denoise runs with ");
        expect_contains(o.err, choices[i]);
        expect_same_file("untuned.png", "tuned.png");
    }
    choose(tuned, "threads=2,level=3,graphs=2", NULL);
    BALLAST(&o, "generate", SMALL, "-o", "own.png", "--threads", "1"); /* the user's word is the last one */
    assert_null(strstr(o.err, "threads=2"));
    expect_contains(o.err, "level=3");
    assert_null(strstr(o.err, "graphs=2")); /* a card's choice */
    test_trial(tuned);
    test_short_budget(tuned);
    test_hint(tuned);
    choose(tuned, "threads=2,level=3", NULL);
    json_decref(tuned);
    rig_free(&o);
}

/* What is kept can be seen, carried away, and forgotten. */
static void test_kept(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "tune", "--show");
    expect_success(&o);
    expect_contains(o.out, "threads=2,level=3");
    BALLAST(&o, "tune", "--export", "kept.json");
    expect_success(&o);
    BALLAST(&o, "tune", "--forget");
    expect_success(&o);
    expect_contains(o.out, "forgotten: ");
    BALLAST(&o, "tune", "--show");
    expect_contains(o.out, "nothing was tuned here");
    BALLAST(&o, "tune", "--import", "kept.json");
    expect_success(&o);
    BALLAST(&o, "tune", "--export", "again.json");
    expect_same_file("kept.json", "again.json");
    BALLAST(&o, "tune", "--export", "again.json");
    EXPECT_FAILURE(&o, 2, "again.json", "--overwrite");
    BALLAST(&o, "tune", "--export", "again.json", "--overwrite");
    expect_success(&o);
    expect_same_file("kept.json", "again.json");
    BALLAST(&o, "tune", "--export", "/proc/again.json"); /* where no file can be made */
    EXPECT_FAILURE(&o, 1, "cannot write /proc/again.json: ");
    BALLAST(&o, "tune", "--export", "new/again.json");
    expect_same_file("kept.json", "new/again.json");
    rig_free(&o);
}

static void test_refused(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "tune", SMALL, "--time", "soon");
    EXPECT_FAILURE(&o, 2, "--time", "soon");
    BALLAST(&o, "tune", SMALL, "--time", "0");
    EXPECT_FAILURE(&o, 2, "--time");
    BALLAST(&o, "tune", SMALL, "--time", "0x10");
    EXPECT_FAILURE(&o, 2, "--time", "0x10");
    BALLAST(&o, "tune", "--show", "--forget"); /* who looks does not want it gone */
    EXPECT_FAILURE(&o, 2, "--forget", "not beside --show");
    BALLAST(&o, "tune", "--export", "both.json", "--import", "kept.json");
    EXPECT_FAILURE(&o, 2, "--import", "not beside --export");
    BALLAST(&o, "tune", "--show", "-m", "nothing.safetensors"); /* of all models: none is opened */
    expect_success(&o);
    BALLAST(&o, "tune", "--forget", "-m", "nothing.safetensors");
    EXPECT_FAILURE(&o, 2, "nothing.safetensors");
    BALLAST(&o, "tune", SMALL, "--bits", "some");
    EXPECT_FAILURE(&o, 2, "bits", "same and any");
    BALLAST(&o, "tune", SMALL, "--device", "sim:rtx4090");
    EXPECT_FAILURE(&o, 2, "simulated device");
    BALLAST(&o, "tune", "--import", "nothing.json");
    EXPECT_FAILURE(&o, 2, "--import", "nothing.json");
    bl_test_write("bad.json", "{\"ballast_tuned\": 1, \"entries\": [{}]}", 37);
    BALLAST(&o, "tune", "--import", "bad.json");
    EXPECT_FAILURE(&o, 2, "entry 1", "device");
    bl_test_write("zero.json", "{}\0{}", 5);
    BALLAST(&o, "tune", "--import", "zero.json");
    EXPECT_FAILURE(&o, 2, "zero byte");
    rig_free(&o);
}

/* Ctrl-C: its line all the same, and what was found is kept. */
static void test_interrupted(void **state) {
    outcome o = {0};
    (void)state;
    pid_t pid =
        rig_start((const char *const[]){"tune", "-m", model, "-W", "512", "-H", "512", "--time", "1h", NULL});
    bool measures = false;
    while (!measures && rig_runs(pid)) {
        char *table = rig_stdout();
        measures = strstr(table, "phase  ") != NULL;
        free(table);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_true(measures);
    kill(pid, SIGINT);
    rig_wait(&o, pid);
    assert_int_equal(o.code, 130);
    expect_contains(o.err, "ballast: stopped");
    expect_contains(o.err, "ballast: what was found until now is kept");
    expect_contains(o.out, "tuned: ");
    BALLAST(&o, "tune", "--show");
    expect_success(&o);
    rig_free(&o);
}

/* On a card it has the rates of copies, by which plans choose slots and how far copies run ahead, whatever
 * else there was time for; and what the CPU alone can choose is not tried. */
static void test_card(void **state) {
    outcome o = {0};
    sqlite3 *db;
    sqlite3_stmt *s;
    (void)state;
    char plugins[BL_TEST_PATH];
    snprintf(plugins, sizeof plugins, "%s/../plugins", getenv("BALLAST_TEST_SHARE"));
    setenv("BALLAST_PLUGINS", plugins, 1);
    BALLAST(&o, "tune", SMALL, "--device", "fakecuda", "--time", "5s");
    expect_success(&o);
    expect_contains(o.out, "tuned: ");
    assert_null(strstr(o.out, "threads"));
    assert_null(strstr(o.out, "NUMA"));
    assert_int_equal(sqlite3_open(".cache/ballast/calibration-1.db", &db), SQLITE_OK);
    static const char sql[] = "SELECT count(*) FROM copies WHERE device LIKE 'Fake card%'";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_true(sqlite3_column_int(s, 0) > 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures),    cmocka_unit_test(test_kept), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_card),
    };
    return cmocka_run_group_tests(tests, setup, rig_close);
}
