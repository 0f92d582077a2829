/* Prints what cuDNN knows of the first card, as its JSON: from it plans can be made where no card is. */
#include "device/cuda/libs.h"

#include <stdio.h>
#include <stdlib.h>

static int ask(char **out, const bl_cudnn *dnn) {
    bl_dnn_descriptor d = NULL;
    int32_t card = 0;
    int64_t bytes = 0;
    *out = NULL;
    int s = (int)dnn->cudnnBackendCreateDescriptor(BL_DNN_KIND_PROPERTIES, &d);
    s = s ? s : (int)dnn->cudnnBackendSetAttribute(d, BL_DNN_PROPERTIES_ID, BL_DNN_OF_INT32, 1, &card);
    s = s ? s : (int)dnn->cudnnBackendFinalize(d);
    s = s ? s
          : (int)dnn->cudnnBackendGetAttribute(d, BL_DNN_PROPERTIES_JSON, BL_DNN_OF_CHAR, 0, &bytes, NULL);
    if (!s && (*out = calloc((size_t)bytes + 1, 1)) != NULL) {
        s = (int)dnn->cudnnBackendGetAttribute(d, BL_DNN_PROPERTIES_JSON, BL_DNN_OF_CHAR, bytes, &bytes,
                                               *out);
    }
    if (d) {
        dnn->cudnnBackendDestroyDescriptor(d);
    }
    return s;
}

int main(void) {
    const bl_cuda_libs *l;
    bl_error err = {0};
    bl_cu_context context;
    char *json = NULL;
    if (bl_cuda_libs_open(&l, &err)) {
        fprintf(stderr, "cuda_properties: %s\n", err.message);
        return 1;
    }
    int s = (int)l->cu.cuInit(0);
    s = s ? s : (int)l->cu.cuDevicePrimaryCtxRetain(&context, 0);
    s = s ? s : (int)l->cu.cuCtxSetCurrent(context);
    s = s ? s : ask(&json, &l->dnn);
    if (s || !json) {
        fprintf(stderr, "cuda_properties: status %d\n", s);
    } else {
        puts(json);
    }
    free(json);
    return s != 0;
}
