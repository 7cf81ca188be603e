/* Weight files: safetensors out and in, conversions, and headers that lie. */
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "common/weights_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[40];

static int setup(void **state)
{
    (void)state;
    strcpy(path, "/tmp/atelier-weights-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static struct weight view(const char *name, enum weight_type type, const void *data, int64_t rows, int64_t columns)
{
    struct weight t = {.name = (char *)name, .type = type, .ndim = 2, .shape = {rows, columns}, .data = data};
    t.count = (size_t)(rows * columns);
    return t;
}

static void test_round_trip(void **state)
{
    (void)state;
    float f[6] = {1, -2, 0.5f, 1e30f, -0.0f, 3};
    double d[2] = {1.0 / 3, -7};
    int64_t i64[1] = {-(1ll << 40)};
    uint16_t half[3] = {0x3c00, 0xc000, 0x7bff};
    int8_t i8[3] = {-128, 0, 127};
    const struct weight tensors[] = {
        view("z.float", WEIGHT_F32, f, 2, 3),
        view("a.half", WEIGHT_F16, half, 1, 3),
        view("b.double", WEIGHT_F64, d, 1, 2),
        view("c.bytes \"quoted\"\n", WEIGHT_I8, i8, 3, 1),
        view("empty", WEIGHT_F32, f, 0, 3),
        view("d.long", WEIGHT_I64, i64, 1, 1),
        {.name = (char *)"scalar", .type = WEIGHT_F32, .count = 1, .data = f},
    };
    const char *const meta[] = {"kind", "dvae", "grid", "32", NULL};
    struct weights *w;
    assert_int_equal(weights_save(path, tensors, 7, meta), 0);
    assert_int_equal(weights_load(&w, path), 0);
    assert_int_equal(weights_count(w), 7);
    for (size_t i = 1; i < 7; i++)
        assert_true(strcmp(weights_at(w, i - 1)->name, weights_at(w, i)->name) < 0);
    for (size_t i = 0; i < 7; i++) {
        const struct weight *t = weights_find(w, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->type, tensors[i].type);
        assert_int_equal(t->ndim, tensors[i].ndim);
        assert_int_equal(t->count, tensors[i].count);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_memory_equal(t->data, tensors[i].data, t->count * weight_type_size(t->type));
        assert_int_equal((uintptr_t)t->data % weight_type_size(t->type), 0);
    }
    assert_null(weights_find(w, "absent"));
    assert_string_equal(weights_meta(w, "grid"), "32");
    assert_null(weights_meta(w, "absent"));
    float out[3];
    weight_to_floats(weights_find(w, "a.half"), out);
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 65504);
    weight_to_floats(weights_find(w, "c.bytes \"quoted\"\n"), out);
    assert_true(out[0] == -128 && out[1] == 0 && out[2] == 127);
    weight_to_floats(weights_find(w, "d.long"), out);
    assert_true(out[0] == -1099511627776.0f);
    weights_free(&w);
    assert_null(w);
}

static void test_same_input_same_bytes(void **state)
{
    (void)state;
    float f[4] = {1, 2, 3, 4};
    const struct weight one[] = {view("a", WEIGHT_F32, f, 2, 1), view("b", WEIGHT_F32, f + 2, 1, 2)};
    const struct weight two[] = {one[1], one[0]};
    struct buf first = {0}, second = {0};
    assert_int_equal(weights_save(path, one, 2, NULL), 0);
    assert_int_equal(file_read(path, 10000, &first), 0);
    assert_int_equal(weights_save(path, two, 2, NULL), 0);
    assert_int_equal(file_read(path, 10000, &second), 0);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_free(&first);
    buf_free(&second);
}

static void test_equal_names_are_refused(void **state)
{
    (void)state;
    float f[1] = {1};
    const struct weight tensors[] = {view("a", WEIGHT_F32, f, 1, 1), view("a", WEIGHT_F32, f, 1, 1)};
    assert_int_equal(weights_save(path, tensors, 2, NULL), -1);
}

/* All halves against ldexp; bfloat16 is the upper half of a float. */
static void test_half_conversions_are_exact(void **state)
{
    (void)state;
    enum { N = 65536 };
    uint16_t *bits = xmalloc(N * sizeof *bits);
    float *out = xmalloc(N * sizeof *out);
    for (int i = 0; i < N; i++)
        bits[i] = (uint16_t)i;
    struct weight t = view("x", WEIGHT_F16, bits, 1, N);
    weight_to_floats(&t, out);
    for (int i = 0; i < N; i++) {
        int exponent = i >> 10 & 31, fraction = i & 1023;
        double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        want = i & 0x8000 ? -want : want;
        if (exponent < 31)
            assert_true((double)out[i] == want && !signbit(out[i]) == !(i >> 15));
        else
            assert_true(fraction ? isnan(out[i]) : isinf(out[i]) && !signbit(out[i]) == !(i >> 15));
    }
    t.type = WEIGHT_BF16;
    weight_to_floats(&t, out);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t word;
        memcpy(&word, &out[i], sizeof word);
        assert_int_equal(word, i << 16);
    }
    free(bits);
    free(out);
}

/* A file of this header and `data_bytes` of zeros. */
static void make_file(struct buf *out, const char *header, size_t data_bytes)
{
    uint64_t length = strlen(header);
    out->len = 0;
    buf_append(out, &length, sizeof length);
    buf_append(out, header, length);
    buf_reserve(out, data_bytes + 1);
    memset(out->data + out->len, 0, data_bytes);
    out->len += data_bytes;
}

static int parse(const struct buf *file)
{
    struct weights *w;
    /* A copy of the exact size, so that the address sanitizer sees a read past the end. */
    unsigned char *bytes = xmalloc(file->len);
    memcpy(bytes, file->data, file->len);
    int rc = weights_parse(&w, bytes, file->len);
    weights_free(&w);
    free(bytes);
    return rc;
}

static void test_headers_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *header, *error;
        size_t data_bytes;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", NULL, 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "outside", 7},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "no tensor", 9},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "need 12", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "impossible", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}}", "impossible", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967298],\"data_offsets\":[0,8]}}", "impossible", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", "impossible", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", "at most 8", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "shape", 8},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype F31", 8},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "outside", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "outside", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "pair", 8},
        {"{\"a\":[]}", "dtype", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         NULL, 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         "overlaps", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         "gap", 12},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "damaged safetensors header", 8},
        {"{\"__metadata__\":{\"k\":1}}", "not a string", 0},
        {"{\"__metadata__\":[]}", "not an object", 0},
        {"{\"__metadata__\":{\"k\":\"v\"}}", NULL, 0},
        {"{\"a\":", "damaged safetensors header", 0},
        {"[]", "neither", 0},
        {"{}", NULL, 0},
    };
    struct buf file = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_file(&file, cases[i].header, cases[i].data_bytes);
        int rc = parse(&file);
        if (rc != (cases[i].error ? -1 : 0) || (cases[i].error && !strstr(err_text(), cases[i].error)))
            fail_msg("case %zu, %s: %d, %s", i, cases[i].header, rc, rc ? err_text() : "");
    }
    buf_free(&file);
}

/* A header's length may begin like a pickle (0x80) or end anywhere: the format is told by more than that. */
static void test_any_header_length(void **state)
{
    (void)state;
    char header[700];
    struct buf file = {0};
    for (int spaces = 0; spaces < 640; spaces++) {
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}%*s", spaces,
                 "");
        make_file(&file, header, 8);
        if (parse(&file) < 0)
            fail_msg("%zu bytes: %s", strlen(header), err_text());
    }
    buf_free(&file);
}

static void test_deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *header = xmalloc(DEPTH + 1);
    memset(header, '[', DEPTH);
    memcpy(header, "{\"a\":", 5);
    header[DEPTH] = 0;
    struct buf file = {0};
    make_file(&file, header, 0);
    assert_int_equal(parse(&file), -1);
    buf_free(&file);
    free(header);
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    struct buf file = {0};
    make_file(&file, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    for (; file.len > 0; file.len--) {
        struct buf cut = {file.data, file.len - 1, 0};
        assert_int_equal(parse(&cut), -1);
    }
    buf_free(&file);
}

static void test_flipped_bits_never_crash(void **state)
{
    (void)state;
    struct buf file = {0};
    make_file(&file, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        parse(&file);
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    buf_free(&file);
}

static void test_missing_and_empty_files(void **state)
{
    (void)state;
    struct weights *w;
    assert_int_equal(weights_load(&w, "/nonexistent/file"), -1);
    assert_int_equal(err_code(), ERR_IO);
    assert_int_equal(weights_load(&w, "/tmp"), -1);
    assert_int_equal(err_code(), ERR_DATA);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(weights_load(&w, path), -1);
    assert_non_null(strstr(err_text(), path));
    assert_null(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_input_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equal_names_are_refused, setup, teardown),
        cmocka_unit_test(test_half_conversions_are_exact),
        cmocka_unit_test(test_headers_that_lie),
        cmocka_unit_test(test_any_header_length),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_flipped_bits_never_crash),
        cmocka_unit_test_setup_teardown(test_missing_and_empty_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
