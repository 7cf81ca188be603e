# Atelier: `make` builds build/bin, `make demo` runs the main job, `make check` the tests. See README.md.
# Build variants live beside each other: BUILD=DIR, SANITIZE=1 (address and undefined behaviour).

MAKEFLAGS += --no-builtin-rules
BUILD ?= build
SANITIZE ?= 0
CC = gcc
PACKAGES = msgpack lmdb libjpeg libpng libwebp libarchive jansson libpcre2-8 libutf8proc zlib libzmq libmicrohttpd pangocairo
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Werror
OPT = -O3 -g -ffp-contract=off -fno-math-errno -fno-trapping-math
ifeq ($(SANITIZE),1)
OPT = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -ffp-contract=off
BUILD := build/asan
endif
CFLAGS = -std=gnu11 $(OPT) $(WARN) -fopenmp -D_GNU_SOURCE -I. $(PKG_CFLAGS)
CXXFLAGS = -std=gnu++17 $(OPT) -Wall -Wextra -Werror -D_GNU_SOURCE -I.

# Asked late and once: `deps` installs what pkg-config is asked about.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PACKAGES)))$(PKG_CFLAGS)
LIBS = $(eval LIBS := $$(shell pkg-config --libs $(PACKAGES)) -lcld2 -lstdc++ -lm -lpthread)$(LIBS)

# A layer's library is all its sources; stages -> models -> kernels -> common, and never back.
# Fast kernels are compiled once for each instruction set; the suffix of their symbols is ISA.
ISA_SRC = $(wildcard kernels/cpu/isa/*.c)
ISA_OBJ = $(patsubst %.c,$(BUILD)/%.avx2.o,$(ISA_SRC)) $(patsubst %.c,$(BUILD)/%.avx512.o,$(ISA_SRC))

STAGES = filter tokenize encode trainer sampler rerank
sources = $(filter-out %_main.c,$(wildcard $(1)/*.c)) $(wildcard $(1)/*.cc)
objects = $(patsubst %.cc,$(BUILD)/%.o,$(patsubst %.c,$(BUILD)/%.o,$(1)))
STAGE_BINS = $(patsubst %/main.c,$(BUILD)/bin/atelier-%,$(wildcard $(STAGES:=/main.c)))
# pipelines/NAME_main.c is the program atelier-NAME, with what it shares in pipelines/*.c.
PIPE_BINS = $(patsubst pipelines/%_main.c,$(BUILD)/bin/atelier-%,$(filter-out %/atelier_main.c,$(wildcard pipelines/*_main.c)))
TOOLS = $(patsubst tests/golden/%_main.c,$(BUILD)/bin/%,$(wildcard tests/golden/*_main.c))
FRONT = $(if $(wildcard pipelines/atelier_main.c),$(BUILD)/bin/atelier)

# The CUDA backend, a library that is loaded on demand (kernels/open.c), where nvcc is; its sources on the emulator everywhere.
NVCC := $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
NVCC_ARCH = $(foreach a,80 90a,-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_90,code=compute_90
NVCC_WARN = -Werror all-warnings
NVCC_FLAGS = -std=c++17 -O3 -lineinfo $(NVCC_ARCH) $(NVCC_WARN) -Xcompiler -Wall,-Wextra,-fPIC,-fvisibility=hidden -I.
CUDA_SRC = $(wildcard kernels/cuda/*.cu)
CUDA_LIB = $(if $(and $(NVCC),$(filter 0,$(SANITIZE))),$(BUILD)/lib/libatelier-cuda.so)
EMULATOR_FLAGS = $(CXXFLAGS) -O2 -Wno-unknown-pragmas -fPIC -fvisibility=hidden -ftls-model=initial-exec
# The emulator is told of the kernels' accesses to memory (tests/emulator/races.cc).
EMULATED_FLAGS = $(EMULATOR_FLAGS) -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -Itests/emulator/include
EMULATOR_OBJ = $(patsubst kernels/cuda/%.cu,$(BUILD)/emulator/%.o,$(CUDA_SRC)) $(patsubst %.cc,$(BUILD)/%.o,$(wildcard tests/emulator/*.cc))
EMULATOR_LIB = $(BUILD)/emulator/libatelier-cuda.so
EMULATOR_NCCL = $(BUILD)/emulator/libatelier-nccl.so

# What several training processes talk over is loaded by those that were started together, and built where it can be.
CUDA ?= /usr/local/cuda
COMM = $(if $(shell command -v mpicc),$(BUILD)/lib/libatelier-mpi.so) \
	$(if $(wildcard $(CUDA)/include/nccl.h),$(BUILD)/lib/libatelier-nccl.so)

.DEFAULT_GOAL = all
all: $(STAGE_BINS) $(PIPE_BINS) $(FRONT) $(TOOLS) cuda comm
cuda: $(CUDA_LIB)
	$(if $(NVCC),,@echo "no nvcc: built without CUDA")

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	@echo "c++ $@" && $(CXX) $(CXXFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	@echo "nvcc $@" && $(NVCC) $(NVCC_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/emulator/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	@echo "c++ $@" && $(CXX) -x c++ $(EMULATED_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/tests/emulator/%.o: tests/emulator/%.cc
	@mkdir -p $(@D)
	@echo "c++ $@" && $(CXX) $(EMULATOR_FLAGS) -Itests/emulator/include -MMD -MP -c $< -o $@
$(BUILD)/tests/unit/cuda/%.o: tests/unit/cuda/%.cc
	@mkdir -p $(@D)
	@echo "c++ $@" && $(CXX) $(EMULATED_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.avx2.o: %.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) $(CFLAGS) -O3 -march=x86-64-v3 -ffp-contract=fast -DISA=avx2 -MMD -MP -c $< -o $@
$(BUILD)/%.avx512.o: %.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) $(CFLAGS) -O3 -march=x86-64-v4 -mprefer-vector-width=512 -ffp-contract=fast -DISA=avx512 -MMD -MP -c $< -o $@

# Rules files are compiled in (.incbin, which -MMD does not see).
$(BUILD)/filter/default_rules.o: filter/boilerplate.rules filter/language.rules

$(BUILD)/libcommon.a: $(call objects,$(wildcard common/*.c))
$(BUILD)/libkernels.a: $(call objects,$(wildcard kernels/*.c kernels/cpu/*.c)) $(ISA_OBJ)
$(BUILD)/libmodels.a: $(call objects,$(wildcard models/*.c models/*.cc))
$(BUILD)/libcommon.a $(BUILD)/libkernels.a $(BUILD)/libmodels.a:
	@mkdir -p $(@D)
	@rm -f $@ && ar rcs $@ $^

# What these leave undefined (err_set), the program gives.
$(BUILD)/lib/libatelier-cuda.so: $(CUDA_SRC:%.cu=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "link $@" && $(NVCC) -shared $(NVCC_ARCH) $^ -lcublasLt -Xlinker -rpath=$(abspath $(dir $(realpath $(NVCC)))../lib64) -o $@
$(EMULATOR_LIB): $(EMULATOR_OBJ)
	@mkdir -p $(@D)
	@echo "link $@" && $(CXX) $(CXXFLAGS) -shared $^ -o $@
$(EMULATOR_NCCL): tests/emulator/nccl.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) $(CFLAGS) -fPIC -shared -MMD -MP -MF $(@:.so=.d) $< -o $@

COMMON_LIBS = $(BUILD)/libcommon.a
KERNEL_LIBS = $(BUILD)/libkernels.a $(COMMON_LIBS)
MODEL_LIBS = $(BUILD)/libmodels.a $(KERNEL_LIBS)
# Libraries that a program loads report errors and take memory as it does.
LINK = @mkdir -p $(@D) && echo "link $@" && $(CC) $(CFLAGS) -Wl,--as-needed,--export-dynamic-symbol=err_set,--export-dynamic-symbol='x*alloc'

$(BUILD)/lib/libatelier-mpi.so: kernels/comm/comm_mpi.c
	@mkdir -p $(@D)
	@echo "mpicc $@" && mpicc $(CFLAGS) -fPIC -shared -MMD -MP -MF $(@:.so=.d) $< -o $@
$(BUILD)/lib/libatelier-nccl.so: kernels/comm/comm_nccl.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) $(CFLAGS) -isystem $(CUDA)/include -fPIC -shared -MMD -MP -MF $(@:.so=.d) $< -L$(CUDA)/lib64 -lnccl -lcudart \
		-Wl,-rpath,$(CUDA)/lib64 -o $@
comm: $(COMM)
	$(if $(findstring -mpi,$(COMM)),,@echo "no mpicc (libopenmpi-dev): built without training on several processes")

.SECONDEXPANSION:
$(STAGE_BINS): $(BUILD)/bin/atelier-%: $$(call objects,$$(call sources,$$*)) $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -o $@
$(PIPE_BINS): $(BUILD)/bin/atelier-%: $(BUILD)/pipelines/%_main.o $(call objects,$(call sources,pipelines)) $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -o $@
$(FRONT): $(BUILD)/pipelines/atelier_main.o
	$(LINK) $^ -o $@
$(TOOLS): $(BUILD)/bin/%: $(BUILD)/tests/golden/%_main.o $(call objects,$(call sources,tests/golden)) $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -o $@

# Tests. A layer's unit tests link that layer and those below, so a call upwards fails to link. tests/unit/STAGE/ links that stage without its main.
unit = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/$(1)/test_*.c))
# The emulator has guards of its own, and slows down under others.
UNIT_TESTS = $(foreach d,common kernels $(if $(filter 0,$(SANITIZE)),cuda) models pipelines $(STAGES),$(call unit,$(d)))
$(call unit,common): $(BUILD)/%: $(BUILD)/%.o $(COMMON_LIBS)
	$(LINK) $^ $(LIBS) -lcmocka -o $@
$(call unit,kernels): $(BUILD)/%: $(BUILD)/%.o $(KERNEL_LIBS)
	$(LINK) $^ $(LIBS) -lcmocka -o $@
CUDA_TEST_OBJ = $(patsubst %.cc,$(BUILD)/%.o,$(wildcard tests/unit/cuda/*.cc))
$(call unit,cuda): $(BUILD)/%: $(BUILD)/%.o $(CUDA_TEST_OBJ) $(EMULATOR_OBJ) $(KERNEL_LIBS)
	$(LINK) $^ $(LIBS) -lcmocka -o $@
$(call unit,models): $(BUILD)/%: $(BUILD)/%.o $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -lcmocka -o $@
STAGE_TESTS = $(foreach d,pipelines $(STAGES),$(call unit,$(d)))
# Apart from the rule, which would put its own stem in place of %.
stage_of = $(notdir $(patsubst %/,%,$(dir $(1))))
stage_objects = $(filter-out %/main.o,$(call objects,$(call sources,$(call stage_of,$(1)))))
$(STAGE_TESTS): $(BUILD)/%: $(BUILD)/%.o $$(call stage_objects,$$*) $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -lcmocka -o $@
# Benchmarks: tests/bench/bench_NAME.c over kernels and models, and scripts beside them that time a stage (and its peers, where they are installed).
BENCHES = $(patsubst tests/bench/bench_%.c,$(BUILD)/bin/bench-%,$(wildcard tests/bench/bench_*.c))
$(BENCHES): $(BUILD)/bin/bench-%: $(BUILD)/tests/bench/bench_%.o $(MODEL_LIBS)
	$(LINK) $^ $(LIBS) -lopenblas -o $@
TROUBLE = $(BUILD)/tests/fault/trouble
$(TROUBLE): $(BUILD)/tests/fault/trouble_main.o $(COMMON_LIBS)
	$(LINK) $^ $(LIBS) -o $@
NOMALLOC = $(BUILD)/tests/fault/nomalloc.so
$(NOMALLOC): tests/fault/nomalloc.c
	@mkdir -p $(@D)
	@echo "link $@" && $(CC) $(CFLAGS) -O1 -fno-builtin -fPIC -shared $< -o $@
# On a machine with a GPU, CUDA and a compiler, where nothing can be installed: the kernels' tests, golden vectors and benchmarks, with
# stand-ins (tests/gpu) for the libraries. tests/gpu/check.sh and bench.sh run them.
GPU_PARTS = $(patsubst %,$(BUILD)/%.o,common/err common/random common/file common/weights \
	$(basename $(wildcard models/prior*.c models/dvae*.c models/params.c models/optimizer.c models/transformer.c) $(filter-out models/clip_text.c,$(wildcard models/clip*.c)))) \
	$(BUILD)/gpu/common/mem.o $(BUILD)/gpu/common/image.o $(BUILD)/gpu/tests/gpu/alone.o $(BUILD)/libkernels.a
GPU_TESTS = $(patsubst %.c,$(BUILD)/gpu/%,$(wildcard tests/unit/cuda/test_cuda_*.c tests/gpu/test_*.c))
GPU_LINK = @mkdir -p $(@D) && echo "link $@" && $(CC) $(CFLAGS) -rdynamic $^ -lm -ldl -lpthread -o $@
$(BUILD)/gpu/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc $@" && $(CC) -Itests/gpu/include $(CFLAGS) -MMD -MP -c $< -o $@
$(GPU_TESTS): %: %.o $(BUILD)/gpu/tests/unit/cuda/on_gpu.o $(GPU_PARTS)
	$(GPU_LINK)
$(BUILD)/gpu/golden: $(patsubst %,$(BUILD)/tests/golden/%.o,golden_main golden golden_clip golden_container golden_dvae golden_prior) $(GPU_PARTS)
	$(GPU_LINK)
$(BUILD)/gpu/bench: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/gpu/bench*.c)) $(GPU_PARTS)
	$(GPU_LINK)
gpu-programs: $(GPU_TESTS) $(BUILD)/gpu/golden $(BUILD)/gpu/bench
gpu-check gpu-bench:
	@BUILD=$(BUILD) ./tests/gpu/$(@:gpu-%=%).sh
.SECONDARY:

tests: all $(UNIT_TESTS) $(TROUBLE) $(NOMALLOC) $(if $(filter 0,$(SANITIZE)),$(EMULATOR_LIB) $(EMULATOR_NCCL) gpu-programs)

# What a fresh Debian 12 lacks, for the program, its demo and its tests.
DEPS = gcc g++ libc6-dev libgomp1 make pkg-config libmsgpack-dev liblmdb-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libarchive-dev libjansson-dev \
	libpcre2-dev libutf8proc-dev zlib1g-dev libzmq3-dev libmicrohttpd-dev libpango1.0-dev libcld2-dev \
	fonts-noto-color-emoji unicode-data unicode-cldr-core libcmocka-dev procps valgrind python3-venv
DEPS_TEST = libopenmpi-dev openmpi-bin
DEPS_BENCH = libopenblas-pthread-dev
DEPS_FUZZ = clang libclang-rt-dev
DEPS_LINT = clang-format clang-tidy cppcheck
deps:
	@./tests/deps.sh $(DEPS)

# Targets that need packages make themselves again behind deps, so that pkg-config finds what was just installed.
demo demo-full: deps
	@$(MAKE) --no-print-directory -s -j2 all
	@./pipelines/demo.sh $@

check:
	@./tests/deps.sh $(DEPS) $(DEPS_TEST)
	@$(MAKE) --no-print-directory -s -j2 tests
	@$(MAKE) --no-print-directory -s -j2 tests SANITIZE=1
	@./tests/run.sh

bench:
	@./tests/deps.sh $(DEPS) $(DEPS_BENCH)
	@$(MAKE) --no-print-directory -s -j2 all benches
	$(BUILD)/bin/bench-kernels
	@for b in tests/bench/bench_*.sh; do $$b || exit 1; done
benches: $(BENCHES)

# Fuzzing, with clang: each tests/fuzz/fuzz_NAME.c for FUZZ_SECONDS, from its seeds and what earlier runs found on. -j2 runs two at once.
FUZZ_SECONDS ?= 60
FUZZ_SEEDS_safetensors = tests/golden/vectors
FUZZ_SEEDS_torch = tests/golden/vectors
FUZZ_SEEDS_bpe = tests/fuzz/seeds/bpe
FUZZ_SEEDS_filter = tests/fuzz/seeds/filter
FUZZ_SEEDS_image = tests/fuzz/seeds/image
FUZZERS = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJ = $(addprefix $(BUILD)/fuzz/,$(filter-out filter/main.o,$(patsubst %.cc,%.o,$(patsubst %.c,%.o,\
	$(wildcard common/*.c models/*.c filter/*.c filter/*.cc) pipelines/run_plan.c pipelines/run_identity.c pipelines/metrics.c trainer/settings.c trainer/state.c trainer/sheet.c))))
FUZZ_FLAGS = -std=gnu11 -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -D_GNU_SOURCE -I. $(PKG_CFLAGS) \
	-idirafter $(shell $(CC) -print-file-name=include)
$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	@echo "clang $@" && clang $(FUZZ_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/%.o: %.cc
	@mkdir -p $(@D)
	@echo "clang++ $@" && clang++ $(filter-out -std=gnu11,$(FUZZ_FLAGS)) -MMD -MP -c $< -o $@
$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/tests/fuzz/%.o $(FUZZ_OBJ) $(BUILD)/libkernels.a
	@echo "link $@" && clang -fsanitize=fuzzer,address,undefined $^ $(LIBS) $(shell $(CC) -print-file-name=libgomp.so) -o $@
$(FUZZERS:%=%.run): %.run: % $(BUILD)/fuzz/seeds
	@mkdir -p $*.found
	@$(abspath $*) -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -verbosity=0 -print_final_stats=1 -artifact_prefix=$(abspath $*). \
		$(abspath $*.found $(wildcard $(FUZZ_SEEDS_$(*F:fuzz_%=%)) $(BUILD)/fuzz/seeds/$(*F:fuzz_%=%))) </dev/null >$*.log 2>&1 || \
		{ tail -n 60 $*.log; exit 1; }
	@echo "$(*F): $$(awk '/number_of_executed/ { print $$2 }' $*.log) inputs"
$(BUILD)/fuzz/seeds: tests/fuzz/seeds.sh | all
	@./tests/fuzz/seeds.sh $@ $(BUILD)/bin
fuzz: deps
	@./tests/deps.sh $(DEPS_FUZZ)
	@$(MAKE) --no-print-directory -s all
	@$(MAKE) --no-print-directory fuzzers
fuzzers: $(FUZZERS:%=%.run)

# The long lists of faults: most of an hour.
fault: deps
	@$(MAKE) --no-print-directory -s -j2 all $(TROUBLE) $(NOMALLOC) $(BUILD)/tests/unit/common/test_link_relay
	@./tests/fault/run.sh long

SOURCES = $(shell git ls-files '*.c' '*.cc' '*.h')
# The device's C++ and its emulator, which the analysers do not know: nvcc and g++ read them with all warnings on.
DEVICE_SOURCES = kernels/cuda/% tests/emulator/% tests/unit/cuda/%.cc tests/unit/cuda/faults.h
lint:
	@./tests/deps.sh $(DEPS) $(DEPS_TEST) $(DEPS_LINT)
	clang-format --dry-run --Werror $(SOURCES) $(CUDA_SRC)
	cppcheck -q -j2 --enable=warning,portability,performance --inline-suppr --suppress=missingInclude --suppress=unknownMacro --error-exitcode=1 -I. -DISA=avx2 $(filter-out $(DEVICE_SOURCES),$(SOURCES))
	@$(MAKE) --no-print-directory tidy

TIDY = $(patsubst %,$(BUILD)/tidy/%.ok,$(filter-out $(DEVICE_SOURCES) $(if $(wildcard $(CUDA)/include/nccl.h),,%_nccl.c),$(filter %.c %.cc,$(SOURCES))))
TIDY_FLAGS = -D_GNU_SOURCE -DISA=avx2 -march=x86-64-v3 -I. $(PKG_CFLAGS) $(shell pkg-config --cflags ompi-c) -isystem $(CUDA)/include
tidy: $(TIDY)
$(BUILD)/tidy/%.c.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- -std=gnu11 $(TIDY_FLAGS)
	@$(CC) -std=gnu11 $(TIDY_FLAGS) -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	@touch $@
$(BUILD)/tidy/%.cc.ok: %.cc .clang-tidy
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- -std=gnu++17 $(TIDY_FLAGS)
	@$(CC) -std=gnu++17 $(TIDY_FLAGS) -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	@touch $@

PREFIX ?= /usr/local
install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install $(FRONT) $(STAGE_BINS) $(PIPE_BINS) $(DESTDIR)$(PREFIX)/bin
	$(if $(CUDA_LIB),install -D -t $(DESTDIR)$(PREFIX)/lib $(CUDA_LIB))
	$(if $(COMM),install -D -t $(DESTDIR)$(PREFIX)/lib $(COMM))

.PHONY: all fuzzers cuda gpu-check gpu-bench gpu-programs comm tests fault benches deps demo demo-full check bench fuzz lint tidy install clean
clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
