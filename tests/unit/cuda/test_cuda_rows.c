/*
 * The CUDA table against the plain one: elementwise operations, and those that treat rows alike.
 */
#include "compare_cuda.h"
#include "tests/unit/kernels/operations_rows.h"

int main(void)
{
    return compare_cuda_all(ROW_OPERATIONS, sizeof ROW_OPERATIONS / sizeof *ROW_OPERATIONS);
}
