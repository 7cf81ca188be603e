/*
 * Schedules of a run: the cosine and its ends, warm-up, the clock, and halving on a plateau.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/common/scratch.h"
#include "trainer/trainer.h"
#include <math.h>

#define assert_near(x, expected) assert_true(fabs((double)(x) - (expected)) <= 1e-6 * fabs((double)(expected)) + 1e-12)

static float lr_at(struct trainer *t, uint64_t step)
{
    t->state.step = step;
    return schedule_step_size(t);
}

static void the_cosine_goes_from_end_to_end(void **state)
{
    (void)state;
    struct trainer t = {.settings = {.steps = 100, .lr = 1e-3, .lr_end = 1e-5}};
    assert_near(lr_at(&t, 0), 1e-3);
    assert_near(lr_at(&t, 50), (1e-3 + 1e-5) / 2);
    assert_near(lr_at(&t, 100), 1e-5);
    assert_near(lr_at(&t, 1000), 1e-5); /* a run made longer than its schedule */
    t.settings.lr_steps = 40;
    assert_near(lr_at(&t, 20), (1e-3 + 1e-5) / 2);
    assert_near(lr_at(&t, 60), 1e-5);
    for (uint64_t i = 0; i < 40; i++)
        assert_true(lr_at(&t, i) > lr_at(&t, i + 1));
}

static void warm_up_is_linear(void **state)
{
    (void)state;
    struct trainer t = {.settings = {.steps = 1000, .lr = 1e-3, .lr_end = 1e-3, .warmup = 10}};
    for (uint64_t i = 0; i < 10; i++)
        assert_near(lr_at(&t, i), 1e-3 * (double)(i + 1) / 10);
    assert_near(lr_at(&t, 10), 1e-3);
}

static void the_clock_takes_the_place_of_steps(void **state)
{
    (void)state;
    struct trainer t = {.settings = {.steps = 10, .minutes = 2, .lr = 1, .lr_end = 0}};
    t.state.elapsed = 60;
    assert_near(trainer_progress(&t, 0), 0.5);
    assert_near(lr_at(&t, 9), 0.5);
    t.state.step = 5;
    assert_near(trainer_progress(&t, 20), 0.25); /* a schedule with a length of its own keeps to updates */
    t.state.elapsed = 500;
    assert_near(trainer_progress(&t, 0), 1);
}

static void watch(struct trainer *t, double loss, int updates)
{
    for (int i = 0; i < updates; i++)
        schedule_watch(t, loss);
}

/* Halvings come with whole windows that are no better than the best, and go no further than allowed. */
static void check_plateau(double shift)
{
    struct trainer t = {.settings = {.steps = 1000, .lr = 1, .plateau = 5, .halvings = 2}};
    watch(&t, 3 + shift, 5);
    assert_int_equal(t.state.halvings, 0); /* the first is the best so far */
    watch(&t, 2 + shift, 5);
    assert_int_equal(t.state.halvings, 0);
    watch(&t, 2.5 + shift, 4);
    assert_int_equal(t.state.halvings, 0); /* not a whole window */
    watch(&t, 2.5 + shift, 1);
    assert_int_equal(t.state.halvings, 1);
    assert_near(lr_at(&t, 500), 0.5);
    watch(&t, 1 + shift, 5);
    assert_int_equal(t.state.halvings, 1);
    watch(&t, 1 + shift, 50);
    assert_int_equal(t.state.halvings, 2);
    assert_near(lr_at(&t, 500), 0.25);
}

/* Each halving is told on stderr. */
static int silence(void **state)
{
    static int kept;
    kept = lend(STDERR_FILENO, open("/dev/null", O_WRONLY));
    *state = &kept;
    return 0;
}

static int speak(void **state)
{
    unlend(STDERR_FILENO, *(int *)*state);
    return 0;
}

static void a_plateau_halves_the_step_size(void **state)
{
    (void)state;
    check_plateau(0);
    check_plateau(-10); /* densities over 1 give losses below 0 */
    check_plateau(-2);
}

/* A run that goes on with --plateau has no window half full of what came before. */
static void without_a_plateau_nothing_is_counted(void **state)
{
    (void)state;
    struct trainer t = {.settings = {.steps = 10, .lr = 1}};
    watch(&t, 3, 100);
    assert_true(t.state.window_sum == 0 && t.state.window == 0 && t.state.halvings == 0);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_cosine_goes_from_end_to_end),
        cmocka_unit_test(warm_up_is_linear),
        cmocka_unit_test(the_clock_takes_the_place_of_steps),
        cmocka_unit_test_setup_teardown(a_plateau_halves_the_step_size, silence, speak),
        cmocka_unit_test(without_a_plateau_nothing_is_counted),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
