/* Our declarations of the binary interface against NVIDIA's headers, where these are installed: a difference
 * is an error of the compiler, so that there is nothing left to do when the program runs. */
#include <cuda.h>

#include <cublasLt.h>
#include <cudnn_graph.h>
#include <nvrtc.h>

#define BALLAST_ABI_THEIR_TYPES
typedef CUresult bl_cu_result;
typedef CUdevice_attribute bl_cu_attribute;
typedef CUdriverProcAddressQueryResult bl_cu_symbol;
typedef CUstreamCaptureMode bl_cu_capture_mode;
typedef CUdevice bl_cu_device;
typedef CUdeviceptr bl_cu_pointer;
typedef CUcontext bl_cu_context;
typedef CUstream bl_cu_stream;
typedef CUevent bl_cu_event;
typedef CUmodule bl_cu_module;
typedef CUfunction bl_cu_function;
typedef CUgraph bl_cu_graph;
typedef CUgraphExec bl_cu_graph_exec;
typedef void bl_cu_host_fn(void *payload);
typedef cublasLtHandle_t bl_lt_handle;
typedef cublasStatus_t bl_lt_status;
typedef cudaDataType bl_lt_type;
typedef cublasComputeType_t bl_lt_compute;
typedef cublasLtMatrixLayoutAttribute_t bl_lt_layout_attr;
typedef cublasLtMatmulDescAttributes_t bl_lt_desc_attr;
typedef cublasLtMatmulPreferenceAttributes_t bl_lt_pref_attr;
typedef cublasLtMatmulDesc_t bl_lt_desc;
typedef cublasLtMatrixLayout_t bl_lt_layout;
typedef cublasLtMatmulPreference_t bl_lt_pref;
typedef cublasLtMatmulAlgo_t bl_lt_algo;
typedef cublasLtMatmulHeuristicResult_t bl_lt_found;
typedef cudnnHandle_t bl_dnn_handle;
typedef cudnnStatus_t bl_dnn_status;
typedef cudnnBackendDescriptorType_t bl_dnn_kind;
typedef cudnnBackendAttributeName_t bl_dnn_attr;
typedef cudnnBackendAttributeType_t bl_dnn_type;
typedef cudnnBackendDescriptor_t bl_dnn_descriptor;
typedef nvrtcProgram bl_rtc_program;
typedef nvrtcResult bl_rtc_result;
#include "device/cuda/abi.h"

#define NUMBER(ours, theirs, value) _Static_assert((long)ours == (long)theirs, #theirs);
BL_CUDA_NUMBERS(NUMBER)

#define ENTRY(name, result, parameters) \
    _Static_assert(__builtin_types_compatible_p(result(*) parameters, __typeof__(&(name))), #name);
BL_CUDA_DRIVER(ENTRY)
BL_CUDNN(ENTRY)
BL_CUBLASLT(ENTRY)
BL_NVRTC(ENTRY)
_Static_assert(__builtin_types_compatible_p(bl_cu_get_entry *, __typeof__(&cuGetProcAddress)), "lookup");

#define SAME(ours, theirs) \
    _Static_assert(offsetof(bl_lt_found_bytes, ours) == offsetof(bl_lt_found, theirs), #ours)
SAME(algo, algo);
SAME(workspace, workspaceSize);
SAME(state, state);
SAME(waves, wavesCount);
_Static_assert(sizeof(bl_lt_found_bytes) == sizeof(bl_lt_found), "found");
_Static_assert(sizeof(bl_lt_algo_bytes) == sizeof(bl_lt_algo), "algo");

int main(void) {
    return 0;
}
