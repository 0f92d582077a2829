#include "support/weight_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void bl_weight_list_add(bl_weight_list *l, const char *name, int rows, int columns, float mean, float scale) {
    bl_tensor_data *t = &l->tensors[l->count];
    const size_t n = (size_t)rows * (size_t)(columns ? columns : 1);
    float *values = malloc(n * sizeof *values);
    assert_true(l->count < BL_WEIGHT_LIST_MOST && values);
    for (size_t i = 0; i < n; i++) {
        l->state = l->state * 1664525u + 1013904223u;
        values[i] = mean + scale * ((float)(l->state >> 8) / 8388608.0f - 1);
    }
    snprintf(l->names[l->count], sizeof l->names[0], "%s", name);
    *t = (bl_tensor_data){.name = l->names[l->count],
                          .dtype = BL_F32,
                          .rank = columns ? 2 : 1,
                          .shape = {rows, columns},
                          .data = values};
    l->count++;
}

void bl_weight_list_add_in(bl_weight_list *l, const char *layer, const char *name, int rows, int columns,
                           float mean) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", layer, name);
    bl_weight_list_add(l, full, rows, columns, mean, columns ? 1.5f / sqrtf((float)columns) : 0.2f);
}

enum { RANK = 4 };

void bl_weight_list_add_lora(bl_weight_list *l, const char *layer, bool peft, int rows, int columns) {
    char full[128];
    const uint32_t state = l->state;
    l->state = (uint32_t)columns;
    snprintf(full, sizeof full, "%s.%s.weight", layer, peft ? "lora_A" : "lora_down");
    bl_weight_list_add(l, full, RANK, columns, 0, 0.3f);
    l->state = state;
    snprintf(full, sizeof full, "%s.%s.weight", layer, peft ? "lora_B" : "lora_up");
    bl_weight_list_add(l, full, rows, RANK, 0, 0.3f);
}

void bl_weight_list_swap(bl_weight_list *l) {
    const bl_tensor_data *t = &l->tensors[l->count - 1];
    float *values = (float *)(uintptr_t)t->data;
    const size_t half = (size_t)(t->shape[0] * (t->rank > 1 ? t->shape[1] : 1)) / 2;
    for (size_t i = 0; i < half; i++) {
        const float first = values[i];
        values[i] = values[half + i];
        values[half + i] = first;
    }
}

void bl_weight_list_write(bl_weight_list *l, const char *path) {
    bl_error err;
    if (bl_safetensors_write(path, l->tensors, l->count, NULL, 0, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < l->count; i++) {
        free((void *)(uintptr_t)l->tensors[i].data);
    }
}
