/* A checkpoint: the files that hold a model's weights, and where in them each tensor is.
 *
 * Two layouts are read: one file with the names of the original releases (LDM: CompVis' UNet and autoencoder,
 * CLIP or OpenCLIP), and a folder as diffusers writes it. Tensors are asked for by module and by diffusers'
 * name, whatever the layout: "down_blocks.0.resnets.0.conv1.weight" of BL_UNET, "decoder.conv_in.weight" or
 * "post_quant_conv.weight" of BL_VAE_DECODER, "encoder.conv_in.weight" or "quant_conv.weight" of
 * BL_VAE_ENCODER, "decoder.layers.2.conv.0.weight" of BL_TAESD,
 * "text_model.encoder.layers.0.self_attn.q_proj.weight" or "text_projection.weight" of the text encoders.
 *
 * Tensors that nobody asks for (moving averages, training state, position ids, schedules) are ignored. */
#ifndef BALLAST_CHECKPOINT_CHECKPOINT_H
#define BALLAST_CHECKPOINT_CHECKPOINT_H

#include "checkpoint/family.h"
#include "checkpoint/safetensors.h"
#include "core/added_token.h"
#include "core/module.h"

#include <stdbool.h>

typedef struct bl_checkpoint bl_checkpoint;

/* Opens the file or folder `path` (also a folder's model_index.json). `vae_path`: another file or folder with
 * the autoencoder to use instead of the checkpoint's, or NULL: then "X.vae.safetensors" beside
 * "X.safetensors" is taken if it is there. Only headers are read. Owner of *out: the caller;
 * bl_checkpoint_close. Errors: those of bl_safetensors_open; BL_E_FORMAT for damaged configuration files;
 * BL_E_NOT_FOUND for a folder without weights. */
int bl_checkpoint_open(bl_checkpoint **out, const char *path, const char *vae_path, bl_error *err);

/* Takes text encoders out of another file or folder, those that the unet can read of all that are there, in
 * place of the checkpoint's own. May be called several times. Errors: those of opening; BL_E_FORMAT where
 * none fits, BL_E_ARGUMENT where the same was taken before. The checkpoint can only be closed then. */
int bl_checkpoint_take_text_encoders(bl_checkpoint *ckpt, const char *path, bl_error *err);

/* Takes the decoder of a TAESD file, in the layout of its authors (taesd_decoder.safetensors,
 * taesdxl_decoder.safetensors) or in diffusers' (AutoencoderTiny). Which it is, and that it is one, is read
 * from the names of its tensors. Errors: those of opening; BL_E_FORMAT, with what was seen, for any other
 * file. The checkpoint can only be closed then. */
int bl_checkpoint_take_taesd(bl_checkpoint *ckpt, const char *path, bl_error *err);

#define BL_TAESD_NOTE 512
/* Which file a model of this family takes where `path` was named: the shapes of SD's and SDXL's are the same.
 * Of a folder the one with the family's name: taesd_decoder.safetensors, taesd.safetensors or taesd/ as
 * diffusers writes it, with taesdxl of SDXL. *out: NULL where a folder has none. Any other path is taken as
 * it is, a diffusers folder too, whose file it is then. `note`: what the user should know, that there is
 * none, or that a file has another family's name; "": nothing. Caller frees *out. */
int bl_taesd_find(char **out, char note[BL_TAESD_NOTE], const char *path, const bl_family *family,
                  bl_error *err);

/* What a TAESD decoder's file is. */
typedef struct bl_taesd_about {
    bool diffusers; /* in its layout; else in its authors' */
    int channels, latent_channels;
    int tensors; /* of the decoder */
    uint64_t bytes;
    const char *type;   /* of its first tensor: "F16". Static storage */
    const char *family; /* by the file's name: "SDXL base"; NULL: it has another name. Static storage */
} bl_taesd_about;

/* Errors: those of bl_checkpoint_take_taesd. */
int bl_taesd_inspect(bl_taesd_about *out, const char *path, bl_error *err);

void bl_checkpoint_close(bl_checkpoint **ckpt);

/* The path it was opened by. Borrowed. */
const char *bl_checkpoint_path(const bl_checkpoint *ckpt);
/* Is it a diffusers folder? */
bool bl_checkpoint_is_folder(const bl_checkpoint *ckpt);

/* File number `index`, in the order in which they were opened; the overriding autoencoder's come last.
 * Borrowed. */
const bl_safetensors *bl_checkpoint_file(const bl_checkpoint *ckpt, int index);

/* Does it hold weights of this module? */
bool bl_checkpoint_has_module(const bl_checkpoint *ckpt, bl_module module);
/* The file that the module's weights are in; of several, the first. NULL if it has none. Borrowed. */
const bl_safetensors *bl_checkpoint_module_file(const bl_checkpoint *ckpt, bl_module module);

/* Words that the tokenizer of text encoder 0 or 1 has beside CLIP's vocabulary, as a folder says: how many,
 * and each, whose text is borrowed. */
int bl_checkpoint_added_tokens(const bl_checkpoint *ckpt, int encoder);
bl_added_token bl_checkpoint_added_token(const bl_checkpoint *ckpt, int encoder, int index);

/* Where the vocabulary of T5, the encoder `module`, is: a tokenizer.json as the tokenizers library writes it
 * or, where there is none, a spiece.model, in a folder that was given as a text encoder, beside a T5 that
 * was, or with the model. *out: NULL where there is none. Caller frees it. */
int bl_checkpoint_vocabulary(char **out, const bl_checkpoint *ckpt, bl_module module, bl_error *err);

/* Where the tokens of Qwen, the first encoder, are listed: its folder's tokenizer.json or, where there is
 * none, vocab.json. *out: NULL where there is neither. Caller frees it. */
int bl_checkpoint_word_list(char **out, const bl_checkpoint *ckpt, bl_error *err);

/* Rows of a stored tensor, seen as diffusers' tensor. Valid as long as the checkpoint. */
typedef struct bl_view {
    const bl_safetensors *file;
    const bl_file_tensor *stored;
    bl_dtype dtype; /* that reading hands out; what is stored small comes as floats */
    int rank;
    int64_t shape[BL_FILE_RANK]; /* of the view: a share of the first axis where several tensors are stored as
                                    one */
    int64_t first;   /* elements of the stored tensor before the view's; whole matrix if transposed */
    bool transposed; /* stored is [shape[1], shape[0]] */
    bool swapped;    /* the view's first half of rows is stored behind the second */
} bl_view;

/* Finds a tensor. False if the checkpoint has none of this name. */
bool bl_checkpoint_find(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const char *name);

/* The same for a tensor that must be there, in this shape, in a type that we can compute with (F32, F16,
 * BF16, F64, or stored small: see storage.h). Ones at the end of a shape do not count: a 1x1 convolution
 * [C,C,1,1] is a linear layer [C,C]. Nor does a one before the rest that one of the two has: a vector [C] is
 * a row of a table [1,C]. On success the view has the shape that was asked for. Errors (BL_E_FORMAT,
 * BL_E_UNSUPPORTED) name the file, the module, the tensor as the file calls it, and both shapes. */
int bl_checkpoint_require(bl_view *out, const bl_checkpoint *ckpt, bl_module module, const char *name,
                          const int64_t *shape, int rank, bl_error *err);

/* What bl_checkpoint_require needs as its message calls a tensor: the name in the file's layout, module's
 * prefix included. `name` itself if the layout has no such tensor. `room` bytes at `text`. */
void bl_checkpoint_stored_name(char *text, size_t room, const bl_checkpoint *ckpt, bl_module module,
                               const char *name);

/* Elements in one row (all of one index of the first axis), and rows. A scalar is one row. */
int64_t bl_view_row_elements(const bl_view *view);
int64_t bl_view_rows(const bl_view *view);

/* Bytes that the view's elements take in the file, scales of rows not counted. */
uint64_t bl_view_stored_bytes(const bl_view *view);

/* Reads rows [begin, end), row-major, in the view's type, to dst: (end - begin) * row elements * size of
 * dtype bytes. May be called from several threads. Errors: BL_E_IO, BL_E_MEMORY. */
int bl_view_read(const bl_view *view, int64_t begin, int64_t end, void *dst, bl_error *err);

/* May the view's rows stay small in memory? Then *form says how they lie. */
bool bl_view_small(bl_small *form, const bl_view *view);
/* Reads rows [begin, end) of such a view as they are stored: bl_small_row_bytes of codes each, and the factor
 * of each to scales, which is not written where rows have none. As bl_view_read otherwise; BL_E_FORMAT for
 * codes that are no numbers. */
int bl_view_read_small(const bl_view *view, int64_t begin, int64_t end, void *codes, float *scales,
                       bl_error *err);

#endif
