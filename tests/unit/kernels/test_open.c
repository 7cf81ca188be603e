/*
 * Opening tables by the names of devices, where no CUDA library is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include <stdlib.h>
#include <string.h>

static void opens_the_cpu(void **state)
{
    (void)state;
    assert_ptr_equal(kernels_open("cpu", F32), kernels_cpu());
}

static void names_what_is_missing(void **state)
{
    (void)state;
    setenv("ATELIER_CUDA_LIBRARY", "/nowhere/libatelier-cuda.so", 1);
    assert_null(kernels_open("cuda", F32));
    assert_int_equal(err_code(), ERR_USAGE);
    assert_non_null(strstr(err_text(), "/nowhere/libatelier-cuda.so is missing"));
    assert_non_null(strstr(err_text(), "--device cpu"));
    assert_null(kernels_open("cuda:1", F32));
    assert_ptr_equal(kernels_open("auto", F32), kernels_cpu());
    setenv("ATELIER_CUDA_LIBRARY", "/proc/self/maps", 1);
    assert_null(kernels_open("cuda", F32));
    assert_non_null(strstr(err_text(), "does not load"));
}

static void refuses_other_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"",        "gpu",     "cuda:", "cuda:x",
                                        "cuda:-1", "cuda:1x", "cudas", "cuda:99999999999"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        assert_null(kernels_open(NAMES[i], F32));
        assert_non_null(strstr(err_text(), "no such device"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_the_cpu),
        cmocka_unit_test(names_what_is_missing),
        cmocka_unit_test(refuses_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
