/* What the end of a key in an adapter's file says: which part of a layer's change it is. */
#ifndef BALLAST_ADAPTER_KEYS_H
#define BALLAST_ADAPTER_KEYS_H

#include <stddef.h>

/* In brackets the shape, r a rank; out, in and kh, kw are the layer's. */
typedef enum bl_part {
    BL_PART_DOWN, /* [r, in, kh, kw], or [r, in] beside a mid */
    BL_PART_UP,   /* [out, r] */
    BL_PART_MID,  /* [r, r, kh, kw] */
    BL_PART_ALPHA,
    BL_PART_DORA,      /* [out, 1...] or [1, in...] */
    BL_PART_MAGNITUDE, /* [out] */
    BL_PART_W1A,       /* [out, r], or [r, out] beside t1 */
    BL_PART_W1B,       /* [r, in * kh * kw], or [r, in] beside t1 */
    BL_PART_W2A,
    BL_PART_W2B,
    BL_PART_T1, /* [r, r, kh, kw] */
    BL_PART_T2,
    BL_PART_K1, /* [o1, i1], o1 * o2 = out, i1 * i2 = in */
    BL_PART_K1A,
    BL_PART_K1B,
    BL_PART_K2, /* [o2, i2, kh, kw] */
    BL_PART_K2A,
    BL_PART_K2B,
    BL_PART_KT2,    /* [r, r, kh, kw] */
    BL_PART_DIFF,   /* as the weight */
    BL_PART_DIFF_B, /* as the bias */
    BL_PART_COUNT
} bl_part;

/* Splits "lora_unet_mid_block_resnets_0_conv1.lora_up.weight": *length becomes that of the layer's name.
 * BL_PART_COUNT: the end is none that is known. */
bl_part bl_key_part(const char *key, size_t *length);

/* As files call it: "lora_up". Static storage. */
const char *bl_part_name(bl_part part);

#endif
