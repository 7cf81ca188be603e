/* PyTorch's containers against the same weights in safetensors, and pickles that lie. */
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "common/weights_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS "tests/golden/vectors/"
#define GOLDEN_MAX (16u << 20)

/* Every tensor of `file` equals prefix + its name in the safetensors file, whose tensors of that prefix are as many.
 * `rounded`: it holds the values rounded to float16. */
static void compare(const char *file, const char *golden, const char *prefix, enum weight_type type, bool rounded)
{
    struct weights *a = NULL, *b = NULL;
    char *path = xasprintf(VECTORS "%s", file), *golden_path = xasprintf(VECTORS "%s", golden);
    if (weights_load(&a, path) < 0 || weights_load(&b, golden_path) < 0)
        fail_msg("%s", err_text());
    size_t expected = 0;
    for (size_t i = 0; i < weights_count(b); i++)
        expected += strncmp(weights_at(b, i)->name, prefix, strlen(prefix)) == 0;
    assert_true(expected > 50);
    assert_int_equal(weights_count(a), expected);
    for (size_t i = 0; i < weights_count(a); i++) {
        const struct weight *t = weights_at(a, i);
        char *name = xasprintf("%s%s", prefix, t->name);
        const struct weight *u = weights_find(b, name);
        if (!u || t->ndim != u->ndim || memcmp(t->shape, u->shape, sizeof t->shape) != 0)
            fail_msg("%s: %s is not in %s or has another shape", file, name, golden);
        float *x = xmalloc(t->count * sizeof *x), *y = xmalloc(t->count * sizeof *y);
        weight_to_floats(t, x);
        weight_to_floats(u, y);
        assert_int_equal(t->type, type);
        for (size_t e = 0; e < t->count; e++) {
            float bound = rounded ? fabsf(y[e]) * 0x1p-11f + 0x1p-25f : 0;
            if (!(fabsf(x[e] - y[e]) <= bound))
                fail_msg("%s: %s[%zu] is %g, not %g", file, t->name, e, (double)x[e], (double)y[e]);
        }
        free(x);
        free(y);
        free(name);
    }
    weights_free(&a);
    weights_free(&b);
    free(path);
    free(golden_path);
}

static void test_golden_files(void **state)
{
    (void)state;
    compare("encoder.pkl", "dvae.safetensors", "w.encoder.", WEIGHT_F32, false);
    compare("decoder.pkl", "dvae.safetensors", "w.decoder.", WEIGHT_F32, false);
    compare("encoder_legacy.pkl", "dvae.safetensors", "w.encoder.", WEIGHT_F32, false);
    compare("decoder_legacy.pkl", "dvae.safetensors", "w.decoder.", WEIGHT_F32, false);
    compare("encoder_state_dict_fp16.pt", "dvae.safetensors", "w.encoder.", WEIGHT_F16, true);
    compare("clip_state_dict_fp16.pt", "clip.safetensors", "w.", WEIGHT_F16, true);
    compare("clip_torchscript.pt", "clip.safetensors", "w.", WEIGHT_F32, true);
}

/* Parses a copy of the exact size, so that the address sanitizer sees a read past the end. */
static int parse(struct weights **w, const void *data, size_t len)
{
    unsigned char *bytes = xmalloc(len);
    memcpy(bytes, data, len);
    int rc = weights_parse(w, bytes, len);
    if (rc == 0) {
        volatile unsigned char sum = 0;
        for (size_t i = 0; i < weights_count(*w); i++) {
            const struct weight *t = weights_at(*w, i);
            for (size_t b = 0; b < t->count * weight_type_size(t->type); b++)
                sum ^= ((const unsigned char *)t->data)[b];
        }
    }
    weights_free(w);
    free(bytes);
    return rc;
}

static const char *const containers[] = {VECTORS "encoder_state_dict_fp16.pt", VECTORS "encoder_legacy.pkl",
                                         VECTORS "clip_torchscript.pt"};

static void test_truncations_are_refused(void **state)
{
    (void)state;
    for (size_t c = 0; c < 3; c++) {
        struct buf file = {0};
        struct weights *w;
        assert_int_equal(file_read(containers[c], GOLDEN_MAX, &file), 0);
        for (uint64_t i = 0; i < 150; i++) {
            size_t len = i < 50 ? i : random_philox(1, c, i).v[0] % file.len;
            if (parse(&w, file.data, len) == 0)
                fail_msg("%s cut to %zu bytes was taken", containers[c], len);
        }
        buf_free(&file);
    }
}

static void test_a_flipped_bit_in_an_archive_is_found(void **state)
{
    (void)state;
    struct buf file = {0};
    struct weights *w;
    assert_int_equal(file_read(VECTORS "encoder.pkl", GOLDEN_MAX, &file), 0);
    file.data[file.len / 2] ^= 4; /* among a tensor's elements */
    assert_int_equal(parse(&w, file.data, file.len), -1);
    assert_non_null(strstr(err_text(), "checksum"));
    buf_free(&file);
}

static void test_flipped_bits_never_crash(void **state)
{
    (void)state;
    for (size_t c = 0; c < 3; c++) {
        struct buf file = {0};
        struct weights *w;
        assert_int_equal(file_read(containers[c], GOLDEN_MAX, &file), 0);
        /* The pickle is near the front of the legacy file, the directory at the end of an archive. */
        size_t front = c == 1 ? 33000 : 9000;
        for (uint64_t i = 0; i < 300; i++) {
            struct random4 draw = random_philox(2, c, i);
            size_t at = draw.v[0] % 4 ? draw.v[1] % front : file.len - 1 - draw.v[1] % 12000;
            file.data[at] ^= (unsigned char)(1u << draw.v[2] % 8);
            parse(&w, file.data, file.len);
            file.data[at] ^= (unsigned char)(1u << draw.v[2] % 8);
        }
        buf_free(&file);
    }
}

/* Pickles written by hand, in the legacy container: opcodes as in the pickletools module. */
static const unsigned char magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

static void op(struct buf *b, const char *bytes)
{
    buf_append(b, bytes, strlen(bytes));
}

static void unicode(struct buf *b, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    op(b, "X");
    buf_append(b, &len, sizeof len);
    op(b, text);
}

static void integer(struct buf *b, int64_t value)
{
    op(b, "\x8a\x08");
    buf_append(b, &value, sizeof value);
}

static void protocol(struct buf *b)
{
    buf_append(b, "\x80\x02", 2);
}

/* Everything before the object's pickle, and that pickle's head. */
static void begin(struct buf *b)
{
    b->len = 0;
    buf_append(b, magic, sizeof magic - 1);
    protocol(b);
    integer(b, 1001);
    op(b, ".");
    protocol(b);
    op(b, "}(");
    unicode(b, "little_endian");
    op(b, "\x88u.");
    protocol(b);
}

/* Its end, and one storage "0" of `count` floats 0, 1, 2 ..., or none. */
static void end(struct buf *b, int64_t count)
{
    op(b, ".");
    protocol(b);
    op(b, "]");
    if (count > 0) {
        unicode(b, "0");
        op(b, "a");
    }
    op(b, ".");
    if (count > 0)
        buf_append(b, &count, sizeof count);
    for (int64_t i = 0; i < count; i++) {
        float f = (float)i;
        buf_append(b, &f, sizeof f);
    }
}

static void tuple_of(struct buf *b, const int64_t *values, size_t count)
{
    op(b, "(");
    for (size_t i = 0; i < count; i++)
        integer(b, values[i]);
    op(b, "t");
}

static void tensor(struct buf *b, int64_t claimed, int64_t offset, const int64_t *shape, const int64_t *strides,
                   size_t ndim)
{
    op(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    unicode(b, "storage");
    op(b, "ctorch\nFloatStorage\n");
    unicode(b, "0");
    unicode(b, "cpu");
    integer(b, claimed);
    op(b, "NtQ");
    integer(b, offset);
    tuple_of(b, shape, ndim);
    tuple_of(b, strides, ndim);
    op(b, "\x89"
          "}tR");
}

/* {"x": tensor} over a storage of `count` floats. */
static int parse_one(struct weights **w, struct buf *file, int64_t claimed, int64_t count, int64_t offset,
                     const int64_t *shape, const int64_t *strides, size_t ndim)
{
    begin(file);
    op(file, "}(");
    unicode(file, "x");
    tensor(file, claimed, offset, shape, strides, ndim);
    op(file, "u");
    end(file, count);
    return weights_parse(w, file->data, file->len);
}

static void test_strides(void **state)
{
    (void)state;
    struct weights *w;
    struct buf file = {0};
    float out[6];
    const int64_t shape[] = {2, 3}, row_major[] = {3, 1}, transposed[] = {1, 2};
    const float rows[] = {4, 5, 6, 7, 8, 9}, columns[] = {2, 4, 6, 3, 5, 7};
    assert_int_equal(parse_one(&w, &file, 10, 10, 4, shape, row_major, 2), 0);
    weight_to_floats(weights_find(w, "x"), out);
    assert_memory_equal(out, rows, sizeof rows);
    weights_free(&w);
    assert_int_equal(parse_one(&w, &file, 10, 10, 2, shape, transposed, 2), 0);
    weight_to_floats(weights_find(w, "x"), out);
    assert_memory_equal(out, columns, sizeof columns);
    weights_free(&w);
    buf_free(&file);
}

static void test_views_outside_the_storage_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t claimed, offset, shape[2], strides[2];
    } cases[] = {
        {10, 5, {2, 3}, {3, 1}},  {10, -1, {2, 3}, {3, 1}},        {10, 0, {2, 3}, {8, 1}},
        {10, 0, {2, 3}, {-3, 1}}, {10, 0, {-2, 3}, {3, 1}},        {10, 0, {2, 3}, {INT64_MAX, 1}},
        {10, 0, {11, 1}, {0, 0}}, {10, INT64_MAX, {2, 3}, {3, 1}}, {10, 0, {1ll << 62, 1ll << 62}, {0, 0}},
        {11, 0, {2, 3}, {3, 1}},  {-1, 0, {2, 3}, {3, 1}},         {1ll << 62, 0, {2, 3}, {3, 1}},
        {9, 0, {2, 3}, {3, 1}},
    };
    struct weights *w;
    struct buf file = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse_one(&w, &file, cases[i].claimed, 10, cases[i].offset, cases[i].shape, cases[i].strides, 2) == 0)
            fail_msg("case %zu was taken", i);
        assert_int_equal(err_code(), ERR_DATA);
        weights_free(&w);
    }
    buf_free(&file);
}

static void expect_refused(struct buf *file, const char *text)
{
    struct weights *w;
    end(file, 0);
    if (parse(&w, file->data, file->len) == 0)
        fail_msg("taken, though: %s", text);
    assert_int_equal(err_code(), ERR_DATA);
    if (!strstr(err_text(), text))
        fail_msg("'%s' is not in the error: %s", text, err_text());
}

static void test_calls_are_refused(void **state)
{
    (void)state;
    struct buf file = {0};
    begin(&file);
    op(&file, "cposix\nsystem\n");
    unicode(&file, "touch /tmp/hostile");
    op(&file, "\x85R");
    expect_refused(&file, "posix.system");
    begin(&file);
    unicode(&file, "builtins");
    unicode(&file, "eval");
    op(&file, "\x93");
    unicode(&file, "1");
    op(&file, "\x85R");
    expect_refused(&file, "builtins.eval");
    begin(&file);
    op(&file, "ctorch._utils\n_rebuild_qtensor\n)R");
    expect_refused(&file, "_rebuild_qtensor");
    buf_free(&file);
}

static void test_malformed_pickles_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *error;
    } cases[] = {
        {"\x82", "opcode 0x82"},        {"R", "stack is empty"},  {"0", "stack is empty"},
        {"u", "mark is missing"},       {"t", "mark is missing"}, {"}(Nu", "key without a value"},
        {"h\x07", "not there"},         {"Nq\x05", "gap"},        {"(((", "stops early"},
        {"NN", "stops early"},          {"NQ", "external"},       {"N)\x81", "without a class"},
        {"(}R", "stack is empty"},      {"NNR", "a call"},        {"X\xff\xff\xff\x7fzz", "ends in the middle"},
        {"cabc", "ends in the middle"}, {"}", "no tensors"},      {"N(a", "stack is empty"},
        {"Na", "stack is empty"},       {"}Na", "holds none"},
    };
    struct buf file = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&file);
        op(&file, cases[i].bytes);
        expect_refused(&file, cases[i].error);
    }
    buf_free(&file);
}

/* l = []; l.append(l): a graph without an end. */
static void test_a_list_in_itself_is_refused(void **state)
{
    (void)state;
    struct buf file = {0};
    begin(&file);
    buf_append(&file, "]q\0h\0a", 6);
    expect_refused(&file, "contain themselves");
    buf_free(&file);
}

/* Thirty lists, each of which holds the one before twice: a billion paths through sixty bytes a list. */
static void test_a_billion_paths_are_refused(void **state)
{
    (void)state;
    struct buf file = {0};
    begin(&file);
    op(&file, "]");
    for (unsigned char i = 0; i < 30; i++) {
        const unsigned char twice[] = {'q', i, 'h', i, 0x86};
        buf_append(&file, twice, sizeof twice);
    }
    expect_refused(&file, "nested too deep");
    buf_free(&file);
}

static void test_too_many_objects_are_refused(void **state)
{
    (void)state;
    struct buf file = {0};
    begin(&file);
    for (int i = 0; i < 5000000; i++)
        op(&file, "N");
    expect_refused(&file, "too many objects");
    begin(&file);
    for (int i = 0; i < 5000000; i++)
        op(&file, "(");
    expect_refused(&file, "too many marks");
    buf_free(&file);
}

/* Instances keep no meaning but their state, whatever their class is called. */
static void test_module_names(void **state)
{
    (void)state;
    struct buf file = {0};
    struct weights *w;
    const int64_t shape[] = {2}, strides[] = {1};
    begin(&file);
    op(&file, "cany.thing\nNet\n)\x81}(");
    unicode(&file, "_parameters");
    op(&file, "}(");
    unicode(&file, "w");
    tensor(&file, 4, 0, shape, strides, 1);
    op(&file, "u");
    unicode(&file, "_modules");
    op(&file, "}(");
    unicode(&file, "inner");
    op(&file, "cany.thing\nNet\n)\x81}(");
    unicode(&file, "_parameters");
    op(&file, "}");
    unicode(&file, "_buffers");
    op(&file, "}(");
    unicode(&file, "b");
    tensor(&file, 4, 2, shape, strides, 1);
    op(&file, "uubuub");
    end(&file, 4);
    if (weights_parse(&w, file.data, file.len) < 0)
        fail_msg("%s", err_text());
    assert_int_equal(weights_count(w), 2);
    assert_non_null(weights_find(w, "w"));
    float out[2];
    weight_to_floats(weights_find(w, "inner.b"), out);
    assert_true(out[0] == 2 && out[1] == 3);
    weights_free(&w);
    buf_free(&file);
}

static void test_other_archives_are_refused(void **state)
{
    (void)state;
    struct weights *w;
    static const unsigned char empty_zip[22] = "PK\5\6";
    unsigned char zip[30 + 22] = "PK\3\4";
    memcpy(zip + 30, empty_zip, sizeof empty_zip);
    assert_int_equal(parse(&w, zip, sizeof zip), -1);
    assert_non_null(strstr(err_text(), "no data.pkl"));
    assert_int_equal(parse(&w, "\x80\x02N.", 4), -1);
    assert_non_null(strstr(err_text(), "not PyTorch's"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_truncations_are_refused),
        cmocka_unit_test(test_a_flipped_bit_in_an_archive_is_found),
        cmocka_unit_test(test_flipped_bits_never_crash),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_views_outside_the_storage_are_refused),
        cmocka_unit_test(test_calls_are_refused),
        cmocka_unit_test(test_malformed_pickles_are_refused),
        cmocka_unit_test(test_a_list_in_itself_is_refused),
        cmocka_unit_test(test_a_billion_paths_are_refused),
        cmocka_unit_test(test_too_many_objects_are_refused),
        cmocka_unit_test(test_module_names),
        cmocka_unit_test(test_other_archives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
