/* SHA-256 of files, with a way to stop. */
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

static void known_hashes_are_found(void **state) {
    (void)state;
    char out[BL_HASH_TEXT];
    static char million[1000000];
    bl_error err;
    bl_test_write(path, "abc", 3);
    assert_int_equal(bl_file_hash(out, path, NULL, &err), 0);
    assert_string_equal(out, hash_abc);
    bl_test_write(path, "", 0);
    assert_int_equal(bl_file_hash(out, path, NULL, &err), 0);
    assert_string_equal(out, hash_nothing);
    memset(million, 'a', sizeof million);
    bl_test_write(path, million, sizeof million);
    atomic_bool cancel = false;
    assert_int_equal(bl_file_hash(out, path, &cancel, &err), 0);
    assert_string_equal(out, hash_million);
}

static void hashing_can_be_stopped(void **state) {
    (void)state;
    char out[BL_HASH_TEXT];
    bl_error err;
    atomic_bool cancel = true;
    bl_test_write(path, "abc", 3);
    assert_int_equal(bl_file_hash(out, path, &cancel, &err), BL_E_CANCELLED);
}

static void what_is_no_file_is_an_error(void **state) {
    (void)state;
    char out[BL_HASH_TEXT];
    bl_error err;
    assert_int_equal(bl_file_hash(out, path, NULL, &err), BL_E_NOT_FOUND);
    assert_int_equal(bl_file_hash(out, folder, NULL, &err), BL_E_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(known_hashes_are_found),
        TEST(hashing_can_be_stopped),
        TEST(what_is_no_file_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
