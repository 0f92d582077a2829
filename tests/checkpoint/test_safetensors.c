/* safetensors files: what is read is what was written, and each way to be wrong has its message. */
#include "checkpoint/safetensors.h"
#include "scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Opening must fail with this code, and the message must name the file and hold `text`. */
static void expect_refusal(int code, const char *text) {
    bl_safetensors *f = NULL;
    bl_error err = {.code = 0};
    int rc = bl_safetensors_open(&f, path, &err);
    assert_null(f);
    if (rc != code || err.code != code || !strstr(err.message, text) ||
        !strstr(err.message, "x.safetensors") || strchr(err.message, '\n')) {
        fail_msg("expected code %d and \"%s\", got code %d: %s", code, text, rc, err.message);
    }
}

/* ---- what is right */

static void written_tensors_come_back(void **state) {
    (void)state;
    const float a[6] = {1, -2, 3, 1e-30f, 5, 6};
    const uint8_t b[3] = {7, 8, 9};
    const int64_t c[1] = {-5};
    const bl_tensor_data tensors[] = {
        {.name = "u8", .dtype = BL_U8, .rank = 1, .shape = {3}, .data = b},
        {.name = "matrix", .dtype = BL_F32, .rank = 2, .shape = {2, 3}, .data = a},
        {.name = "scalar \"quoted\" \xc3\xa9", .dtype = BL_I64, .rank = 0, .data = c},
        {.name = "empty", .dtype = BL_F16, .rank = 2, .shape = {0, 5}, .data = a},
    };
    const char *const metadata[] = {"format", "pt", "note", "two\nlines"};
    bl_error err;
    bl_safetensors *f;
    assert_int_equal(bl_safetensors_write(path, tensors, 4, metadata, 2, &err), 0);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    int count;
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    assert_int_equal(count, 4);
    for (int i = 1; i < count; i++) {
        assert_true(strcmp(all[i - 1].name, all[i].name) < 0);
    }
    for (int i = 0; i < 4; i++) {
        const bl_file_tensor *t = bl_safetensors_find(f, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->rank, tensors[i].rank);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->offset % bl_dtype_size(t->dtype), 0);
        char back[64];
        assert_int_equal(bl_safetensors_read(f, t->offset, t->bytes, back, &err), 0);
        assert_memory_equal(back, tensors[i].data, t->bytes);
    }
    assert_string_equal(bl_safetensors_metadata(f, "note"), "two\nlines");
    assert_null(bl_safetensors_metadata(f, "not there"));
    assert_null(bl_safetensors_find(f, "not there"));
    assert_string_equal(bl_safetensors_find_prefix(f, "sca")->name, tensors[2].name);
    assert_null(bl_safetensors_find_prefix(f, "z"));
    bl_safetensors_close(&f);
    assert_null(f);
}

static void equal_contents_are_equal_bytes(void **state) {
    (void)state;
    static const unsigned char expected[] =
        "\x70\0\0\0\0\0\0\0"
        "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}      "
        "\0\0\x80\x3f\x01\x02";
    const float one = 1;
    const uint8_t bytes[] = {1, 2};
    const bl_tensor_data a = {.name = "a", .dtype = BL_U8, .rank = 1, .shape = {2}, .data = bytes};
    const bl_tensor_data b = {.name = "b", .dtype = BL_F32, .rank = 1, .shape = {1}, .data = &one};
    for (int turn = 0; turn < 2; turn++) {
        const bl_tensor_data tensors[] = {turn ? a : b, turn ? b : a};
        unsigned char found[256];
        bl_error err;
        assert_int_equal(bl_safetensors_write(path, tensors, 2, NULL, 0, &err), 0);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        size_t n = fread(found, 1, sizeof found, f);
        fclose(f);
        assert_int_equal(n, sizeof expected - 1);
        assert_memory_equal(found, expected, n);
    }
}

static void other_types_and_entries_are_no_error(void **state) {
    (void)state;
    bl_safetensors *f;
    bl_error err;
    bl_test_write_header(
        path,
        "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4],\"more\":[{}]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
        "\"b\":{\"data_offsets\":[4,8],\"shape\":[],\"dtype\":\"F32\"}}       ",
        8);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    assert_int_equal(bl_safetensors_find(f, "a")->dtype, BL_DTYPE_COUNT);
    assert_string_equal(bl_safetensors_find(f, "a")->dtype_name, "F8_E4M3");
    assert_int_equal(bl_safetensors_find(f, "b")->rank, 0);
    bl_safetensors_close(&f);
    bl_test_write_header(path, "{}", 0);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    bl_safetensors_close(&f);
}

/* As the reference implementation reads them. */
static void nuls_in_strings_are_read(void **state) {
    (void)state;
    bl_safetensors *f;
    bl_error err;
    bl_test_write_header(path,
                         "{\"__metadata__\":{\"x\":\"\\u0000z\",\"k\\u0000\":\"1\",\"y\":\"\\\\u0000\"},"
                         "\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                         1);
    if (bl_safetensors_open(&f, path, &err)) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(bl_safetensors_metadata(f, "x"), "\xe2\x90\x80z");
    assert_string_equal(bl_safetensors_metadata(f, "k\xe2\x90\x80"), "1");
    assert_string_equal(bl_safetensors_metadata(f, "y"), "\\u0000");
    assert_null(bl_safetensors_find(f, "a"));
    assert_non_null(bl_safetensors_find(f, "a\xe2\x90\x80"
                                           "b"));
    bl_safetensors_close(&f);
    bl_test_write_header(path, "{\"__metadata__\":null}", 0);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    assert_null(bl_safetensors_metadata(f, "x"));
    bl_safetensors_close(&f);
}

/* The first bytes of a length of 640, 896, 1152 or 1408 are those of a pickle. */
static void lengths_that_look_like_pickles_are_read(void **state) {
    (void)state;
    for (size_t length = 0x280; length <= 0x580; length += 0x100) {
        char header[0x600];
        bl_safetensors *f;
        bl_error err;
        memset(header, ' ', length);
        memcpy(header, "{}", 2);
        header[length] = '\0';
        bl_test_write_header(path, header, 0);
        if (bl_safetensors_open(&f, path, &err)) {
            fail_msg("%s", err.message);
        }
        bl_safetensors_close(&f);
    }
}

/* ---- what is wrong with the header */

static void bad_headers_are_refused(void **state) {
    static const struct {
        const char *header;
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {"", 0, "header byte"},
        {"[1]", 0, "an object was expected"},
        {"{\"a\":", 0, "header byte"},
        {"{} x", 0, "header byte"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "duplicate"},
        {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "decode"},
        {"{\"a\":7}", 0, "\"a\": its entry must hold"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "must hold"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "whole numbers from 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "whole numbers from 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}}", 1, "whole numbers from 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0.0,1]}}", 1, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}", 1, "too big"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1e999],\"data_offsets\":[0,1]}}", 1, "header byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,1]}}", 1,
         "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
         "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "too large"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "too large"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
         "9 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "need 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4,
         "cut short"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}", 8, "holds only 8"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, "\"b\" starts at byte 1 of the data, before the end (2) of \"a\""},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
         5, "without hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "without hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 5,
         "3 bytes follow the last tensor"},
        {"{\"__metadata__\":7}", 0, "object of strings"},
        {"{\"__metadata__\":{\"a\":7}}", 0, "something else than a string at \"a\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_test_write_header(path, cases[i].header, cases[i].bytes);
        expect_refusal(BL_E_FORMAT, cases[i].text);
    }
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    const size_t depth = 1000000;
    char *header = malloc(depth + 6);
    assert_non_null(header);
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', depth);
    header[depth + 5] = '\0';
    bl_test_write_header(path, header, 0);
    free(header);
    expect_refusal(BL_E_FORMAT, "depth");
}

static void bad_lengths_are_refused(void **state) {
    (void)state;
    bl_test_write(path, "", 0);
    expect_refusal(BL_E_FORMAT, "only 0 bytes");
    bl_test_write(path, "\2\0\0\0\0\0\0", 7);
    expect_refusal(BL_E_FORMAT, "only 7 bytes");
    bl_test_write(path, "\3\0\0\0\0\0\0\0{}", 10);
    expect_refusal(BL_E_FORMAT, "was cut short");
    bl_test_write(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_refusal(BL_E_FORMAT, "18446744073709551615");
    bl_test_write(path, "\x01\xe1\xf5\x05\0\0\0\0{}", 10); /* 100000001 */
    expect_refusal(BL_E_FORMAT, "at most 100000000");
}

static void every_cut_is_refused(void **state) {
    (void)state;
    static const char whole[] = "\x70\0\0\0\0\0\0\0"
                                "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                                "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}      "
                                "\0\0\x80\x3f\x01\x02";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        bl_test_write(path, whole, n);
        expect_refusal(BL_E_FORMAT, "");
    }
}

static void control_characters_stay_out_of_messages(void **state) {
    (void)state;
    bl_test_write_header(path, "{\"a\\u001b[2J\\n\":7}", 0);
    expect_refusal(BL_E_FORMAT, "a?[2J?");
}

/* ---- other kinds of files */

static void other_formats_are_named(void **state) {
    (void)state;
    char zip[64] = "PK\x03\x04";
    zip[26] = 16;
    memcpy(zip + 30, "archive/data.pkl", 16);
    bl_test_write(path, zip, sizeof zip);
    expect_refusal(BL_E_UNSUPPORTED, "convert it: python3");
    bl_test_write(path, "\x80\x02}q\0.", 6);
    expect_refusal(BL_E_UNSUPPORTED, "convert it: python3");
    memcpy(zip + 30, "folder/a-picture", 16);
    bl_test_write(path, zip, sizeof zip);
    expect_refusal(BL_E_UNSUPPORTED, "zip archive");
    zip[26] = zip[27] = (char)0xff; /* a name longer than what is looked at */
    bl_test_write(path, zip, sizeof zip);
    expect_refusal(BL_E_UNSUPPORTED, "zip archive");
    bl_test_write(path, "GGUF\3\0\0\0", 8);
    expect_refusal(BL_E_FORMAT, "GGUF");
    bl_test_write(path, "<!DOCTYPE html><html>", 21);
    expect_refusal(BL_E_UNSUPPORTED, "web page");
    bl_test_write(path, "version https://git-lfs.github.com/spec/v1\n", 43);
    expect_refusal(BL_E_UNSUPPORTED, "git lfs pull");
    bl_test_write(path, "just some text, longer than a header's length", 45);
    expect_refusal(BL_E_FORMAT, "not a safetensors file");
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    bl_test_join(path, folder, "missing-x.safetensors");
    expect_refusal(BL_E_NOT_FOUND, "No such file");
    bl_test_join(path, folder, "pipe-x.safetensors");
    assert_int_equal(mkfifo(path, 0666), 0);
    expect_refusal(BL_E_FORMAT, "is not a file");
    bl_test_join(path, folder, "folder-x.safetensors");
    assert_int_equal(mkdir(path, 0777), 0);
    expect_refusal(BL_E_FORMAT, "is not a file");
}

/* ---- files that change while they are open */

static bl_safetensors *open_large(void) {
    bl_safetensors *f;
    bl_error err;
    bl_test_write_header(path, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1000000],\"data_offsets\":[0,1000000]}}",
                         1000000);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    return f;
}

static uint64_t end_of(const bl_safetensors *f) {
    const bl_file_tensor *last = bl_safetensors_find(f, "a");
    return last->offset + last->bytes;
}

static void expect_read_error(const bl_safetensors *f, const char *text) {
    char *data = malloc(1000000);
    assert_non_null(data);
    bl_error err;
    assert_int_equal(bl_safetensors_read(f, bl_safetensors_find(f, "a")->offset, 1000000, data, &err),
                     BL_E_IO);
    free(data);
    if (!strstr(err.message, text) || !strstr(err.message, "x.safetensors")) {
        fail_msg("%s", err.message);
    }
}

static void a_file_that_shrinks_is_an_error(void **state) {
    (void)state;
    bl_safetensors *f = open_large();
    assert_int_equal(truncate(path, 5000), 0);
    expect_read_error(f, "now has 5000");
    bl_safetensors_close(&f);
}

static void a_file_that_is_written_to_is_an_error(void **state) {
    (void)state;
    bl_safetensors *f = open_large();
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    expect_read_error(f, "was written to");
    bl_safetensors_close(&f);
}

static void a_file_that_is_replaced_stays_readable(void **state) {
    (void)state;
    bl_safetensors *f = open_large();
    char other[BL_TEST_PATH], byte;
    bl_error err;
    bl_test_join(other, folder, "new");
    bl_test_write(other, "something else", 14);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(bl_safetensors_read(f, end_of(f) - 1, 1, &byte, &err), 0);
    bl_safetensors_close(&f);
}

static void reads_behind_the_end_are_refused(void **state) {
    (void)state;
    bl_safetensors *f = open_large();
    bl_error err;
    char byte;
    assert_int_equal(bl_safetensors_read(f, end_of(f), 1, &byte, &err), BL_E_INTERNAL);
    assert_int_equal(bl_safetensors_read(f, UINT64_MAX, 2, &byte, &err), BL_E_INTERNAL);
    bl_safetensors_close(&f);
}

/* ---- writing */

static void nothing_is_half_written(void **state) {
    (void)state;
    bl_error err;
    const bl_tensor_data t = {.name = "\xff", .dtype = BL_U8, .rank = 1, .shape = {1}, .data = "x"};
    bl_test_write(path, "what was there", 14);
    assert_int_equal(bl_safetensors_write(path, &t, 1, NULL, 0, &err), BL_E_ARGUMENT);
    const bl_tensor_data twice[2] = {{.name = "a", .dtype = BL_U8, .data = "x"},
                                     {.name = "a", .dtype = BL_U8, .data = "x"}};
    assert_int_equal(bl_safetensors_write(path, twice, 2, NULL, 0, &err), BL_E_ARGUMENT);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 14);
    bl_test_join(path, folder, "no-folder/x.safetensors");
    char gone[BL_TEST_PATH];
    bl_test_join(gone, folder, "no-folder");
    assert_int_equal(rmdir(gone), 0);
    assert_int_equal(bl_safetensors_write(path, twice, 1, NULL, 0, &err), BL_E_IO);
}

/* ---- threads */

static void *read_all(void *context) {
    const bl_safetensors *f = context;
    unsigned char *data = malloc(4000000);
    bl_error err;
    bool good = data != NULL;
    for (int turn = 0; turn < 20 && good; turn++) {
        const bl_file_tensor *t = bl_safetensors_find(f, turn % 2 ? "a" : "b");
        good = bl_safetensors_read(f, t->offset, t->bytes, data, &err) == 0;
        for (uint64_t i = 0; i < t->bytes && good; i++) {
            good = data[i] == (unsigned char)((i >> 8) + (turn % 2 ? 1 : 2));
        }
    }
    free(data);
    return good ? context : NULL;
}

static void threads_may_read_at_once(void **state) {
    (void)state;
    unsigned char *data[2] = {malloc(4000000), malloc(4000000)};
    for (int k = 0; k < 2; k++) {
        assert_non_null(data[k]);
        for (int i = 0; i < 4000000; i++) {
            data[k][i] = (unsigned char)((i >> 8) + 1 + k);
        }
    }
    const bl_tensor_data tensors[] = {
        {.name = "a", .dtype = BL_U8, .rank = 1, .shape = {4000000}, .data = data[0]},
        {.name = "b", .dtype = BL_U8, .rank = 1, .shape = {4000000}, .data = data[1]}};
    bl_error err;
    bl_safetensors *f;
    assert_int_equal(bl_safetensors_write(path, tensors, 2, NULL, 0, &err), 0);
    assert_int_equal(bl_safetensors_open(&f, path, &err), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, f), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    bl_safetensors_close(&f);
    free(data[0]);
    free(data[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(written_tensors_come_back),
        TEST(equal_contents_are_equal_bytes),
        TEST(other_types_and_entries_are_no_error),
        TEST(nuls_in_strings_are_read),
        TEST(lengths_that_look_like_pickles_are_read),
        TEST(bad_headers_are_refused),
        TEST(deep_nesting_is_refused),
        TEST(bad_lengths_are_refused),
        TEST(every_cut_is_refused),
        TEST(control_characters_stay_out_of_messages),
        TEST(other_formats_are_named),
        TEST(what_is_no_file_is_refused),
        TEST(a_file_that_shrinks_is_an_error),
        TEST(a_file_that_is_written_to_is_an_error),
        TEST(a_file_that_is_replaced_stays_readable),
        TEST(reads_behind_the_end_are_refused),
        TEST(nothing_is_half_written),
        TEST(threads_may_read_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
