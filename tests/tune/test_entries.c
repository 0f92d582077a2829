/* What was tuned goes from one machine to another as it is, or not at all; and what turns out slower goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json_text.h"
#include "residency/run/calibration_file.h"
#include "tune/entries.h"
#include "tune/keep.h"

static bl_calibration *calibration(void) {
    bl_calibration *c;
    bl_error err = {0};
    assert_int_equal(bl_calibration_open(&c, NULL, NULL, &err), 0);
    return c;
}

static bl_tuned entry(const char *shape) {
    bl_tuned t = {.device = "CPU, avx2, oneDNN 2.6.3",
                  .model = "sd15",
                  .dtype = "F32",
                  .module = "unet",
                  .version = "0.2.0",
                  .tuning = {.threads = 2, .level = 1},
                  .untuned_seconds = 1.5,
                  .seconds = 1.25};
    strcpy(t.shape, shape);
    return t;
}

static void there_and_back(void **state) {
    (void)state;
    bl_calibration *a = calibration(), *b = calibration();
    bl_tuned one = entry("2x64x64"), other = entry("2x96x96"), *list;
    bl_error err = {0};
    json_t *json, *again;
    int count;
    other.psnr = 81.5;
    other.on_trial = true;
    assert_int_equal(bl_tuned_keep(a, &one, &err), 0);
    assert_int_equal(bl_tuned_keep(a, &other, &err), 0);
    assert_int_equal(bl_entries_json(&json, a, &err), 0);
    char *text = bl_json_dump(json, 0);
    assert_int_equal(bl_entries_read(&list, &count, text, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(bl_tuned_keep_all(b, list, count, &err), 0);
    assert_int_equal(bl_entries_json(&again, b, &err), 0);
    assert_true(json_equal(json, again));
    bl_tuned found = entry("2x96x96");
    found.tuning = (bl_tuning){0};
    assert_true(bl_tuned_find(&found, b));
    assert_true(found.tuning.threads == 2 && found.tuning.level == 1 && found.psnr == 81.5 && found.on_trial);
    strcpy(found.version, "0.1.0"); /* another key: not tuned */
    assert_false(bl_tuned_find(&found, b));
    assert_int_equal(bl_tuned_forget(&count, b, "sdxl", &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(bl_tuned_forget(&count, b, NULL, &err), 0);
    assert_int_equal(count, 2);
    json_decref(json);
    json_decref(again);
    free(text);
    free(list);
    bl_calibration_close(&a);
    bl_calibration_close(&b);
}

#define HEAD "{\"ballast_tuned\": 1, \"entries\": ["
#define ENTRY(device, choices, seconds)                                                  \
    "{\"device\": \"" device                                                             \
    "\", \"model\": \"m\", \"dtype\": \"F32\", \"module\": \"unet\", \"shape\": \"1\", " \
    "\"version\": \"1\", \"psnr\": 0, \"choices\": \"" choices                           \
    "\", \"untuned_seconds\": 1, \"seconds\": " seconds "}"

static void hostile(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "{\"ballast_tuned\": 2, \"entries\": []}",
        "{\"ballast_tuned\": 1, \"entries\": {}}",
        HEAD "1]}",
        HEAD ENTRY("", "threads=2", "1") "]}",
        HEAD ENTRY("a\\u0007", "threads=2", "1") "]}",
        HEAD ENTRY("a", "", "1") "]}",
        HEAD ENTRY("a", "threads=100000", "1") "]}",
        HEAD ENTRY("a", "sudo=1", "1") "]}",
        HEAD ENTRY("a", "threads=2", "0") "]}",
        HEAD ENTRY("a", "threads=2", "1e300") "]}",
        HEAD ENTRY("a", "threads=2", "\\\"1\\\"") "]}",
        HEAD ENTRY("a", "threads=2", "1") "," ENTRY("a", "threads=0", "1") "]}",
        HEAD ENTRY("a", "threads=2", "1, \"on_trial\": 1") "]}",
        HEAD ENTRY("a", "threads=2", "1") "]",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bl_tuned *list;
        int count;
        bl_error err = {0};
        assert_int_equal(bl_entries_read(&list, &count, wrong[i], &err), BL_E_FORMAT);
        assert_null(list);
        assert_int_equal(count, 0);
        assert_true(err.message[0] && !strchr(err.message, '\n'));
    }
    bl_tuned *list;
    int count;
    bl_error err = {0};
    assert_int_equal(bl_entries_read(&list, &count, HEAD ENTRY("a", "threads=2", "1") "]}", &err), 0);
    assert_int_equal(count, 1);
    free(list);
}

/* Dropped when it was slower than untuned by 5% in the median of ten ledgers, and not before. */
static void slower(void **state) {
    (void)state;
    bl_calibration *c = calibration();
    bl_tuned t = entry("2x64x64"), found = t;
    bl_error err = {0};
    for (int slow = 0; slow <= 10; slow++) {
        assert_int_equal(bl_tuned_keep(c, &t, &err), 0);
        bool dropped = false;
        for (int run = 0; run < 10; run++) {
            assert_false(dropped);
            dropped = bl_tuned_note(c, &t, (run < slow ? 1.06 : 1.04) * t.untuned_seconds,
                                    bl_tuned_goes_without(&t));
        }
        assert_int_equal(dropped, slow > 5);
        assert_int_equal(bl_tuned_find(&found, c), !dropped);
    }
    assert_false(bl_tuned_note(c, &t, 100, false)); /* nothing there to be dropped */
    bl_calibration_close(&c);
}

/* Counts that cannot be, as another program may write into the file: such an entry is none. */
static void counts_that_cannot_be(void **state) {
    (void)state;
    static const char *const wrong[] = {"runs = 2147483647", "runs = -1",   "runs = 11",
                                        "slower = 3",        "slower = -1", "runs_without = 1",
                                        "runs_without = -5"};
    bl_tuned t = entry("2x64x64"), found = t;
    bl_error err = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bl_calibration *c = calibration();
        char sql[80];
        snprintf(sql, sizeof sql, "UPDATE tuned SET %s", wrong[i]);
        assert_int_equal(bl_tuned_keep(c, &t, &err), 0);
        assert_true(bl_tuned_find(&found, c));
        assert_int_equal(sqlite3_exec(bl_calibration_database(c), sql, NULL, NULL, NULL), SQLITE_OK);
        assert_false(bl_tuned_find(&found, c));
        assert_false(bl_tuned_note(c, &t, 1, false));
        assert_int_equal(bl_tuned_keep(c, &t, &err), 0); /* and gives way to another */
        assert_true(bl_tuned_find(&found, c));
        bl_calibration_close(&c);
    }
}

/* Ten runs on a machine where a pass takes so long with what is on trial, and without. */
static bool ten_runs(bl_calibration *c, const bl_tuned *t, double with, double without, int *left_out) {
    bool dropped = false;
    *left_out = 0;
    for (int run = 0; run < BL_TUNED_RUNS; run++) {
        bl_tuned now = *t;
        assert_false(dropped);
        assert_true(bl_tuned_find(&now, c));
        bool goes_without = bl_tuned_goes_without(&now);
        *left_out += goes_without;
        dropped = bl_tuned_note(c, t, (1 + 0.01 * run) * (goes_without ? without : with), goes_without);
    }
    return dropped;
}

/* One thread, found while others used the machine: stays while that helps, for however long, and goes when it
 * does not, even though untuned was far slower when it was measured. */
static void on_trial(void **state) {
    (void)state;
    bl_calibration *c = calibration();
    bl_tuned t = entry("2x64x64");
    bl_error err = {0};
    int left_out;
    t.on_trial = true;
    assert_int_equal(bl_tuned_keep(c, &t, &err), 0);
    assert_false(ten_runs(c, &t, 1.25, 2.5, &left_out)); /* still busy, and more so */
    assert_int_equal(left_out, BL_TUNED_WITHOUT);
    assert_false(ten_runs(c, &t, 1.25, 1.5, &left_out));
    assert_true(ten_runs(c, &t, 0.9, 0.5, &left_out)); /* quiet: faster than untuned was, slower than it is */
    assert_int_equal(left_out, BL_TUNED_WITHOUT);
    assert_false(bl_tuned_find(&t, c));
    t = entry("2x64x64");
    assert_int_equal(bl_tuned_keep(c, &t, &err), 0); /* found on a quiet machine: every run has it */
    assert_false(ten_runs(c, &t, 0.9, 0.5, &left_out));
    assert_int_equal(left_out, 0);
    bl_calibration_close(&c);
}

static void devices(void **state) {
    (void)state;
    char name[128];
    bl_tuned_device(name, "AMD EPYC 9354, avx512_bf16, 2 threads, oneDNN 2.6.3");
    assert_string_equal(name, "AMD EPYC 9354, avx512_bf16, oneDNN 2.6.3");
    bl_tuned_device(name, "CPU, plain, 1 thread, oneDNN 2.6.3");
    assert_string_equal(name, "CPU, plain, oneDNN 2.6.3");
    bl_tuned_device(name, "NVIDIA H100, driver 555");
    assert_string_equal(name, "NVIDIA H100, driver 555");
    bl_tuned_device(name, "");
    assert_string_equal(name, "");
}

/* What a search found is kept; where it was stopped and that fails, why is said and is no other error. */
static void kept_or_said(void **state) {
    (void)state;
    bl_calibration *c = calibration();
    bl_tuned e = entry("2x64x64");
    bl_tune_search_result won = {.kept = 1, .start_seconds = 2, .seconds = 1}, none = {.start_seconds = 2};
    bl_error err = {0}, lost = {0};
    assert_int_equal(bl_tune_keep(c, &e, &won, NULL, &err), 0);
    bl_tuned found = entry("2x64x64");
    assert_true(bl_tuned_find(&found, c) && found.seconds == 1 && found.untuned_seconds == 2);
    assert_int_equal(bl_tune_keep(c, &e, &none, &lost, &err), 0); /* stopped before it found anything */
    assert_true(bl_tuned_find(&found, c));
    assert_int_equal(bl_tune_keep(c, &e, &none, NULL, &err), 0); /* nothing won */
    assert_false(bl_tuned_find(&found, c));
    assert_int_equal(lost.code, 0);
    sqlite3_exec(bl_calibration_database(c), "DROP TABLE tuned", NULL, NULL, NULL);
    assert_int_equal(bl_tune_keep(c, &e, &won, &lost, &err), 0);
    assert_non_null(strstr(lost.message, "could not be kept"));
    assert_int_equal(err.code, 0);
    assert_int_not_equal(bl_tune_keep(c, &e, &won, NULL, &err), 0);
    assert_non_null(strstr(err.message, "could not be kept"));
    bl_calibration_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),        cmocka_unit_test(hostile), cmocka_unit_test(slower),
        cmocka_unit_test(kept_or_said),          cmocka_unit_test(devices), cmocka_unit_test(on_trial),
        cmocka_unit_test(counts_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
