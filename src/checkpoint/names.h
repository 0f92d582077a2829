/* How files call the tensors that we know under diffusers' names. One translation a layout; internal to the
 * room. */
#ifndef BALLAST_CHECKPOINT_NAMES_H
#define BALLAST_CHECKPOINT_NAMES_H

#include <stdbool.h>

#define BL_STORED_BYTES 256
#define BL_MAX_LEVELS 6
#define BL_MAX_BLOCKS 8 /* resnets in one level */

/* How the tensors of a module are called in its file. */
typedef enum bl_naming {
    BL_NAMES_DIFFUSERS, /* as in a diffusers folder (also Hugging Face's CLIP) */
    BL_NAMES_CLIP_BARE, /* Hugging Face's CLIP without "text_model." (transformers >= 5.6, and some old files)
                         */
    BL_NAMES_LDM_UNET,  /* CompVis: input_blocks.4.1... */
    BL_NAMES_LDM_VAE,   /* CompVis: decoder.up.3.block.0... */
    BL_NAMES_TAESD,     /* of an nn.Sequential: 3.conv.0..., one number more than diffusers' */
    BL_NAMES_ZIMAGE,    /* Z-Image's authors: attention.qkv, x_embedder; ComfyUI and GGUF files, too */
    BL_NAMES_FLUX1,     /* FLUX.1's authors: double_blocks.0.img_mod.lin; ComfyUI and GGUF files, too */
    BL_NAMES_FLUX2,     /* FLUX.2's authors: double_blocks.0.img_attn.qkv; ComfyUI and GGUF files, too */
    BL_NAMES_SD3,       /* SD3's authors: joint_blocks.0.x_block.attn.qkv; ComfyUI and GGUF files, too */
    BL_NAMES_QWEN_BARE, /* transformers' Qwen3 without "model." */
    BL_NAMES_LLAMA,     /* llama.cpp's: blk.0.attn_q... */
    BL_NAMES_LLAMA_T5,  /* llama.cpp's of T5's encoder: enc.blk.0.attn_q... */
    BL_NAMES_OPEN_CLIP  /* transformer.resblocks.0.attn.in_proj_weight... */
} bl_naming;

/* Where LDM's running numbers begin: input_blocks and output_blocks are counted through all levels. */
typedef struct bl_ldm_numbers {
    int levels;
    int resnets[BL_MAX_LEVELS];     /* of each level on the way down; one more on the way up */
    int first_input[BL_MAX_LEVELS]; /* input block of the level's first resnet */
    int downsampler[BL_MAX_LEVELS]; /* input block that halves the size behind the level; 0 where none does */
    int first_output[BL_MAX_LEVELS];    /* output block of the first resnet of up_blocks.i */
    int upsampler_place[BL_MAX_LEVELS]; /* which layer of that level's last output block doubles the size */
    int second_mid_resnet;              /* layer of middle_block behind the attention, if there is one */
} bl_ldm_numbers;

/* Where a tensor is stored. */
typedef struct bl_stored {
    char name[BL_STORED_BYTES];  /* without the module's prefix */
    char other[BL_STORED_BYTES]; /* an older name for the same, or "" */
    int share, shares;           /* it is share number `share` of `shares` of the first axis, */
    int spans;                   /* and as many of them */
    bool transposed;             /* the stored matrix has its axes exchanged */
    bool swapped;                /* the halves of its first axis are exchanged */
} bl_stored;

/* Does the file hold a tensor whose name starts so (behind the module's prefix)? */
typedef bool bl_has_fn(const void *payload, const char *start);

/* Reads the numbers off the names. Leaves levels 0 if there is no such UNet, or one too large. */
void bl_ldm_number(bl_ldm_numbers *out, bl_has_fn *has, const void *payload);

/* Translates a canonical name. False if it is none that this layout knows. `numbers`: only for
 * BL_NAMES_LDM_UNET; `depth`: for BL_NAMES_LDM_VAE, whose decoder counts its levels from the output, and for
 * BL_NAMES_SD3, whose last block is another; 0 where that is not known. */
bool bl_stored_name(bl_stored *out, bl_naming naming, const bl_ldm_numbers *numbers, int depth,
                    const char *name);

/* The same, one a layout. `out->name` and the flags are preset to "", 0, 1, false. */
bool bl_ldm_unet_name(bl_stored *out, const bl_ldm_numbers *numbers, const char *name);
bool bl_ldm_vae_name(bl_stored *out, int levels, const char *name);
bool bl_open_clip_name(bl_stored *out, const char *name);
bool bl_taesd_name(bl_stored *out, const char *name);
bool bl_zimage_name(bl_stored *out, const char *name);
bool bl_flux1_name(bl_stored *out, const char *name);
bool bl_flux2_name(bl_stored *out, const char *name);
bool bl_sd3_name(bl_stored *out, int blocks, const char *name);
bool bl_llama_name(bl_stored *out, const char *name);
bool bl_llama_t5_name(bl_stored *out, const char *name);

/* If `name` starts with `start`, returns what follows, else NULL. */
const char *bl_after(const char *name, const char *start);

/* Reads "12." or "12" at the end and moves *name behind it; -1 if there is no number from 0 to 99. */
int bl_take_number(const char **name);

/* A table that exchanges the start of a name, up to a whole word. */
typedef struct bl_rename {
    const char *from, *to;
} bl_rename;

/* Writes `head` + the renamed `rest` to out->name. Unknown starts are kept if keep_unknown, else false is
 * returned. Also false if it is too long. */
bool bl_renamed(bl_stored *out, const char *head, const char *rest, const bl_rename *table, int rows,
                bool keep_unknown);

#endif
