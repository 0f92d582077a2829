/* A file that lacks any one tensor must not pass for a smaller model: either it is refused with that tensor's
 * name, or the architecture is the same and the tensor is missed when it is asked for. */
#include "checkpoint/architecture.h"
#include "support/files.h"
#include "support/slow.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER_ROOM (1 << 20)

/* Writes a file with the names and shapes of `all`, in bytes that take no place, without number `without`. */
static void write_without(const char *path, const bl_file_tensor *all, int count, int without) {
    char *header = malloc(HEADER_ROOM);
    assert_non_null(header);
    size_t n = 1;
    uint64_t at = 0;
    header[0] = '{';
    for (int i = 0; i < count; i++) {
        if (i == without) {
            continue;
        }
        uint64_t bytes = 1;
        n += (size_t)snprintf(header + n, HEADER_ROOM - n, "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[",
                              n > 1 ? "," : "", all[i].name);
        for (int d = 0; d < all[i].rank; d++) {
            n += (size_t)snprintf(header + n, HEADER_ROOM - n, "%s%lld", d ? "," : "",
                                  (long long)all[i].shape[d]);
            bytes *= (uint64_t)all[i].shape[d];
        }
        n += (size_t)snprintf(header + n, HEADER_ROOM - n, "],\"data_offsets\":[%llu,%llu]}",
                              (unsigned long long)at, (unsigned long long)(at + bytes));
        at += bytes;
        assert_true(n < HEADER_ROOM - 1);
    }
    memcpy(header + n, "}", 2);
    bl_test_write_header(path, header, at);
    free(header);
}

/* Is it part of a model, and not of its training? */
static bool is_weight(const char *name) {
    return (strncmp(name, "model.", 6) == 0 || strncmp(name, "first_stage_model.", 18) == 0 ||
            strncmp(name, "cond_stage_model.", 17) == 0 || strncmp(name, "conditioner.", 12) == 0) &&
           !strstr(name, "position_ids") && !strstr(name, "logit_scale");
}

static void check_family(const char *family, int step) {
    char folder[BL_TEST_PATH], path[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_safetensors *f;
    bl_error err;
    int count;
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    bl_synth_checkpoint(from, family, BL_SYNTH_SINGLE);
    assert_int_equal(bl_safetensors_open(&f, from, &err), 0);
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    bl_architecture whole, a;
    step *= bl_test_slow() ? 3 : 1;
    for (int i = -1; i < count; i += i < 0 ? 1 : step) {
        if (i >= 0 && !is_weight(all[i].name)) {
            continue;
        }
        bl_checkpoint *c;
        memset(&a, 0, sizeof a);
        write_without(path, all, count, i);
        assert_int_equal(bl_checkpoint_open(&c, path, NULL, &err), 0);
        int rc = bl_architecture_detect(&a, c, &err);
        if (i < 0) {
            assert_int_equal(rc, 0);
            whole = a;
        } else if (rc ? !strstr(err.message, all[i].name) : memcmp(&a, &whole, sizeof a) != 0) {
            fail_msg("without %s: %s", all[i].name, rc ? err.message : "another architecture");
        }
        bl_checkpoint_close(&c);
    }
    bl_safetensors_close(&f);
    bl_test_folder_remove(folder);
}

/* Every fifth and every eleventh tensor: the others are of the same kinds. */
static void sd1_lacks_nothing_unseen(void **state) {
    (void)state;
    check_family("sd15", 5);
}

static void sd2_and_sdxl_lack_nothing_unseen(void **state) {
    (void)state;
    check_family("sd21v", 11);
    check_family("sdxl", 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_lacks_nothing_unseen),
        cmocka_unit_test(sd2_and_sdxl_lack_nothing_unseen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
