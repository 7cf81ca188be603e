/*
 * Messages on stderr: one line a message for people, or one JSON object a line (`--log json`). A progress line is shown
 * on a terminal only, redrawn at most five times a second, and is wiped before any message.
 */
#ifndef ATELIER_COMMON_LOG_H
#define ATELIER_COMMON_LOG_H

#include <stdbool.h>

/* Names the program in every line. Call once at the start of main. */
void log_open(const char *program, bool json);

/* Before log_open: only errors are said, for one of several processes that would all say the same. */
void log_errors_only(void);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Replaces the progress line; nothing where stderr is no terminal. */
void log_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
