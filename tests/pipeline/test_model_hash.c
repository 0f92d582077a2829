/* The hash that pictures name their model by: computed beside them, and remembered. */
#include "pipeline/model_hash.h"

#include "support/files.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[BL_TEST_PATH], model[BL_TEST_PATH], list[BL_TEST_PATH];

static int make_folder(void **state) {
    (void)state;
    bl_test_folder(folder);
    bl_test_join(model, folder, "m.safetensors");
    bl_test_join(list, folder, "hashes");
    bl_test_write(model, "abc", 3);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

/* FIPS 180-4's example. */
static const char first_of_abc[] = "ba7816bf8f";

static void expect(const char *digits, const char *cache_dir) {
    bl_model_hash *h = bl_model_hash_start(model, cache_dir);
    const char *got;
    assert_int_equal(bl_model_hash_wait(&got, h, NULL, NULL, NULL), 0);
    if (digits) {
        assert_non_null(got);
        assert_string_equal(got, digits);
    } else {
        assert_null(got);
    }
    bl_model_hash_close(&h);
    assert_null(h);
}

/* Changes the digits in the list, so that a remembered hash can be told from a computed one. */
static void mark_list(void) {
    int fd = open(list, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
    close(fd);
}

static void a_small_file_is_waited_for(void **state) {
    (void)state;
    expect(first_of_abc, NULL);
    assert_int_not_equal(access(list, F_OK), 0);
}

static void it_is_remembered_until_the_file_changes(void **state) {
    (void)state;
    expect(first_of_abc, folder);
    mark_list();
    expect("0123456789", folder);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, model, times, 0), 0);
    expect(first_of_abc, folder);
    bl_test_write(model, "", 0);
    expect("e3b0c44298", folder);
}

static void links_lead_to_the_same_entry(void **state) {
    (void)state;
    char link[BL_TEST_PATH];
    bl_test_join(link, folder, "link.safetensors");
    expect(first_of_abc, folder);
    mark_list();
    assert_int_equal(symlink(model, link), 0);
    bl_model_hash *h = bl_model_hash_start(link, folder);
    const char *got;
    assert_true(bl_model_hash_known(h));
    assert_int_equal(bl_model_hash_wait(&got, h, NULL, NULL, NULL), 0);
    assert_string_equal(got, "0123456789");
    bl_model_hash_close(&h);
}

static void a_damaged_list_is_not_believed(void **state) {
    (void)state;
    static const char bad[] = "\xff\xfe\n0123 3 0.0 /x\nBA7816BF8F01CFEA414140DE5DAE2223\n\n";
    char line[BL_TEST_PATH + 256];
    struct stat s;
    assert_int_equal(stat(model, &s), 0);
    bl_test_write(list, bad, sizeof bad - 1);
    expect(first_of_abc, folder);
    /* right but for the digits: too few, or other characters */
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "%s %lld %lld.%09ld %s\n",
                 i ? "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" : "0123456789",
                 (long long)s.st_size, (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec, model);
        bl_test_write(list, line, strlen(line));
        expect(first_of_abc, folder);
    }
}

static void a_list_that_cannot_be_written_does_no_harm(void **state) {
    (void)state;
    expect(first_of_abc, "/nowhere/at/all");
    assert_int_equal(mkdir(list, 0755), 0);
    expect(first_of_abc, folder);
    rmdir(list);
}

/* A disk that is full in the middle of a line: what was there stays, and the next line is one of its own. */
static void a_write_that_fails_keeps_the_list(void **state) {
    (void)state;
    static const char others[] =
        "0000000000000000000000000000000000000000000000000000000000000000 1 2.3 /x\n";
    char text[BL_TEST_PATH + 1024] = "";
    struct rlimit old, full;
    bl_test_write(list, others, sizeof others - 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    full = old;
    full.rlim_cur = sizeof others - 1 + 10;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    expect(first_of_abc, folder);
    expect(first_of_abc, folder);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect(first_of_abc, folder);
    FILE *f = fopen(list, "re");
    assert_non_null(f);
    size_t read = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    assert_true(read > sizeof others + 60);
    assert_memory_equal(text, others, sizeof others - 1);
    char *end = strrchr(text, '\n');
    assert_true(end && !end[1]);
    *end = 0;
    assert_memory_equal(strrchr(text, '\n') + 1, first_of_abc, sizeof first_of_abc - 1);
}

static void a_list_does_not_grow_for_ever(void **state) {
    (void)state;
    struct stat s;
    bl_test_write(list, "x\n", 2);
    assert_int_equal(truncate(list, (off_t)3 << 20), 0);
    expect(first_of_abc, folder);
    assert_int_equal(stat(list, &s), 0);
    assert_true(s.st_size < 1000);
    mark_list();
    expect("0123456789", folder);
}

static void closing_stops_a_large_file(void **state) {
    (void)state;
    assert_int_equal(truncate(model, (off_t)1 << 42), 0); /* sparse: hours of hashing */
    bl_model_hash *h = bl_model_hash_start(model, folder);
    assert_non_null(h);
    bl_model_hash_close(&h);
    assert_int_not_equal(access(list, F_OK), 0);
}

static void a_large_file_is_waited_for_and_remembered(void **state) {
    (void)state;
    assert_int_equal(truncate(model, (off_t)310 << 20), 0);
    bl_model_hash *h = bl_model_hash_start(model, folder);
    const char *got;
    assert_int_equal(bl_model_hash_wait(&got, h, NULL, NULL, NULL), 0);
    assert_non_null(got);
    char digits[16];
    snprintf(digits, sizeof digits, "%s", got);
    bl_model_hash_close(&h);
    expect(digits, folder);
}

static int third_call(void *payload) {
    int *calls = payload;
    return ++*calls == 3;
}

/* Whoever waits for a large file may stop waiting; the next one has less to wait for, and the same hash. */
static void waiting_can_be_stopped(void **state) {
    (void)state;
    bl_error err = {0};
    const char *got;
    int calls = 0;
    assert_int_equal(truncate(model, (off_t)1 << 30), 0);
    bl_model_hash *h = bl_model_hash_start(model, folder);
    assert_int_equal(bl_model_hash_wait(&got, h, third_call, &calls, &err), BL_E_CANCELLED);
    assert_null(got);
    assert_int_equal(calls, 3);
    assert_int_equal(bl_model_hash_wait(&got, h, NULL, NULL, &err), 0);
    assert_non_null(got);
    bl_model_hash_close(&h);
    assert_int_equal(access(list, F_OK), 0);
}

static void no_file_has_no_hash(void **state) {
    (void)state;
    assert_null(bl_model_hash_start("/nowhere/at/all.safetensors", folder));
    assert_null(bl_model_hash_start(folder, folder));
    const char *got;
    assert_int_equal(bl_model_hash_wait(&got, NULL, NULL, NULL, NULL), 0);
    assert_null(got);
    assert_true(bl_model_hash_known(NULL));
    bl_model_hash *none = NULL;
    bl_model_hash_close(&none);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {CASE(a_small_file_is_waited_for),
                                       CASE(it_is_remembered_until_the_file_changes),
                                       CASE(links_lead_to_the_same_entry),
                                       CASE(a_damaged_list_is_not_believed),
                                       CASE(a_list_that_cannot_be_written_does_no_harm),
                                       CASE(a_write_that_fails_keeps_the_list),
                                       CASE(a_list_does_not_grow_for_ever),
                                       CASE(closing_stops_a_large_file),
                                       CASE(a_large_file_is_waited_for_and_remembered),
                                       CASE(waiting_can_be_stopped),
                                       CASE(no_file_has_no_hash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
