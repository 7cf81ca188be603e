/* Where a model's files are: a run's directory stands for the model in it and for what lies beside it. */
#ifndef ATELIER_MODELS_MODEL_PATH_H
#define ATELIER_MODELS_MODEL_PATH_H

/* `path` itself, or DIR/model.safetensors for a directory. malloc'ed. */
char *model_path(const char *path);

/* The file `name` ("vocab.json") in the directory `path`, or beside the file `path`. malloc'ed. */
char *model_companion(const char *path, const char *name);

#endif
