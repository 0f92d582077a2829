/* All kernels that come in two types, for the type that the macros of kernels_impl.h now describe. Ends that
 * description. No guard: included once a type. */
#include "device/cpu/kernels_rows.h"
#include "device/cpu/kernels_attention.h"
#include "device/cpu/kernels_winograd.h"
#undef T
#undef NAME
#undef ATT
#undef LOAD
#undef LOAD_PAIR
#undef LOAD_PART
#undef STORE
#undef STORE_PART
