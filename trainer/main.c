/*
 * atelier-trainer: trains one of the three models.
 *
 *   atelier-trainer dvae  --preset small --data tar:train.tar --run runs/dvae
 *   atelier-trainer prior --preset small --data lmdb:codes --vocab bpe.json --dvae runs/dvae --run runs/prior
 *   atelier-trainer clip  --preset small --data tar:train.tar --vocab bpe.json --run runs/clip
 *
 * The same command goes on where an interrupted run stood; the result is the same to the bit. Behind mpirun, several
 * processes train together; any number of them goes on where another stood.
 */
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include "kernels/plan.h"
#include "trainer/trainer.h"
#include <argp.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_PRESET = 256, KEY_LOG, KEY_SETTING }; /* KEY_SETTING + i: settings_table[i] */
#define SETTINGS_MOST 256                        /* argp's own keys are far above */

struct command {
    struct trainer t;
    bool preset, json;
};

static const struct task *const tasks[] = {&task_dvae, &task_prior, &task_clip, NULL};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct command *c = state->input;
    int rc = 0;
    if (key == KEY_PRESET) {
        c->preset = true;
        rc = settings_preset(&c->t.settings, c->t.task->bit, arg);
    } else if (key == KEY_LOG) {
        c->json = !strcmp(arg, "json");
        rc = c->json || !strcmp(arg, "text") ? 0 : err_set(ERR_USAGE, "--log: '%s' is not text or json", arg);
    } else if (key >= KEY_SETTING && key < KEY_SETTING + SETTINGS_MOST) {
        rc = settings_set(&c->t.settings, c->t.task->bit, settings_table[key - KEY_SETTING].name, arg);
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    if (rc)
        argp_error(state, "%s", err_text());
    return 0;
}

/* The options of one task, out of the table of settings. */
static struct argp_option *make_options(enum task_bit bit)
{
    size_t n = 0, count = 0;
    while (settings_table[n].name)
        n++;
    struct argp_option *o = xcalloc(n + 3, sizeof *o);
    o[count++] =
        (struct argp_option){"preset", KEY_PRESET, "NAME", 0, "demo, small or paper; options behind it change it", -2};
    o[count++] = (struct argp_option){"log", KEY_LOG, "text|json", 0, "How messages are written", -1};
    for (size_t i = 0; i < n; i++)
        if (settings_table[i].tasks & bit)
            o[count++] = (struct argp_option){
                settings_table[i].name, KEY_SETTING + (int)i, settings_table[i].argument, 0, settings_table[i].help, 0};
    return o;
}

/* The other processes, if any; process 0 speaks for all, and each of its own errors. */
static int meet(struct command *c)
{
    static char name[32] = "trainer";
    int rc = comm_open(&c->t.comm);
    const struct comm *comm = c->t.comm;
    if (comm->rank > 0) {
        snprintf(name, sizeof name, "trainer %d", comm->rank);
        log_errors_only();
    }
    log_open(name, c->json);
    if (comm->size > 1)
        log_info("%d processes over %s", comm->size, comm->name);
    return rc;
}

/* A plan needs no device. */
static int open_kernels(struct trainer *t)
{
    enum dtype compute = settings_compute(&t->settings);
    t->k = t->settings.plan ? plan_begin(compute) : kernels_open_own(t->settings.device, t->comm->local_rank, compute);
    if (!t->k)
        return -1;
    char first[16];
    snprintf(first, sizeof first, "%s", t->k->name);
    if (t->comm->broadcast_host(first, sizeof first))
        return -1;
    if (strcmp(t->k->name, first) != 0)
        return err_set(ERR_USAGE,
                       "process %d computes with %s, process 0 with %s, and their rounding differs: start all with one "
                       "--device and one ATELIER_CPU",
                       t->comm->rank, t->k->name, first);
    return strcmp(t->k->name, "cuda") != 0 ? 0 : comm_use_gpu(&t->comm);
}

static int run(struct command *c)
{
    struct settings *s = &c->t.settings;
    if (!c->preset)
        return err_set(ERR_USAGE, "--preset NAME is needed: demo, small or paper");
    if (settings_check(s, c->t.task->bit))
        return -1;
    /* Processes that share cores share them out. */
    int cores = omp_get_num_procs() / c->t.comm->sharing;
    c->t.threads = s->threads ? (int)s->threads : cores > 0 ? cores : 1;
    kernels_set_threads(c->t.threads);
    if (open_kernels(&c->t) || dataset_open(&c->t.data, s->data, (size_t)s->memory << 20) ||
        (s->vocab && bpe_open(&c->t.bpe, s->vocab)))
        return -1;
    return trainer_run(&c->t);
}

static void usage(FILE *to)
{
    fprintf(to,
            "Usage: atelier-trainer TASK [OPTION...]\nTasks (atelier-trainer TASK --help lists the options of one):\n");
    for (size_t i = 0; tasks[i]; i++)
        fprintf(to, "  %-6s %s\n", tasks[i]->name, tasks[i]->doc);
}

int main(int argc, char **argv)
{
    struct command c = {.t.comm = comm_alone()};
    stage_settle(argv);
    for (size_t i = 0; argc > 1 && tasks[i]; i++)
        if (!strcmp(argv[1], tasks[i]->name))
            c.t.task = tasks[i];
    argp_program_version = "atelier-trainer " ATELIER_VERSION;
    if (!c.t.task && argc > 1 && !strcmp(argv[1], "--version")) {
        puts(argp_program_version);
        return 0;
    }
    if (!c.t.task) {
        bool help = argc > 1 && !strcmp(argv[1], "--help");
        if (argc > 1 && !help)
            fprintf(stderr, "atelier-trainer: '%s' is no task\n", argv[1]);
        usage(help ? stdout : stderr);
        return help ? 0 : ERR_USAGE;
    }
    settings_init(&c.t.settings);
    argp_err_exit_status = ERR_USAGE;
    struct argp_option *options = make_options(c.t.task->bit);
    struct argp argp = {.options = options, .parser = parse, .doc = c.t.task->doc};
    argv[1] = argv[0];
    if (argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &c) != 0)
        mem_gone(0);
    int rc = meet(&c);
    stage_catch_signals();
    if (!rc)
        rc = run(&c);
    if (rc)
        log_error("%s", err_text());
    dataset_close(&c.t.data);
    bpe_free(&c.t.bpe);
    settings_free(&c.t.settings);
    free(options);
    int code = rc ? err_code() : 0;
    c.t.comm->end(code);
    return code;
}
