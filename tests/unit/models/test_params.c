/*
 * The parameter table: slabs, initial values, files; and the arena.
 */
#include "models/params.h"
#include "tests/unit/models/model_checks.h"

#include <unistd.h>

enum { MATRIX, GAIN, SCALE, BIAS };

static void build(struct params *p)
{
    *p = (struct params){0};
    assert_int_equal(params_add(p, true, INIT_NORMAL, 0.5f, 2, (const int64_t[]){37, 27}, "layer.%d.weight", 3),
                     MATRIX);
    assert_int_equal(params_add(p, false, INIT_ONE, 0, 1, (const int64_t[]){5}, "gain"), GAIN);
    assert_int_equal(params_add(p, false, INIT_CONSTANT, 2.5f, 0, NULL, "scale"), SCALE);
    assert_int_equal(params_add(p, false, INIT_ZERO, 0, 1, (const int64_t[]){3}, "bias"), BIAS);
}

static void table(const struct kernels *k)
{
    struct params p;
    build(&p);
    assert_int_equal(params_alloc(&p, k, true), 0);
    assert_string_equal(p.list[MATRIX].name, "layer.3.weight");
    assert_int_equal(p.list[SCALE].count, 1);
    for (int i = 0; i < p.count; i++) {
        assert_int_equal(p.list[i].offset % 16, 0);
        assert_true(p.list[i].offset + p.list[i].count <= p.total);
        assert_true(i == 0 || p.list[i].offset >= p.list[i - 1].offset + p.list[i - 1].count);
    }
    float *grads = downloaded(k, p.grads, p.total);
    for (size_t i = 0; i < p.total; i++)
        assert_true(grads[i] == 0);
    free(grads);
    params_free(&p);
    assert_null(p.list);
}
EACH_TABLE(table)

static void initial_values(const struct kernels *k)
{
    struct params p;
    build(&p);
    assert_int_equal(params_alloc(&p, k, false), 0);
    assert_null(p.grads.data);
    params_init(&p, 1);
    float *first = downloaded(k, p.values, p.total);
    double sum = 0, square = 0;
    for (size_t i = 0; i < p.list[MATRIX].count; i++) {
        sum += first[i];
        square += (double)first[i] * first[i];
    }
    assert_true(fabs(sum / 999) < 0.06 && fabs(sqrt(square / 999) - 0.5) < 0.04);
    assert_true(first[p.list[GAIN].offset + 4] == 1);
    assert_true(first[p.list[SCALE].offset] == 2.5f);
    assert_true(first[p.list[BIAS].offset + 2] == 0);

    params_init(&p, 1);
    float *again = downloaded(k, p.values, p.total);
    assert_memory_equal(first, again, p.total * sizeof *first);
    params_init(&p, 2);
    k->download(again, p.values, p.total);
    assert_memory_not_equal(first, again, p.list[MATRIX].count * sizeof *first);
    free(again);
    free(first);
    params_free(&p);
}
EACH_TABLE(initial_values)

static void files(const struct kernels *k)
{
    static const char *const meta[] = {"kind", "test", NULL};
    struct params p, q;
    struct weights *w;
    char *path = xasprintf("/tmp/%d.params_test.safetensors", (int)getpid());
    build(&p);
    build(&q);
    assert_int_equal(params_alloc(&p, k, false), 0);
    assert_int_equal(params_alloc(&q, k, false), 0);
    params_init(&p, 1);
    assert_int_equal(params_save(&p, p.values, path, meta), 0);
    if (weights_load(&w, path) != 0)
        fail_msg("%s", err_text());
    assert_string_equal(weights_meta(w, "kind"), "test");
    assert_int_equal(params_load(&q, w, ""), 0);
    float *before = downloaded(k, p.values, p.total), *after = downloaded(k, q.values, q.total);
    assert_memory_equal(before, after, p.total * sizeof *before);
    free(before);
    free(after);

    assert_int_equal(params_check(&q, w, "other."), -1);
    assert_non_null(strstr(err_text(), "other.layer.3.weight is missing"));
    q.list[GAIN].shape[0] = 6;
    assert_int_equal(params_load(&q, w, ""), -1);
    assert_non_null(strstr(err_text(), "gain has shape [5], but this model needs [6]"));
    q.list[GAIN].ndim = 2;
    assert_int_equal(params_check(&q, w, ""), -1);
    assert_non_null(strstr(err_text(), "needs [6, 0]"));
    weights_free(&w);
    params_free(&p);
    params_free(&q);
    unlink(path);
    free(path);
}
EACH_TABLE(files)

struct places {
    struct tensor a, b;
};

static void place(void *self, struct arena *a)
{
    struct places *p = self;
    p->a = arena_take(a, 17, F32);
    p->b = arena_take(a, 1, I32);
}

static void arenas(const struct kernels *k)
{
    struct arena a;
    struct places p;
    assert_int_equal(arena_build(&a, k, place, &p), 0);
    assert_int_equal(a.size, 48);
    assert_ptr_equal(p.a.data, a.base.data);
    assert_ptr_equal(p.b.data, tensor_at(a.base, 32).data);
    assert_int_equal(p.b.dtype, I32);
    arena_free(&a);
    assert_null(a.base.data);
}
EACH_TABLE(arenas)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_EACH_TABLE(table),
        UNIT_EACH_TABLE(initial_values),
        UNIT_EACH_TABLE(files),
        UNIT_EACH_TABLE(arenas),
    };
    kernels_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
