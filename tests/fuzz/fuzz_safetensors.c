/* Any bytes as a checkpoint file: opening, finding out what it is and reading it end in success or an error.
 */
#include "fuzz.h"

#include "checkpoint/architecture.h"

/* The last bytes of each tensor: the offsets are within the file. */
static void read_ends(const bl_safetensors *f) {
    int count;
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
    for (int i = 0; i < count; i++) {
        unsigned char end[16];
        uint64_t n = t[i].bytes < sizeof end ? t[i].bytes : sizeof end;
        MUST(!bl_safetensors_read(f, t[i].offset + t[i].bytes - n, n, end, NULL));
        MUST(bl_safetensors_find(f, t[i].name) == &t[i]);
    }
}

/* Views of every kind: plain, shared and transposed. */
static void read_views(const bl_checkpoint *c) {
    static const struct {
        bl_module module;
        const char *name;
    } names[] = {
        {BL_UNET, "conv_in.weight"},
        {BL_UNET, "down_blocks.1.resnets.0.conv1.weight"},
        {BL_UNET, "up_blocks.0.attentions.1.proj_in.weight"},
        {BL_VAE_DECODER, "decoder.up_blocks.0.resnets.0.conv1.weight"},
        {BL_VAE_ENCODER, "quant_conv.weight"},
        {BL_TEXT_ENCODER, "text_model.encoder.layers.0.self_attn.v_proj.weight"},
        {BL_TEXT_ENCODER_2, "text_model.encoder.layers.0.self_attn.k_proj.bias"},
        {BL_TEXT_ENCODER_2, "text_projection.weight"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bl_view v;
        if (!bl_checkpoint_find(&v, c, names[i].module, names[i].name) || v.dtype == BL_DTYPE_COUNT) {
            continue;
        }
        /* Asked for in its own shape it is given, in another one it is not. */
        const int64_t other[2] = {v.rank ? v.shape[0] + 1 : 2, 3};
        bl_view same;
        int rc = bl_checkpoint_require(&same, c, names[i].module, names[i].name, v.shape, v.rank, NULL);
        MUST(!rc || rc == BL_E_UNSUPPORTED);
        MUST(bl_checkpoint_require(&same, c, names[i].module, names[i].name, other, 2, NULL) == BL_E_FORMAT);
        int64_t rows = bl_view_rows(&v), row = bl_view_row_elements(&v);
        if (rows > 0 && row < 1 << 20) {
            void *out = malloc((size_t)row * bl_dtype_size(v.dtype) + 1);
            const int rc_read = out ? bl_view_read(&v, rows - 1, rows, out, NULL) : 0;
            /* Codes that are no number are refused when they are read. */
            MUST(!rc_read || (rc_read == BL_E_FORMAT && v.stored->storage != BL_STORED_PLAIN));
            free(out);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = file_of(path, data, size);
    bl_error err = {.code = 0};
    bl_checkpoint *c = NULL;
    if (bl_checkpoint_open(&c, path, NULL, &err) == 0) {
        bl_architecture a;
        MUST(!bl_architecture_detect(&a, c, &err) || err.message[0]);
        read_ends(bl_checkpoint_file(c, 0));
        read_views(c);
        bl_checkpoint_close(&c);
    } else {
        MUST(err.message[0] && !c);
    }
    if (bl_checkpoint_open(&c, path, path, &err) == 0) { /* its own autoencoder, given once more */
        bl_checkpoint_close(&c);
    }
    close(fd);
    return 0;
}
