/* The entries of CUDA's driver, cuDNN, cuBLASLt and NVRTC that we call, as tables of pointers: types and
 * numbers of a published binary interface, declared here so that the plugin is built without NVIDIA's
 * headers. Where these are installed, tests/device/cuda/installed/test_abi.c holds every line against them.
 * Entries keep their own names, so that NVIDIA's manuals describe them. */
#ifndef BALLAST_DEVICE_CUDA_ABI_H
#define BALLAST_DEVICE_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

/* An algorithm of cuBLASLt, and what a request for some brings. */
typedef struct bl_lt_algo_bytes {
    uint64_t data[8];
} bl_lt_algo_bytes;

typedef struct bl_lt_found_bytes {
    bl_lt_algo_bytes algo;
    size_t workspace;
    uint32_t state;
    float waves;
    int reserved[4];
} bl_lt_found_bytes;

#ifndef BALLAST_ABI_THEIR_TYPES
typedef unsigned bl_cu_result, bl_cu_attribute, bl_cu_symbol, bl_cu_capture_mode, bl_lt_status, bl_lt_type,
    bl_lt_compute, bl_lt_layout_attr, bl_lt_desc_attr, bl_lt_pref_attr, bl_dnn_status, bl_dnn_kind,
    bl_dnn_attr, bl_dnn_type, bl_rtc_result;
typedef int bl_cu_device;
typedef uint64_t bl_cu_pointer;
typedef struct CUctx_st *bl_cu_context;
typedef struct CUstream_st *bl_cu_stream;
typedef struct CUevent_st *bl_cu_event;
typedef struct CUmod_st *bl_cu_module;
typedef struct CUfunc_st *bl_cu_function;
typedef struct CUgraph_st *bl_cu_graph;
typedef struct CUgraphExec_st *bl_cu_graph_exec;
typedef void bl_cu_host_fn(void *payload);
typedef struct cublasLtContext *bl_lt_handle;
typedef void *bl_lt_desc, *bl_lt_layout, *bl_lt_pref;
typedef bl_lt_algo_bytes bl_lt_algo;
typedef bl_lt_found_bytes bl_lt_found;
typedef struct cudnnContext *bl_dnn_handle;
typedef void *bl_dnn_descriptor;
typedef struct _nvrtcProgram *bl_rtc_program;
#endif

/* ENTRY(name, result, parameters). The driver's names are those of cuGetProcAddress, without _v2. */
#define BL_CUDA_DRIVER(ENTRY)                                                                              \
    ENTRY(cuInit, bl_cu_result, (unsigned flags))                                                          \
    ENTRY(cuDriverGetVersion, bl_cu_result, (int *version))                                                \
    ENTRY(cuDeviceGetCount, bl_cu_result, (int *count))                                                    \
    ENTRY(cuDeviceGet, bl_cu_result, (bl_cu_device * device, int number))                                  \
    ENTRY(cuDeviceGetName, bl_cu_result, (char *name, int bytes, bl_cu_device device))                     \
    ENTRY(cuDeviceGetAttribute, bl_cu_result, (int *value, bl_cu_attribute which, bl_cu_device device))    \
    ENTRY(cuDeviceTotalMem, bl_cu_result, (size_t * bytes, bl_cu_device device))                           \
    ENTRY(cuDevicePrimaryCtxRetain, bl_cu_result, (bl_cu_context * context, bl_cu_device device))          \
    ENTRY(cuDevicePrimaryCtxRelease, bl_cu_result, (bl_cu_device device))                                  \
    ENTRY(cuDevicePrimaryCtxReset, bl_cu_result, (bl_cu_device device))                                    \
    ENTRY(cuCtxSetCurrent, bl_cu_result, (bl_cu_context context))                                          \
    ENTRY(cuCtxGetStreamPriorityRange, bl_cu_result, (int *least, int *greatest))                          \
    ENTRY(cuMemGetInfo, bl_cu_result, (size_t * left, size_t * all))                                       \
    ENTRY(cuMemAlloc, bl_cu_result, (bl_cu_pointer * pointer, size_t bytes))                               \
    ENTRY(cuMemFree, bl_cu_result, (bl_cu_pointer pointer))                                                \
    ENTRY(cuMemHostAlloc, bl_cu_result, (void **pointer, size_t bytes, unsigned flags))                    \
    ENTRY(cuMemFreeHost, bl_cu_result, (void *pointer))                                                    \
    ENTRY(cuMemcpyHtoDAsync, bl_cu_result,                                                                 \
          (bl_cu_pointer to, const void *from, size_t bytes, bl_cu_stream stream))                         \
    ENTRY(cuMemcpyDtoHAsync, bl_cu_result,                                                                 \
          (void *to, bl_cu_pointer from, size_t bytes, bl_cu_stream stream))                               \
    ENTRY(cuStreamCreateWithPriority, bl_cu_result, (bl_cu_stream * stream, unsigned flags, int priority)) \
    ENTRY(cuStreamDestroy, bl_cu_result, (bl_cu_stream stream))                                            \
    ENTRY(cuStreamSynchronize, bl_cu_result, (bl_cu_stream stream))                                        \
    ENTRY(cuStreamWaitEvent, bl_cu_result, (bl_cu_stream stream, bl_cu_event event, unsigned flags))       \
    ENTRY(cuEventCreate, bl_cu_result, (bl_cu_event * event, unsigned flags))                              \
    ENTRY(cuEventDestroy, bl_cu_result, (bl_cu_event event))                                               \
    ENTRY(cuEventRecord, bl_cu_result, (bl_cu_event event, bl_cu_stream stream))                           \
    ENTRY(cuEventSynchronize, bl_cu_result, (bl_cu_event event))                                           \
    ENTRY(cuEventElapsedTime, bl_cu_result, (float *ms, bl_cu_event begin, bl_cu_event end))               \
    ENTRY(cuStreamWriteValue32, bl_cu_result,                                                              \
          (bl_cu_stream stream, bl_cu_pointer to, uint32_t value, unsigned flags))                         \
    ENTRY(cuLaunchHostFunc, bl_cu_result, (bl_cu_stream stream, bl_cu_host_fn * fn, void *payload))        \
    ENTRY(cuLaunchKernel, bl_cu_result,                                                                    \
          (bl_cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,   \
           unsigned block_y, unsigned block_z, unsigned shared, bl_cu_stream stream, void **arguments,     \
           void **extra))                                                                                  \
    ENTRY(cuModuleLoadData, bl_cu_result, (bl_cu_module * module, const void *image))                      \
    ENTRY(cuModuleUnload, bl_cu_result, (bl_cu_module module))                                             \
    ENTRY(cuModuleGetFunction, bl_cu_result,                                                               \
          (bl_cu_function * function, bl_cu_module module, const char *name))                              \
    ENTRY(cuStreamBeginCapture, bl_cu_result, (bl_cu_stream stream, bl_cu_capture_mode mode))              \
    ENTRY(cuStreamEndCapture, bl_cu_result, (bl_cu_stream stream, bl_cu_graph * graph))                    \
    ENTRY(cuGraphInstantiateWithFlags, bl_cu_result,                                                       \
          (bl_cu_graph_exec * exec, bl_cu_graph graph, unsigned long long flags))                          \
    ENTRY(cuGraphLaunch, bl_cu_result, (bl_cu_graph_exec exec, bl_cu_stream stream))                       \
    ENTRY(cuGraphExecDestroy, bl_cu_result, (bl_cu_graph_exec exec))                                       \
    ENTRY(cuGraphDestroy, bl_cu_result, (bl_cu_graph graph))                                               \
    ENTRY(cuGetErrorName, bl_cu_result, (bl_cu_result result, const char **name))

#define BL_CUDNN(ENTRY)                                                                                     \
    ENTRY(cudnnGetVersion, size_t, (void))                                                                  \
    ENTRY(cudnnGetErrorString, const char *, (bl_dnn_status status))                                        \
    ENTRY(cudnnCreate, bl_dnn_status, (bl_dnn_handle * handle))                                             \
    ENTRY(cudnnDestroy, bl_dnn_status, (bl_dnn_handle handle))                                              \
    ENTRY(cudnnSetStream, bl_dnn_status, (bl_dnn_handle handle, bl_cu_stream stream))                       \
    ENTRY(cudnnBackendCreateDescriptor, bl_dnn_status, (bl_dnn_kind kind, bl_dnn_descriptor * descriptor))  \
    ENTRY(cudnnBackendDestroyDescriptor, bl_dnn_status, (bl_dnn_descriptor descriptor))                     \
    ENTRY(cudnnBackendFinalize, bl_dnn_status, (bl_dnn_descriptor descriptor))                              \
    ENTRY(cudnnBackendSetAttribute, bl_dnn_status,                                                          \
          (bl_dnn_descriptor descriptor, bl_dnn_attr name, bl_dnn_type type, int64_t count,                 \
           const void *elements))                                                                           \
    ENTRY(cudnnBackendGetAttribute, bl_dnn_status,                                                          \
          (bl_dnn_descriptor descriptor, bl_dnn_attr name, bl_dnn_type type, int64_t room, int64_t * count, \
           void *elements))                                                                                 \
    ENTRY(cudnnBackendExecute, bl_dnn_status,                                                               \
          (bl_dnn_handle handle, bl_dnn_descriptor plan, bl_dnn_descriptor pack))

#define BL_CUBLASLT(ENTRY)                                                                                  \
    ENTRY(cublasLtGetVersion, size_t, (void))                                                               \
    ENTRY(cublasLtGetStatusString, const char *, (bl_lt_status status))                                     \
    ENTRY(cublasLtCreate, bl_lt_status, (bl_lt_handle * handle))                                            \
    ENTRY(cublasLtDestroy, bl_lt_status, (bl_lt_handle handle))                                             \
    ENTRY(cublasLtMatrixLayoutCreate, bl_lt_status,                                                         \
          (bl_lt_layout * layout, bl_lt_type type, uint64_t rows, uint64_t columns, int64_t stride))        \
    ENTRY(cublasLtMatrixLayoutDestroy, bl_lt_status, (bl_lt_layout layout))                                 \
    ENTRY(cublasLtMatrixLayoutSetAttribute, bl_lt_status,                                                   \
          (bl_lt_layout layout, bl_lt_layout_attr name, const void *value, size_t bytes))                   \
    ENTRY(cublasLtMatmulDescCreate, bl_lt_status,                                                           \
          (bl_lt_desc * desc, bl_lt_compute compute, bl_lt_type scale))                                     \
    ENTRY(cublasLtMatmulDescDestroy, bl_lt_status, (bl_lt_desc desc))                                       \
    ENTRY(cublasLtMatmulDescSetAttribute, bl_lt_status,                                                     \
          (bl_lt_desc desc, bl_lt_desc_attr name, const void *value, size_t bytes))                         \
    ENTRY(cublasLtMatmulPreferenceCreate, bl_lt_status, (bl_lt_pref * preference))                          \
    ENTRY(cublasLtMatmulPreferenceDestroy, bl_lt_status, (bl_lt_pref preference))                           \
    ENTRY(cublasLtMatmulPreferenceSetAttribute, bl_lt_status,                                               \
          (bl_lt_pref preference, bl_lt_pref_attr name, const void *value, size_t bytes))                   \
    ENTRY(cublasLtMatmulAlgoGetHeuristic, bl_lt_status,                                                     \
          (bl_lt_handle handle, bl_lt_desc desc, bl_lt_layout a, bl_lt_layout b, bl_lt_layout c,            \
           bl_lt_layout d, bl_lt_pref preference, int room, bl_lt_found *found, int *count))                \
    ENTRY(cublasLtMatmul, bl_lt_status,                                                                     \
          (bl_lt_handle handle, bl_lt_desc desc, const void *alpha, const void *a, bl_lt_layout a_layout,   \
           const void *b, bl_lt_layout b_layout, const void *beta, const void *c, bl_lt_layout c_layout,    \
           void *d, bl_lt_layout d_layout, const bl_lt_algo *algo, void *workspace, size_t workspace_bytes, \
           bl_cu_stream stream))

#define BL_NVRTC(ENTRY)                                                                    \
    ENTRY(nvrtcVersion, bl_rtc_result, (int *major, int *minor))                           \
    ENTRY(nvrtcGetErrorString, const char *, (bl_rtc_result result))                       \
    ENTRY(nvrtcCreateProgram, bl_rtc_result,                                               \
          (bl_rtc_program * program, const char *text, const char *name, int headers,      \
           const char *const *header_texts, const char *const *header_names))              \
    ENTRY(nvrtcDestroyProgram, bl_rtc_result, (bl_rtc_program * program))                  \
    ENTRY(nvrtcCompileProgram, bl_rtc_result,                                              \
          (bl_rtc_program program, int count, const char *const *options))                 \
    ENTRY(nvrtcGetProgramLogSize, bl_rtc_result, (bl_rtc_program program, size_t * bytes)) \
    ENTRY(nvrtcGetProgramLog, bl_rtc_result, (bl_rtc_program program, char *log))          \
    ENTRY(nvrtcGetPTXSize, bl_rtc_result, (bl_rtc_program program, size_t * bytes))        \
    ENTRY(nvrtcGetPTX, bl_rtc_result, (bl_rtc_program program, char *image))               \
    ENTRY(nvrtcGetCUBINSize, bl_rtc_result, (bl_rtc_program program, size_t * bytes))      \
    ENTRY(nvrtcGetCUBIN, bl_rtc_result, (bl_rtc_program program, char *image))

#define ENTRY(name, result, parameters) result(*name) parameters;
typedef struct bl_cuda_driver {
    BL_CUDA_DRIVER(ENTRY)
} bl_cuda_driver;
typedef struct bl_cudnn {
    BL_CUDNN(ENTRY)
} bl_cudnn;
typedef struct bl_cublaslt {
    BL_CUBLASLT(ENTRY)
} bl_cublaslt;
typedef struct bl_nvrtc {
    BL_NVRTC(ENTRY)
} bl_nvrtc;
#undef ENTRY

/* Looks an entry up at the version that we know it by. */
typedef bl_cu_result bl_cu_get_entry(const char *name, void **entry, int version, uint64_t flags,
                                     bl_cu_symbol *found);
#define BL_CU_VERSION 12060

/* NUMBER(our name, their name, value) */
#define BL_CUDA_NUMBERS(NUMBER)                                                             \
    NUMBER(BL_CU_NO_MEMORY, CUDA_ERROR_OUT_OF_MEMORY, 2)                                    \
    NUMBER(BL_CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE, 100)                                      \
    NUMBER(BL_CU_ECC, CUDA_ERROR_ECC_UNCORRECTABLE, 214)                                    \
    NUMBER(BL_CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND, 500)                                      \
    NUMBER(BL_CU_BAD_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS, 700)                              \
    NUMBER(BL_CU_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED, 801)                              \
    NUMBER(BL_CU_UNKNOWN, CUDA_ERROR_UNKNOWN, 999)                                          \
    NUMBER(BL_CU_CLOCK, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 13)                                 \
    NUMBER(BL_CU_PROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                  \
    NUMBER(BL_CU_MEMORY_CLOCK, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 36)                   \
    NUMBER(BL_CU_BUS_WIDTH, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 37)                \
    NUMBER(BL_CU_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                   \
    NUMBER(BL_CU_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                   \
    NUMBER(BL_CU_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)              \
    NUMBER(BL_CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING, 1)                            \
    NUMBER(BL_CU_EVENT_BLOCKING_SYNC, CU_EVENT_BLOCKING_SYNC, 1)                            \
    NUMBER(BL_LT_F32, CUDA_R_32F, 0)                                                        \
    NUMBER(BL_LT_BF16, CUDA_R_16BF, 14)                                                     \
    NUMBER(BL_LT_COMPUTE_F32, CUBLAS_COMPUTE_32F, 68)                                       \
    NUMBER(BL_LT_AS_IS, CUBLAS_OP_N, 0)                                                     \
    NUMBER(BL_LT_TURNED, CUBLAS_OP_T, 1)                                                    \
    NUMBER(BL_LT_LAYOUT_BATCH, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 5)                       \
    NUMBER(BL_LT_LAYOUT_BATCH_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 6)       \
    NUMBER(BL_LT_DESC_TRANS_A, CUBLASLT_MATMUL_DESC_TRANSA, 3)                              \
    NUMBER(BL_LT_DESC_TRANS_B, CUBLASLT_MATMUL_DESC_TRANSB, 4)                              \
    NUMBER(BL_LT_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE, 7)                           \
    NUMBER(BL_LT_DESC_BIAS, CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)                           \
    NUMBER(BL_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS, 4)                                  \
    NUMBER(BL_LT_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)               \
    NUMBER(BL_LT_PREF_REDUCTIONS, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3)            \
    NUMBER(BL_LT_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)               \
    NUMBER(BL_LT_PREF_ALIGN_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)               \
    NUMBER(BL_LT_PREF_ALIGN_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)               \
    NUMBER(BL_LT_PREF_ALIGN_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)               \
    NUMBER(BL_LT_REDUCTION_COMPUTE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 2)              \
    NUMBER(BL_DNN_NOT_COMPILED, CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED, 4001)       \
    NUMBER(BL_DNN_UNEXPECTED_VALUE, CUDNN_STATUS_INTERNAL_ERROR_UNEXPECTED_VALUE, 4002)     \
    NUMBER(BL_DNN_F32, CUDNN_DATA_FLOAT, 0)                                                 \
    NUMBER(BL_DNN_BF16, CUDNN_DATA_BFLOAT16, 9)                                             \
    NUMBER(BL_DNN_CROSS_CORRELATION, CUDNN_CROSS_CORRELATION, 1)                            \
    NUMBER(BL_DNN_ADD, CUDNN_POINTWISE_ADD, 0)                                              \
    NUMBER(BL_DNN_HEUR_A, CUDNN_HEUR_MODE_A, 3)                                             \
    NUMBER(BL_DNN_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 0)                    \
    NUMBER(BL_DNN_NOTE_DOWN_CONVERT, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 1)           \
    NUMBER(BL_DNN_NOTE_REDUCED, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 2)        \
    NUMBER(BL_DNN_NOTE_FFT, CUDNN_NUMERICAL_NOTE_FFT, 3)                                    \
    NUMBER(BL_DNN_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)          \
    NUMBER(BL_DNN_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD, 5)                          \
    NUMBER(BL_DNN_NOTE_COUNT, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, 10)                          \
    NUMBER(BL_DNN_OF_HANDLE, CUDNN_TYPE_HANDLE, 0)                                          \
    NUMBER(BL_DNN_OF_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1)                                    \
    NUMBER(BL_DNN_OF_BOOLEAN, CUDNN_TYPE_BOOLEAN, 2)                                        \
    NUMBER(BL_DNN_OF_INT64, CUDNN_TYPE_INT64, 3)                                            \
    NUMBER(BL_DNN_OF_FLOAT, CUDNN_TYPE_FLOAT, 4)                                            \
    NUMBER(BL_DNN_OF_POINTER, CUDNN_TYPE_VOID_PTR, 6)                                       \
    NUMBER(BL_DNN_OF_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 7)                             \
    NUMBER(BL_DNN_OF_HEUR_MODE, CUDNN_TYPE_HEUR_MODE, 8)                                    \
    NUMBER(BL_DNN_OF_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 11)                                   \
    NUMBER(BL_DNN_OF_POINTWISE, CUDNN_TYPE_POINTWISE_MODE, 14)                              \
    NUMBER(BL_DNN_OF_INT32, CUDNN_TYPE_INT32, 23)                                           \
    NUMBER(BL_DNN_OF_CHAR, CUDNN_TYPE_CHAR, 24)                                             \
    NUMBER(BL_DNN_OF_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 15)                         \
    NUMBER(BL_DNN_KIND_POINTWISE, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, 0)                    \
    NUMBER(BL_DNN_KIND_CONV, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, 1)                       \
    NUMBER(BL_DNN_KIND_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2)                          \
    NUMBER(BL_DNN_KIND_ENGINE_CFG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3)                   \
    NUMBER(BL_DNN_KIND_ENGINE_HEUR, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4)                 \
    NUMBER(BL_DNN_KIND_PLAN, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)                    \
    NUMBER(BL_DNN_KIND_OP_CONV, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 10) \
    NUMBER(BL_DNN_KIND_OP_POINTWISE, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, 13)      \
    NUMBER(BL_DNN_KIND_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)                  \
    NUMBER(BL_DNN_KIND_PACK, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16)                     \
    NUMBER(BL_DNN_KIND_TENSOR, CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17)                         \
    NUMBER(BL_DNN_KIND_PROPERTIES, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, 38)                 \
    NUMBER(BL_DNN_KIND_OP_SDPA, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, 41)            \
    NUMBER(BL_DNN_POINTWISE_MODE, CUDNN_ATTR_POINTWISE_MODE, 0)                             \
    NUMBER(BL_DNN_POINTWISE_PREC, CUDNN_ATTR_POINTWISE_MATH_PREC, 1)                        \
    NUMBER(BL_DNN_CONV_COMP_TYPE, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 100)                    \
    NUMBER(BL_DNN_CONV_MODE, CUDNN_ATTR_CONVOLUTION_CONV_MODE, 101)                         \
    NUMBER(BL_DNN_CONV_DILATIONS, CUDNN_ATTR_CONVOLUTION_DILATIONS, 102)                    \
    NUMBER(BL_DNN_CONV_STRIDES, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 103)                 \
    NUMBER(BL_DNN_CONV_POST, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 104)                     \
    NUMBER(BL_DNN_CONV_PRE, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 105)                       \
    NUMBER(BL_DNN_CONV_DIMS, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 106)                      \
    NUMBER(BL_DNN_HEUR_MODE, CUDNN_ATTR_ENGINEHEUR_MODE, 200)                               \
    NUMBER(BL_DNN_HEUR_GRAPH, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201)                   \
    NUMBER(BL_DNN_HEUR_RESULTS, CUDNN_ATTR_ENGINEHEUR_RESULTS, 202)                         \
    NUMBER(BL_DNN_HEUR_PROPERTIES, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, 204)                   \
    NUMBER(BL_DNN_CFG_ENGINE, CUDNN_ATTR_ENGINECFG_ENGINE, 300)                             \
    NUMBER(BL_DNN_CFG_SCRATCH, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, 303)                    \
    NUMBER(BL_DNN_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400)                       \
    NUMBER(BL_DNN_PLAN_CFG, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401)                   \
    NUMBER(BL_DNN_PLAN_WORKSPACE, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402)            \
    NUMBER(BL_DNN_PLAN_JSON, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, 405)            \
    NUMBER(BL_DNN_OP_CONV_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 700)       \
    NUMBER(BL_DNN_OP_CONV_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 701)         \
    NUMBER(BL_DNN_OP_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, 702)    \
    NUMBER(BL_DNN_OP_CONV_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, 703)               \
    NUMBER(BL_DNN_OP_CONV_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, 704)               \
    NUMBER(BL_DNN_OP_CONV_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 705)               \
    NUMBER(BL_DNN_OP_POINTWISE_DESC, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 750)     \
    NUMBER(BL_DNN_OP_POINTWISE_X, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 751)                \
    NUMBER(BL_DNN_OP_POINTWISE_B, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 752)                \
    NUMBER(BL_DNN_OP_POINTWISE_Y, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 753)                \
    NUMBER(BL_DNN_GRAPH_HANDLE, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800)                      \
    NUMBER(BL_DNN_GRAPH_OPS, CUDNN_ATTR_OPERATIONGRAPH_OPS, 801)                            \
    NUMBER(BL_DNN_TENSOR_ALIGNMENT, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900)                  \
    NUMBER(BL_DNN_TENSOR_TYPE, CUDNN_ATTR_TENSOR_DATA_TYPE, 901)                            \
    NUMBER(BL_DNN_TENSOR_DIMS, CUDNN_ATTR_TENSOR_DIMENSIONS, 902)                           \
    NUMBER(BL_DNN_TENSOR_STRIDES, CUDNN_ATTR_TENSOR_STRIDES, 903)                           \
    NUMBER(BL_DNN_TENSOR_ID, CUDNN_ATTR_TENSOR_UNIQUE_ID, 906)                              \
    NUMBER(BL_DNN_TENSOR_VIRTUAL, CUDNN_ATTR_TENSOR_IS_VIRTUAL, 907)                        \
    NUMBER(BL_DNN_TENSOR_BY_VALUE, CUDNN_ATTR_TENSOR_IS_BY_VALUE, 908)                      \
    NUMBER(BL_DNN_PACK_IDS, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000)                       \
    NUMBER(BL_DNN_PACK_POINTERS, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001)               \
    NUMBER(BL_DNN_PACK_WORKSPACE, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003)                  \
    NUMBER(BL_DNN_ENGINE_NOTES, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303)                     \
    NUMBER(BL_DNN_PROPERTIES_ID, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, 2700)                     \
    NUMBER(BL_DNN_PROPERTIES_JSON, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, 2702)         \
    NUMBER(BL_DNN_OP_SDPA_Q, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, 2800)                     \
    NUMBER(BL_DNN_OP_SDPA_K, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, 2801)                     \
    NUMBER(BL_DNN_OP_SDPA_V, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, 2802)                     \
    NUMBER(BL_DNN_OP_SDPA_O, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, 2803)                     \
    NUMBER(BL_DNN_OP_SDPA_SCALE, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, 2805)

#define NUMBER(ours, theirs, value) ours = value,
typedef enum bl_cuda_number { BL_CUDA_NUMBERS(NUMBER) } bl_cuda_number;
#undef NUMBER

#endif
