/* SHA-256 of files, with a way to stop and to go on. */
#include "checkpoint/hash.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* FIPS 180-4's examples: "abc", nothing, and a million times "a". */
static const char hash_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char hash_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char hash_million[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static int hash_file(char out[BL_HASH_TEXT], const char *file, bl_hash_stop *stop, void *payload) {
    bl_error err;
    bl_hash *h;
    int rc = bl_hash_open(&h, file, &err);
    rc = rc ? rc : bl_hash_go_on(out, h, stop, payload, &err);
    bl_hash_close(&h);
    return rc;
}

static void known_hashes_are_found(void **state) {
    (void)state;
    char out[BL_HASH_TEXT];
    static char million[1000000];
    bl_test_write(path, "abc", 3);
    assert_int_equal(hash_file(out, path, NULL, NULL), 0);
    assert_string_equal(out, hash_abc);
    bl_test_write(path, "", 0);
    assert_int_equal(hash_file(out, path, NULL, NULL), 0);
    assert_string_equal(out, hash_nothing);
    memset(million, 'a', sizeof million);
    bl_test_write(path, million, sizeof million);
    assert_int_equal(hash_file(out, path, NULL, NULL), 0);
    assert_string_equal(out, hash_million);
}

/* Stops before every other piece. */
static int every_other(void *payload) {
    int *calls = payload;
    return ++*calls % 2 == 0;
}

/* 20 MB in pieces, stopped again and again: it goes on where it stood, and ends with the same hash. */
static void what_was_stopped_goes_on(void **state) {
    (void)state;
    char whole[BL_HASH_TEXT], out[BL_HASH_TEXT];
    bl_error err;
    bl_hash *h;
    int calls = 0, stops = 0, rc;
    bl_test_write(path, "abc", 3);
    assert_int_equal(truncate(path, 20000000), 0);
    assert_int_equal(hash_file(whole, path, NULL, NULL), 0);
    assert_int_equal(bl_hash_open(&h, path, &err), 0);
    while ((rc = bl_hash_go_on(out, h, every_other, &calls, &err)) == BL_E_CANCELLED) {
        stops++;
    }
    assert_int_equal(rc, 0);
    assert_true(stops >= 4 && stops < 10);
    assert_string_equal(out, whole);
    bl_hash_close(&h);
}

static void what_is_no_file_is_an_error(void **state) {
    (void)state;
    char out[BL_HASH_TEXT];
    assert_int_equal(hash_file(out, path, NULL, NULL), BL_E_NOT_FOUND);
    assert_int_equal(hash_file(out, folder, NULL, NULL), BL_E_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(known_hashes_are_found),
        TEST(what_was_stopped_goes_on),
        TEST(what_is_no_file_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
