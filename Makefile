# Alpaca: `make help` lists the targets.
#
#   make                     the release binaries in build/release/
#   make CONFIG=asan         the same with AddressSanitizer and UBSan, in build/asan/
#   make CUDA=1 BUILD=build/cuda   with training on an NVIDIA card (train/cuda/)
#
# Every .c file of a room is compiled; main.c of a room becomes its binary, and
# tests/NAME_test.c becomes build/<config>/tests/NAME_test.

CONFIG ?= release
BUILD  ?= build
OUT    := $(BUILD)/$(CONFIG)
PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= /usr/bin/python3

CC ?= cc
EMCC ?= emcc
PKG_CONFIG ?= pkg-config
TARGET := $(shell $(CC) -dumpmachine)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
            -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla
# -ffp-contract=off: a fused multiply-add rounds differently, so results would depend on the CPU.
ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE \
             -I. -I$(OUT)/generated $(THREADS) -ffp-contract=off -fno-math-errno \
             $(WARNINGS) $(CONFIG_CFLAGS) $(DEPENDENCY_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(THREADS) $(CONFIG_LDFLAGS) $(LDFLAGS)

THREADS := -pthread
ifeq ($(CONFIG),release)
CONFIG_CFLAGS := -O3 -g -fno-semantic-interposition
else ifeq ($(CONFIG),debug)
CONFIG_CFLAGS := -O0 -g3
else ifeq ($(CONFIG),asan)
CONFIG_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
                 -fno-sanitize-recover=all
CONFIG_LDFLAGS := -fsanitize=address,undefined
else ifeq ($(CONFIG),tsan)
CONFIG_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CONFIG_LDFLAGS := -fsanitize=thread
else ifeq ($(CONFIG),fuzz) # for `make fuzz`; clang only
CONFIG_CFLAGS := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
                 -fsanitize=fuzzer-no-link,address,undefined
CONFIG_LDFLAGS := -fsanitize=address,undefined
else ifeq ($(CONFIG),wasm) # for `make web`; emcc only. Plain hosts share no memory: no threads
THREADS :=
CONFIG_CFLAGS := -O3 -msimd128
CONFIG_LDFLAGS := -O3 --no-entry -sSTANDALONE_WASM -sALLOW_MEMORY_GROWTH -sINITIAL_MEMORY=64MB
else
$(error CONFIG is release, debug, asan or tsan, not "$(CONFIG)")
endif
# WERROR=1 turns warnings into errors; CI sets it, users' newer compilers do not trip over it.
ifeq ($(WERROR),1)
CONFIG_CFLAGS += -Werror
endif

# CUDA=1: `--device cuda`, compiled by nvcc for these compute capabilities; the last one's PTX
# serves newer cards. Without it no file of train/cuda/ is looked at, but for tests (EMULATED).
ifeq ($(CUDA),1)
NVCC ?= $(or $(shell command -v nvcc),/usr/local/cuda/bin/nvcc)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(NVCC))
CUDA_ARCH ?= 90
CUDA_FLAGS = -std=c++17 -O3 -I. -DALPACA_CUDA $(if $(filter 1,$(WERROR)),-Werror all-warnings) \
             -Xcompiler -Wall,-Wextra \
             $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a,code=sm_$a) \
             -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
TRAIN_LIBS += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart_static \
             -lstdc++ -ldl -lrt
CONFIG_CFLAGS += -DALPACA_CUDA
ifeq ($(filter release debug,$(CONFIG)),)
$(error CUDA=1 goes with CONFIG release or debug, not "$(CONFIG)")
endif
endif

DEPENDENCY_CFLAGS := $(shell $(PKG_CONFIG) --cflags openblas libcjson 2>/dev/null)
ENGINE_LIBS := $(shell $(PKG_CONFIG) --libs openblas libcjson 2>/dev/null || \
                       echo -lopenblas -lcjson) -lm
HTTP_CFLAGS := $(shell $(PKG_CONFIG) --cflags libmicrohttpd 2>/dev/null)
HTTP_LIBS   := $(shell $(PKG_CONFIG) --libs libmicrohttpd 2>/dev/null || echo -lmicrohttpd)
# MPI=1 lets several processes train together (train/ranks.h); nothing else knows of MPI.
ifeq ($(MPI),1)
CFLAGS_train/ranks_mpi := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags ompi-c))
TRAIN_LIBS += $(shell $(PKG_CONFIG) --libs ompi-c)
endif
CMOCKA_CFLAGS := $(shell $(PKG_CONFIG) --cflags cmocka 2>/dev/null)
CMOCKA_LIBS   := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null || echo -lcmocka)

# ---- sources, by room -------------------------------------------------------
# Folders of the rooms; a room's main.c becomes its binary.
sources = $(filter-out %/main.c,$(wildcard $(addsuffix /*.c,$(1))))
CORE_SOURCES   := $(call sources,base tokenizer model model/kernels engine)
TRAIN_SOURCES  := $(filter-out train/ranks_$(if $(filter 1,$(MPI)),alone,mpi).c, \
                    $(call sources,train train/data train/grad train/optim))
CARD_SOURCES   := $(wildcard train/cuda/*.cu)
SERVER_SOURCES := $(call sources,server server/http server/api)
EVALUATION_SOURCES := $(call sources,evaluation)
BENCH_SOURCES  := $(filter-out bench/main.c bench/onednn.c,$(wildcard bench/*.c))
EMBEDDED_FILES := $(wildcard public/*) server/api/openapi.json
TEST_SOURCES   := $(wildcard tests/*_test.c)
ifneq (,$(findstring darwin,$(TARGET))) # its linker has no --wrap
TEST_SOURCES   := $(filter-out tests/torture_test.c tests/locks_test.c,$(TEST_SOURCES))
endif
SUPPORT_SOURCES := $(wildcard tests/support/*.c)
FUZZ_TARGETS   := $(patsubst tests/fuzz/target_%.c,%,$(wildcard tests/fuzz/target_*.c))

objects = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
CARD_OBJECTS := $(if $(filter 1,$(CUDA)),$(CARD_SOURCES:%.cu=$(OUT)/obj/%.o))
PAGE_OBJECTS := $(OUT)/obj/generated/pages_data.o

CORE   := $(OUT)/libalpaca.a
TRAIN  := $(OUT)/libtrain.a
SERVER := $(OUT)/libserver.a
EVALUATION := $(OUT)/libevaluation.a
SUPPORT := $(if $(SUPPORT_SOURCES),$(OUT)/libsupport.a)

BINARIES := $(addprefix $(OUT)/,alpaca-server alpaca-train alpaca-tokenizer alpaca-bench \
                                alpaca-tell alpaca-eval)
# LDFLAGS_NAME is for that program alone: this one takes our own code's requests for memory through
# tests/support/faults.c.
LDFLAGS_torture_test := $(foreach f,malloc calloc realloc aligned_alloc strdup free mmap munmap \
                          fopen fclose pthread_create,-Wl,--wrap=$(f))
LDFLAGS_json_failure_test := -Wl,--wrap=cJSON_ParseWithLength,--wrap=cJSON_ParseWithLengthOpts
LDFLAGS_locks_test   := -Wl,--wrap=pthread_mutex_lock,--wrap=request_emit
FUZZERS  := $(addprefix $(OUT)/fuzz/,$(FUZZ_TARGETS))
FUZZ_ENTRIES := $(FUZZ_TARGETS:%=$(OUT)/obj/tests/fuzz/entry_%.o)
FUZZ_OBJECTS := $(OUT)/obj/tests/fuzz/fuzz.o $(FUZZ_TARGETS:%=$(OUT)/obj/tests/fuzz/target_%.o)
TESTS    := $(patsubst tests/%.c,$(OUT)/tests/%,$(TEST_SOURCES)) $(OUT)/tests/parity
# The kernels for cards, compiled for the CPU: what they compute is tested everywhere. Its threads
# switch stacks, which sanitizers do not follow.
EMULATED := $(if $(filter release debug,$(CONFIG)),$(if $(shell command -v $(CXX)),\
              $(addprefix $(OUT)/tests/cuda_emulation_,test parity)))
TESTS    += $(EMULATED) $(if $(filter 1,$(CUDA)),$(OUT)/tests/cuda/device_check)

.PHONY: all tests test bench-onednn bench-llama-cpp fuzz fuzzers soak web help install clean
.DELETE_ON_ERROR:
all: $(BINARIES) ## build the binaries (default)
tests: all $(TESTS) ## build the tests, parity among them

help: ## this list
	@echo "Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14 | \
	sed 's/^/  make /'
	@echo "Variables: CONFIG=release|debug|asan|tsan, CC, CFLAGS, MPI=1, CUDA=1, WERROR=1, V=1," \
	      "PREFIX, DESTDIR"

# What is being done in a word; V=1 shows the commands themselves.
ifneq ($(V),1)
Q := @
SAY = @echo "  $(1)  $(patsubst $(OUT)/%,%,$@)"
endif

# ---- libraries and binaries -------------------------------------------------
$(CORE):   $(call objects,$(CORE_SOURCES))
$(TRAIN):  $(call objects,$(TRAIN_SOURCES)) $(CARD_OBJECTS)
$(SERVER): $(call objects,$(SERVER_SOURCES)) $(PAGE_OBJECTS)
$(EVALUATION): $(call objects,$(EVALUATION_SOURCES))
$(OUT)/libsupport.a: $(call objects,$(SUPPORT_SOURCES))
$(OUT)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

define LINK
$(call SAY,LD)
$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS_$(@F)) -o $@ $(filter %.o %.a,$^) $(1)
endef

$(OUT)/alpaca-server: $(OUT)/obj/server/main.o $(SERVER) $(CORE)
	$(call LINK,$(HTTP_LIBS) $(ENGINE_LIBS))
$(OUT)/alpaca-train: $(OUT)/obj/train/main.o $(TRAIN) $(CORE)
	$(call LINK,$(TRAIN_LIBS) $(ENGINE_LIBS))
$(OUT)/alpaca-tokenizer: $(OUT)/obj/tokenizer/main.o $(CORE)
	$(call LINK,$(ENGINE_LIBS))
$(OUT)/alpaca-bench: $(OUT)/obj/bench/main.o $(call objects,$(BENCH_SOURCES)) $(TRAIN) $(CORE)
	$(call LINK,$(TRAIN_LIBS) $(ENGINE_LIBS))
$(OUT)/alpaca-tell: $(OUT)/obj/cli/main.o $(CORE)
	$(call LINK,$(ENGINE_LIBS))

$(OUT)/alpaca-eval: $(OUT)/obj/evaluation/main.o $(EVALUATION) $(TRAIN) $(CORE)
	$(call LINK,$(ENGINE_LIBS))

$(OUT)/tests/parity: $(OUT)/obj/tests/parity.o $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(TRAIN_LIBS) $(ENGINE_LIBS))
$(OUT)/tests/%_test: $(OUT)/obj/tests/%_test.o $(SUPPORT) $(EVALUATION) $(SERVER) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(CMOCKA_LIBS) $(HTTP_LIBS) $(TRAIN_LIBS) $(ENGINE_LIBS))
# The same test with a card and in emulation.
$(OUT)/tests/cuda/device_check: $(OUT)/obj/tests/cuda/cuda_device_test.o \
                                $(OUT)/obj/tests/cuda/attention_check.o $(SUPPORT) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(CMOCKA_LIBS) $(TRAIN_LIBS) $(ENGINE_LIBS))
emulated = $(patsubst %,$(OUT)/obj/emulated/%.o,$(basename $(CARD_SOURCES)) train/device $(1))
$(OUT)/tests/cuda_emulation_test: $(call emulated,tests/cuda/cuda_device_test \
                                    tests/cuda/attention_check) $(SUPPORT) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(CMOCKA_LIBS) $(TRAIN_LIBS) $(ENGINE_LIBS) -lstdc++)
$(OUT)/tests/cuda_emulation_parity: $(OUT)/obj/tests/parity.o $(emulated) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(TRAIN_LIBS) $(ENGINE_LIBS) -lstdc++)
$(OUT)/tests/fuzz_corpus_test: $(OUT)/obj/tests/fuzz_corpus_test.o $(FUZZ_OBJECTS) $(SUPPORT) \
                               $(SERVER) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,$(CMOCKA_LIBS) $(HTTP_LIBS) $(TRAIN_LIBS) $(ENGINE_LIBS))
$(OUT)/fuzz/%: $(OUT)/obj/tests/fuzz/entry_%.o $(FUZZ_OBJECTS) $(SUPPORT) $(SERVER) $(TRAIN) $(CORE)
	@mkdir -p $(@D)
	$(call LINK,-fsanitize=fuzzer $(CMOCKA_LIBS) $(HTTP_LIBS) $(TRAIN_LIBS) $(ENGINE_LIBS))

# ---- objects ----------------------------------------------------------------
# CFLAGS_PATH is for that file alone. These are the only files that may use a CPU's extra
# instructions; dispatch.c calls them after asking the CPU.
ifneq (,$(filter x86_64% i686%,$(TARGET)))
AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl
CFLAGS_model/kernels/avx2        := -mavx2 -mfma
CFLAGS_model/kernels/avx512      := $(AVX512) -mfma
CFLAGS_model/kernels/bf16_avx512 := $(AVX512) -mavx512bf16
CFLAGS_model/kernels/int8_amx    := -mavx512f -mamx-tile -mamx-int8
CFLAGS_model/kernels/int8_avx2   := -mavx2
CFLAGS_model/kernels/int8_vnni   := -mavx512f -mavx512vnni
endif
$(OUT)/obj/server/%.o $(OUT)/obj/generated/%.o: DEPENDENCY_CFLAGS += $(HTTP_CFLAGS)
$(OUT)/obj/tests/%.o: DEPENDENCY_CFLAGS += $(CMOCKA_CFLAGS) $(HTTP_CFLAGS)

define COMPILE
@mkdir -p $(@D)
$(call SAY,CC)
$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS_$*) $(1) -MMD -MP -c -o $@ $<
endef

$(OUT)/obj/%.o: %.c $(OUT)/compiling
	$(call COMPILE)

# nvcc knows `-MMD`; the `.d` file that it writes lies beside the object.
$(OUT)/obj/%.o: %.cu $(OUT)/compiling
	@mkdir -p $(@D)
	$(call SAY,NVCC)
	$(Q)$(NVCC) $(CUDA_FLAGS) -MMD -MP -c -o $@ $<

EMULATION_CXXFLAGS = -std=c++17 -O2 -g -Itests/cuda/emulation -I. -ffp-contract=off -Wall -Wextra \
                     -Wno-unknown-pragmas $(if $(filter 1,$(WERROR)),-Werror)
$(OUT)/obj/emulated/%.o: %.cu $(OUT)/compiling
	@mkdir -p $(@D)
	$(call SAY,CXX)
	$(Q)$(CXX) $(EMULATION_CXXFLAGS) -MMD -MP -x c++ -c -o $@ $<
$(OUT)/obj/emulated/%.o: %.c $(OUT)/compiling
	$(call COMPILE,-DALPACA_CUDA)

$(FUZZ_ENTRIES): $(OUT)/obj/tests/fuzz/entry_%.o: tests/fuzz/entry.c $(OUT)/compiling
	$(call COMPILE,-DFUZZ_TARGET=fuzz_$*)

# How this build compiles and how it links, each in a file that changes when that does: whatever
# depends on it is then made again. The texts are expanded here and not in the recipe, where they
# would hold the flags of whichever target asked first.
COMPILING := $(CC) $(ALL_CFLAGS) $(CXX) $(EMULATION_CXXFLAGS) $(NVCC) $(CUDA_FLAGS) \
             $(HTTP_CFLAGS) $(CMOCKA_CFLAGS) \
             $(foreach v,$(sort $(filter CFLAGS_%,$(.VARIABLES))),$(v)=$($(v)))
LINKING   := $(CC) $(ALL_LDFLAGS) $(TRAIN_LIBS) $(ENGINE_LIBS) $(HTTP_LIBS) $(CMOCKA_LIBS) \
             $(foreach v,$(sort $(filter LDFLAGS_%,$(.VARIABLES))),$(v)=$($(v))) \
             $(CORE_SOURCES) $(TRAIN_SOURCES) $(CARD_OBJECTS) $(SERVER_SOURCES) \
             $(EVALUATION_SOURCES) $(BENCH_SOURCES) $(SUPPORT_SOURCES)
$(OUT)/compiling: TEXT := $(COMPILING)
$(OUT)/linking: TEXT := $(LINKING)
$(OUT)/compiling $(OUT)/linking: FORCE
	@mkdir -p $(@D)
	@echo '$(TEXT)' | cmp -s - $@ || echo '$(TEXT)' > $@
$(CORE) $(TRAIN) $(SERVER) $(EVALUATION) $(SUPPORT) $(BINARIES) $(TESTS) $(FUZZERS) \
$(addprefix $(OUT)/bench-,onednn llama-cpp): $(OUT)/linking
.PHONY: FORCE

# The page and the API's description are compiled in, so that no request path reaches the disk.
$(OUT)/generated/pages_data.c: $(EMBEDDED_FILES)
	@mkdir -p $(@D)
	$(call SAY,GEN)
	$(Q)sh public/embed.sh $(filter-out %.sh,$(EMBEDDED_FILES)) > $@
$(OUT)/obj/generated/pages_data.o: $(OUT)/generated/pages_data.c $(OUT)/compiling
	$(call COMPILE)

# ---- tests, installation ----------------------------------------------------
test: tests $(if $(shell command -v $(EMCC)),web) ## every test: C, parity, Python, browser, clients
	tests/run.sh $(OUT)

# `make fuzz SECONDS=3600 FUZZ=request` looks longer, and at one target only.
SECONDS ?= 60
FUZZ    ?= $(FUZZ_TARGETS)
FUZZ_CC ?= clang
fuzz: ## SECONDS=60 for each fuzz target: look for inputs that break what reads them
	$(MAKE) CONFIG=fuzz CC=$(FUZZ_CC) fuzzers
	tests/fuzz/run.sh $(BUILD)/fuzz $(SECONDS) $(FUZZ)
fuzzers: $(FUZZERS)
soak: all ## SECONDS=60 of requests of every kind, polite and rude, against a real server
	ALPACA_SOAK_SECONDS=$(SECONDS) ALPACA_BIN=$(abspath $(OUT)) \
	$(PYTHON) -m pytest -q -s -p no:cacheprovider tests/http/test_soak.py

bench-onednn: $(OUT)/bench-onednn ## compare our products with oneDNN's, where that is installed
$(OUT)/bench-onednn: $(OUT)/obj/bench/onednn.o $(OUT)/obj/bench/bench_command.o $(CORE)
	$(call LINK,$(ENGINE_LIBS) -ldnnl -lgomp)

# A folder with include/ and lib/: bench/llama_cpp/get.sh or llama.cpp's `cmake --install` fills it.
LLAMA_CPP ?= $(BUILD)/llama.cpp
LLAMA_LIBS = -L$(LLAMA_CPP)/lib -Wl,-rpath,$(abspath $(LLAMA_CPP)/lib) -lllama -lggml -lggml-base
LLAMA_SOURCES := $(wildcard bench/llama_cpp/*.c) \
                 $(addprefix bench/,bench_command.c bench_model.c load.c load_generator.c)
bench-llama-cpp: $(OUT)/bench-llama-cpp ## LLAMA_CPP=build/llama.cpp: compare with llama.cpp there
$(OUT)/obj/bench/llama_cpp/%.o: DEPENDENCY_CFLAGS += \
    -isystem $(LLAMA_CPP)/include -DLLAMA_LIBRARIES='"$(abspath $(LLAMA_CPP)/lib)"'
$(OUT)/bench-llama-cpp: $(call objects,$(LLAMA_SOURCES)) $(CORE)
	$(call LINK,$(ENGINE_LIBS) $(LLAMA_LIBS))

# The engine without what reads model folders and JSON, and without OpenBLAS: it opens a packed
# model. engine_open(), which nothing calls, is left out by the linker.
WEB_SOURCES := $(filter-out model/blas.c model/weights.c model/safetensors_%.c,$(CORE_SOURCES)) \
               $(call sources,web)
WEB_FILES   := $(filter-out %.sh,$(wildcard public/*))
WEB_MODEL   ?= weights/alpaca
$(OUT)/alpaca.wasm: $(call objects,$(WEB_SOURCES))
	$(call LINK)
$(OUT)/alpaca-pack: $(OUT)/obj/web/main.o $(CORE)
	$(call LINK,$(ENGINE_LIBS))
web: ## WEB_MODEL=weights/alpaca: a page that needs no server, in build/web (Emscripten)
	@command -v $(EMCC) >/dev/null || \
	{ echo "make web needs Emscripten (Debian: apt-get install emscripten); there is no $(EMCC)" >&2; \
	  exit 1; }
	$(MAKE) CONFIG=wasm CC=$(EMCC) AR=emar PKG_CONFIG=false $(BUILD)/wasm/alpaca.wasm
	$(MAKE) $(OUT)/alpaca-pack
	rm -rf $(BUILD)/web
	$(OUT)/alpaca-pack --model $(WEB_MODEL) --out $(BUILD)/web/web
	cp $(BUILD)/wasm/alpaca.wasm $(BUILD)/web/web/
	cp $(WEB_FILES) $(BUILD)/web/

install: all ## copy binaries, weights and the systemd unit under DESTDIR/PREFIX
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/alpaca/weights"
	install -m 755 $(BINARIES) "$(DESTDIR)$(PREFIX)/bin"
	cp -R weights/. "$(DESTDIR)$(PREFIX)/share/alpaca/weights/"
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	sed 's|@PREFIX@|$(PREFIX)|' deploy/alpaca.service \
	    > "$(DESTDIR)$(PREFIX)/lib/systemd/system/alpaca.service"

clean: ## remove the build folder
	rm -rf $(BUILD)

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)
