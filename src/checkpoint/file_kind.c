#include "checkpoint/file_kind.h"

#include <stdbool.h>
#include <string.h>

static bool starts_with(const unsigned char *start, size_t n, const char *magic) {
    size_t length = strlen(magic);
    return n >= length && memcmp(start, magic, length) == 0;
}

/* PyTorch's zip files begin with the entry "<folder>/data.pkl". A local file header holds the length of its
 * name at 26 and the name at 30 (PKWARE's APPNOTE, 4.3.7). */
static bool is_torch_zip(const unsigned char *start, size_t n) {
    if (!starts_with(start, n, "PK\x03\x04") || n < 30) {
        return false;
    }
    size_t length = start[26] | (size_t)start[27] << 8;
    static const char pickle[] = "/data.pkl";
    const size_t tail = sizeof pickle - 1;
    return length > tail && 30 + length <= n && memcmp(start + 30 + length - tail, pickle, tail) == 0;
}

int bl_refuse_other_formats(const char *path, const unsigned char *start, size_t n, bl_error *err) {
    /* A safetensors header of 1152 bytes (0x480) begins with a pickle's 80 04; the brace tells them apart. */
    if (n > 8 && start[8] == '{') {
        return 0;
    }
    /* Pickle streams begin with PROTO (0x80) and the protocol's number. */
    if (is_torch_zip(start, n) || (n >= 2 && start[0] == 0x80 && start[1] >= 2 && start[1] <= 5)) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.400s is a PyTorch pickle (.ckpt, .pt, .bin), which can run any code when it is loaded; "
            "convert it: "
            "python3 -c \"import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], "
            "map_location='cpu', weights_only=True); d = d.get('state_dict', d); s.save_file({k: "
            "v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])\" IN.ckpt "
            "OUT.safetensors",
            path);
    }
    if (starts_with(start, n, "PK\x03\x04")) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%.400s is a zip archive, not a safetensors file", path);
    }
    if (starts_with(start, n, "version https://git-lfs")) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.400s is a git-lfs pointer, not the file itself; run \"git lfs pull\" in its folder",
                       path);
    }
    if (starts_with(start, n, "<!DOCTYPE") || starts_with(start, n, "<!doctype") ||
        starts_with(start, n, "<html")) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.400s is a web page, not a safetensors file; download it again", path);
    }
    return 0;
}

size_t bl_weights_suffix(const char *path) {
    static const char *const known[] = {".safetensors", ".gguf"};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t m = strlen(known[i]);
        if (n >= m && memcmp(path + n - m, known[i], m) == 0) {
            return m;
        }
    }
    return 0;
}
