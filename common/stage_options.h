/*
 * The options that all stages share: what stage.c and stage_options.c know of each other.
 */
#ifndef ATELIER_COMMON_STAGE_OPTIONS_H
#define ATELIER_COMMON_STAGE_OPTIONS_H

#include "common/endpoint.h"
#include "common/stage.h"

struct stage_options {
    const char *in, *out, *stats, *rejects, *run, *metrics;
    uint64_t from;
    struct endpoint_link link;
    unsigned record_timeout; /* seconds */
    bool json_log, keep_rejects, dry_run;
    double max_rejects; /* a count, or a share of the records in percent; below 0: any number */
    bool max_rejects_percent;
};

/* Parses the command line into `options` and the stage's own `self`; ends the program after --help, --version or a
 * usage error, as argp does. */
void stage_options_parse(const struct stage *stage, void *self, int argc, char **argv, struct stage_options *options);

#endif
