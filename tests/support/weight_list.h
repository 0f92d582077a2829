/* Tensors of made-up networks, one behind the other, for files of weights. */
#ifndef BALLAST_TESTS_SUPPORT_WEIGHT_LIST_H
#define BALLAST_TESTS_SUPPORT_WEIGHT_LIST_H

#include "checkpoint/safetensors.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_WEIGHT_LIST_MOST 320

/* Begin with {0}. The numbers follow from what was added before: three matrices are as one of all their rows.
 */
typedef struct bl_weight_list {
    bl_tensor_data tensors[BL_WEIGHT_LIST_MOST];
    char names[BL_WEIGHT_LIST_MOST][128];
    int count;
    uint32_t state;
} bl_weight_list;

/* Adds a matrix [rows, columns], or a vector where columns is 0, of values mean +- scale. */
void bl_weight_list_add(bl_weight_list *l, const char *name, int rows, int columns, float mean, float scale);

/* The same for LAYER.NAME, with a scale that keeps the size of what a matrix makes. */
void bl_weight_list_add_in(bl_weight_list *l, const char *layer, const char *name, int rows, int columns,
                           float mean);

/* Adds a LoRA of rank 4 of a layer [rows, columns], by kohya's names or by PEFT's, whose last is the matrix
 * of the rows. The other is the same for all layers of as many columns. */
void bl_weight_list_add_lora(bl_weight_list *l, const char *layer, bool peft, int rows, int columns);

/* Exchanges the halves of the last matrix or vector. */
void bl_weight_list_swap(bl_weight_list *l);

/* Writes the file, and frees the values. */
void bl_weight_list_write(bl_weight_list *l, const char *path);

#endif
