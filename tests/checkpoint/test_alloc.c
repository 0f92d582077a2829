/* Each allocation fails once: all functions of the room then return an error, leak nothing and leave no file.
 */
#include "checkpoint/architecture.h"
#include "checkpoint/hash.h"
#include "support/failing.h"
#include "support/files.h"
#include "support/synth.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What is tried; 0 or an error's code. */
typedef int attempt(const char *path, bl_error *err);

static int open_and_detect(const char *path, bl_error *err) {
    bl_checkpoint *c = NULL;
    bl_architecture a;
    int rc = bl_checkpoint_open(&c, path, NULL, err);
    if (rc) {
        assert_null(c);
        return rc;
    }
    rc = bl_architecture_detect(&a, c, err);
    bl_view v;
    if (!rc && bl_checkpoint_find(&v, c, BL_TEXT_ENCODER_2, "text_projection.weight")) {
        float row[64];
        rc = bl_view_read(&v, 0, 1, row, err);
    }
    bl_checkpoint_close(&c);
    return rc;
}

static int write_file(const char *path, bl_error *err) {
    const bl_tensor_data t[] = {{.name = "a", .dtype = BL_U8, .rank = 1, .shape = {2}, .data = "xy"},
                                {.name = "b", .dtype = BL_U8, .rank = 1, .shape = {2}, .data = "xy"}};
    const char *const metadata[] = {"format", "pt"};
    return bl_safetensors_write(path, t, 2, metadata, 1, err);
}

static int hash_file(const char *path, bl_error *err) {
    char out[BL_HASH_TEXT];
    bl_hash *h;
    int rc = bl_hash_open(&h, path, err);
    rc = rc ? rc : bl_hash_go_on(out, h, NULL, NULL, err);
    bl_hash_close(&h);
    return rc;
}

/* Lets the first, the second (or every `step`th), ... allocation fail until all succeed. */
static void fail_each(attempt *run, const char *path, long step) {
    for (long n = 0;; n += step) {
        bl_error err = {.code = 0};
        bl_test_fail(n);
        int rc = run(path, &err);
        if (!bl_test_failed()) {
            assert_int_equal(rc, 0);
            assert_true(n > 0);
            return;
        }
        if (rc && (!err.message[0] || err.code != rc)) {
            fail_msg("allocation %ld: code %d without a message", n, rc);
        }
    }
}

static void own_allocations_may_fail(void **state) {
    (void)state;
    char path[BL_TEST_PATH];
    bl_synth_checkpoint(path, "sdxl", BL_SYNTH_SINGLE);
    fail_each(open_and_detect, path, 1);
    fail_each(hash_file, path, 1);
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_FOLDER);
    fail_each(open_and_detect, path, 1);
}

static void allocations_of_the_parser_may_fail(void **state) {
    (void)state;
    char path[BL_TEST_PATH];
    bl_test_fail_json(true);
    bl_test_data(path, "../fuzz/corpus/safetensors/sd1");
    fail_each(open_and_detect, path, 3);
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_FOLDER);
    fail_each(open_and_detect, path, 997);
    bl_test_fail_json(false);
}

static void nothing_is_left_of_a_file_that_could_not_be_written(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    bl_test_fail_json(true);
    fail_each(write_file, path, 1);
    bl_test_fail_json(false);
    DIR *d = opendir(folder);
    assert_non_null(d);
    int files = 0;
    for (struct dirent *e; (e = readdir(d));) {
        files += e->d_name[0] != '.';
    }
    closedir(d);
    assert_int_equal(files, 1);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_allocations_may_fail),
        cmocka_unit_test(allocations_of_the_parser_may_fail),
        cmocka_unit_test(nothing_is_left_of_a_file_that_could_not_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
