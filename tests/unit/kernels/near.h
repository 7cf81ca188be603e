/*
 * An assertion for numbers. cmocka's assert_float_equal takes NaN to be equal to anything.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_NEAR_H
#define ATELIER_TESTS_UNIT_KERNELS_NEAR_H

#include <math.h>

#define assert_near(x, expected, tolerance) assert_true(fabs((double)(x) - (expected)) <= (tolerance))

#endif
