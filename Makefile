# SPDX-License-Identifier: MIT
# newsreader: `make` builds the library, the command and the tools; `make list` names the rest.
#
# BUILD chooses a folder under build/ and its flags; each has its own objects:
#   release  what people run           asan   AddressSanitizer + UBSan (the tests, fuzz replay)
#   ubsan    UBSan alone               tsan   ThreadSanitizer
#   fuzz     clang, libFuzzer          neon   aarch64 kernels and their tests, for qemu-user
# V=1 shows whole command lines. CI=1 makes warnings errors.

BUILD ?= release
ARCH := $(if $(filter neon,$(BUILD)),aarch64,$(shell uname -m))
OUT := build/$(BUILD)
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# In parallel unless -j was given; submakes share the job server.
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(JOBS)
endif
MAKEFLAGS += --no-print-directory

ifeq ($(origin CC),default)
CC := cc
endif
ifeq ($(BUILD),neon)
CC := $(if $(filter aarch64,$(shell uname -m)),cc,aarch64-linux-gnu-gcc)
endif
ifeq ($(BUILD),fuzz)
CC := clang
endif

# ---- what `make run` reads -------------------------------------------------------------------
RUN_PICTURES ?= $(wildcard samples/*.png)
RUN_COMMAND ?= build/release/newsreader read $(RUN_PICTURES)

# ---- flags -----------------------------------------------------------------------------------
SERVER_PKGS := $(if $(filter neon,$(BUILD)),,libevent_core libseccomp)
PKGS := $(if $(filter neon,$(BUILD)),,jansson libjpeg libpng libwebp libwebpdemux libpcre2-8 nettle)
SERVER_LIBS := $(if $(SERVER_PKGS),$(shell pkg-config --libs $(SERVER_PKGS) 2>/dev/null))
PKG_LIBS := $(if $(PKGS),$(shell pkg-config --libs $(PKGS) 2>/dev/null) -lgif -lunistring)
INCLUDES := -Iinclude -Iserver $(addprefix -I,$(shell find src -type d))
WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla $(if $(CI),-Werror)

SANE := -fno-sanitize-recover=all -fno-omit-frame-pointer $(if $(filter fuzz,$(BUILD)),,-fno-var-tracking-assignments)
OPT_release := -O2 -g
OPT_neon := -O2 -g
OPT_asan := -O1 -g -fsanitize=address,undefined $(SANE)
OPT_ubsan := -O1 -g -fsanitize=undefined $(SANE)
OPT_tsan := -O1 -g -fsanitize=thread $(SANE)
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined $(SANE)
OPT := $(OPT_$(BUILD))

# -ffp-contract=off: a product and a sum are never fused behind our back; results stay equal
# between compilers and instruction sets.
CFLAGS_ALL = -std=c11 $(OPT) $(WARN) -ffp-contract=off -fvisibility=hidden -fPIC -MMD -MP -pthread \
             $(INCLUDES) $(PKG_CFLAGS) $(CFLAGS)
PKG_CFLAGS := $(if $(PKGS),$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
LDLIBS_ALL = $(if $(filter neon,$(BUILD)),-static) $(LDFLAGS) $(PKG_LIBS) $(CUDA_LIBS) -lm -pthread

# Kernels of one instruction set: the only files compiled with its flags. FOLDER_FLAGS of a folder
# come after the general ones (-O3 where the compiler unrolls usefully).
ISA_avx2 := -mavx2 -mfma -mf16c
ISA_avx512vnni := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c \
                  -mprefer-vector-width=512
ISA_amx := $(ISA_avx512vnni) -mamx-tile -mamx-int8
ISA_neon := -march=armv8.2-a+dotprod
ISA_scalar :=
ISA_ALL := scalar avx2 avx512vnni amx neon
ISA_x86_64 := scalar avx2 avx512vnni amx
ISA_aarch64 := scalar neon
ISA_HERE := $(or $(ISA_$(ARCH)),scalar)
isa_of = $(filter $(ISA_ALL),$(subst /, ,$(patsubst src/backends/cpu/%,%,$(dir $(1)))))
isa_flags = $(if $(findstring src/backends/cpu/,$(1)),$(foreach i,$(call isa_of,$(1)),$(ISA_$(i))))

# CUDA, where nvcc 12 or later is found; CUDA=0 leaves it out. Its kernels are the same for every
# BUILD and compiled once: code for each card from Ampere on, and PTX for those to come. The runtime
# is linked statically and looks for the driver when it is asked for a card.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
NVCC_MAJOR := $(if $(NVCC),$(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\).*/\1/p'))
CUDA ?= $(if $(and $(NVCC_MAJOR),$(filter-out neon fuzz,$(BUILD)),$(filter-out 8 9 10 11,$(NVCC_MAJOR))),1,0)
comma := ,
ifneq ($(CUDA),0)
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
CUDA_LIBS := -L$(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib /usr/lib/x86_64-linux-gnu)) \
             -lcudart_static -ldl -lrt
CUDA_CARDS ?= 80 86 89 90a
CUDA_CODE := $(foreach c,$(CUDA_CARDS),-gencode arch=compute_$(c),code=sm_$(c)) \
             $(if $(filter 80,$(CUDA_CARDS)),-gencode arch=compute_80$(comma)code=compute_80)
CUDA_SRC := $(sort $(wildcard src/backends/cuda/*.cu))
CUDA_OUT := build/cuda$(if $(filter-out 80 86 89 90a,$(CUDA_CARDS))$(filter-out 4,$(words $(CUDA_CARDS))),-$(subst $() ,-,$(strip $(CUDA_CARDS))))
CUDA_OBJ := $(CUDA_SRC:%.cu=$(CUDA_OUT)/%.o)
NVCCFLAGS_ALL = -std=c++17 -O3 --fmad=false $(CUDA_CODE) $(INCLUDES) $(NVCCFLAGS) \
                -Xcompiler -fPIC,-fvisibility=hidden,-ffp-contract=off,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics \
                -Xcompiler -Wall,-Wextra$(if $(CI),$(comma)-Werror)
endif

# ---- what is built ---------------------------------------------------------------------------
LIB_DIRS := $(if $(filter neon,$(BUILD)),$(wildcard src/base src/tensor src/backends),src)
LIB_SRC := $(filter-out $(foreach i,$(filter-out $(ISA_HERE),$(ISA_ALL)),src/backends/cpu/$(i)/%) \
             $(if $(filter 0,$(CUDA)),src/backends/cuda/%,src/backends/no_cuda.c),\
             $(sort $(shell find $(LIB_DIRS) -name '*.c')))
LIB := $(OUT)/libnewsreader.a
CLI_SRC := $(if $(filter neon,$(BUILD)),,$(wildcard cli/*.c))
SERVER_SRC := $(if $(filter neon,$(BUILD)),,$(wildcard server/*.c))
SERVER_OBJ := $(patsubst %.c,$(OUT)/%.o,$(SERVER_SRC)) $(if $(SERVER_SRC),$(OUT)/server/web_embed.o)
TOOLS := $(if $(filter neon,$(BUILD)),,$(patsubst tools/%.c,$(OUT)/tools/%,$(wildcard tools/*.c)))
TEST_DIRS := $(wildcard $(if $(filter neon,$(BUILD)),tests/ops,tests))
TEST_SRC := $(sort $(if $(TEST_DIRS),$(shell find $(TEST_DIRS) -name 'test_*.c')))
TESTS := $(TEST_SRC:%.c=$(OUT)/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZERS := $(FUZZ_SRC:%.c=$(OUT)/%)
LAB := $(if $(wildcard bench/kernels/kernel_lab.c),$(OUT)/bench/kernels/kernel_lab)
COMMAND := $(if $(CLI_SRC),$(OUT)/newsreader)
RUNNER := build/release/run_tests

say = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(2)' && )
objects = $(patsubst %.c,$(OUT)/%.o,$(1))

.PHONY: all lib tests fuzzers fuzz-replay list run test test-build test-full test-neon test-gpu \
        asan ubsan tsan fuzz check bench bench-peers install clean
all: $(LIB) $(COMMAND) $(TOOLS)  ## library, command and tools in build/release (the default)
lib: $(LIB)                      ## the library alone
tests: $(TESTS) all              ## the test programs of BUILD
fuzzers: $(FUZZERS)              ## the fuzz targets of BUILD (asan: corpus replay; fuzz: libFuzzer)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS_ALL) $(call isa_flags,$<) -c $< -o $@

$(OUT)/src/engine/self_test.o: src/engine/self_test_page.png

# -isystem: the toolkit's headers are not held to our warnings.
ifneq ($(CUDA),0)
$(OUT)/src/backends/cuda/%.o $(OUT)/tests/gpu/%.o: PKG_CFLAGS += -isystem $(CUDA_HOME)/include
endif

$(CUDA_OUT)/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC,$<)$(NVCC) $(NVCCFLAGS_ALL) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(LIB): $(call objects,$(LIB_SRC)) $(CUDA_OBJ)
	@rm -f $@
	$(call say,AR,$@)ar rcs $@ $^

$(OUT)/newsreader: $(call objects,$(CLI_SRC)) $(SERVER_OBJ) $(LIB)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(SERVER_LIBS) $(LDLIBS_ALL)

# The files of the web page, as a table in C.
WEB := web/index.html=/ web/app.js web/style.css web/schemas.json
$(OUT)/server/web_embed.c: $(OUT)/tools/embed $(foreach f,$(WEB),$(firstword $(subst =, ,$(f))))
	@mkdir -p $(@D)
	$(call say,EMBED,$@)$< $(WEB) > $@.part && mv $@.part $@
$(OUT)/server/web_embed.o: $(OUT)/server/web_embed.c
	$(call say,CC,$<)$(CC) $(CFLAGS_ALL) -c $< -o $@

# A tool may have helpers in tools/checkpoint/.
$(OUT)/tools/make_checkpoint: $(call objects,$(wildcard tools/checkpoint/*.c))
$(OUT)/tools/%: $(OUT)/tools/%.o $(LIB)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL)

$(OUT)/bench/kernels/kernel_lab: $(call objects,$(wildcard bench/kernels/*.c)) $(LIB)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL)

$(OUT)/bench/peers/%: $(OUT)/bench/peers/%.o $(LIB)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL) $(if $(filter %onednn_gemm,$@),-ldnnl)

# Tests under tests/ops bring their own checks, so that they also run under an emulator.
$(OUT)/tests/ops/%: $(OUT)/tests/ops/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL)

$(OUT)/tests/gpu/test_cuda_ops.o: PKG_CFLAGS += -Itests/ops
$(OUT)/tests/gpu/test_cuda_ops: $(OUT)/tests/gpu/test_cuda_ops.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL)

$(OUT)/tests/fuzz/fuzz_http: $(OUT)/server/http_parse.o
$(OUT)/tests/fuzz/fuzz_form: $(OUT)/server/form.o $(OUT)/server/base64.o
$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o \
                          $(if $(filter-out fuzz,$(BUILD)),$(OUT)/tests/fuzz/replay_main.o) $(LIB)
	$(call say,LINK,$@)$(CC) $(subst fuzzer-no-link,fuzzer,$(OPT)) $^ -o $@ $(LDLIBS_ALL)

# Its decoder does what pictures tell it to.
$(OUT)/tests/server/test_decoder_faults: \
    private LDFLAGS += -Wl,--wrap=nr_picture_load,--wrap=decode_run
$(OUT)/tests/server/%: $(OUT)/tests/server/%.o $(SERVER_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(SERVER_LIBS) $(LDLIBS_ALL) -lcmocka

$(OUT)/tests/%: $(OUT)/tests/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@ $(LDLIBS_ALL) -lcmocka

$(OUT)/run_tests: $(OUT)/tests/run_tests.o
	$(call say,LINK,$@)$(CC) $(OPT) $^ -o $@

.SECONDARY:
-include $(shell find $(OUT) $(CUDA_OUT) -name '*.d' 2>/dev/null)

# ---- two commands ----------------------------------------------------------------------------
run:                             ## install what is missing, build, read the sample pages
	@tools/install_deps.sh build
	@$(MAKE) BUILD=release all
	@test -n '$(RUN_PICTURES)' || { echo 'make run: no picture in samples/' >&2; exit 1; }
	@echo; echo '$$ $(RUN_COMMAND)'
	@$(RUN_COMMAND)

HOST_TESTS = $(patsubst build/$(BUILD)/%,build/$(1)/%,$(TESTS))
NEON_TESTS := $(if $(filter x86_64,$(shell uname -m)),$(patsubst %.c,build/neon/%,\
                $(sort $(wildcard tests/ops/test_*.c tests/ops/*/test_*.c))))
RUN_RELEASE = --group release $(call HOST_TESTS,release)
RUN_ASAN = --group asan --slow 4 $(call HOST_TESTS,asan)
RUN_FUZZ = --group fuzz $(patsubst %.c,build/asan/%,$(FUZZ_SRC))
RUN_NEON = $(if $(NEON_TESTS),--group neon --slow 10 --wrap qemu-aarch64 $(NEON_TESTS))
RUN_CHECK = --group check $(addprefix tools/check_,layers.sh style.sh symbols.sh install.sh)

test:                            ## install what is missing, build, run every test (< 10 min)
	@tools/install_deps.sh build test
	@$(MAKE) test-build
	@$(RUNNER) --jobs $(JOBS) $(RUN_RELEASE) $(RUN_CHECK) $(RUN_ASAN) $(RUN_FUZZ) $(RUN_NEON)

test-build:
	@$(MAKE) BUILD=release tests build/release/run_tests
	@$(MAKE) BUILD=asan tests fuzzers
	@$(if $(NEON_TESTS),$(MAKE) BUILD=neon tests)

test-full:                       ## `make test` with the long tests, longer fuzzing, TSan
	@tools/install_deps.sh build test fuzz
	@tools/install_deps.sh browser || echo "no Chromium: the web page is not looked at"
	@$(MAKE) test-build
	@$(MAKE) BUILD=tsan tests
	@$(MAKE) BUILD=fuzz fuzzers
	@NR_TEST_FULL=1 $(RUNNER) --jobs $(JOBS) --full $(RUN_RELEASE) $(RUN_CHECK) $(RUN_ASAN) \
	    $(RUN_FUZZ) $(RUN_NEON) --group tsan --slow 10 $(call HOST_TESTS,tsan) \
	    $(if $(FUZZ_SRC),--group libfuzzer --slow 10 --wrap tools/fuzz.sh $(FUZZ_SRC))

test-neon:                       ## the NEON kernels' tests under qemu-user
	@tools/install_deps.sh build test
	@$(MAKE) BUILD=release build/release/run_tests
	@$(if $(NEON_TESTS),$(MAKE) BUILD=neon tests)
	@$(RUNNER) --jobs $(JOBS) $(RUN_NEON)

test-gpu:                        ## ops, models and LLaVA-1.5-7B's shapes on this machine's card
	@tools/install_deps.sh build test
	@$(MAKE) BUILD=release tests
	@tools/gpu/run_gpu.sh build/release

asan ubsan tsan:                 ## the tests under one sanitizer
	@$(MAKE) BUILD=release build/release/run_tests
	@$(MAKE) BUILD=$@ tests
	@$(RUNNER) --jobs $(JOBS) --group $@ --slow 10 $(call HOST_TESTS,$@)

fuzz-replay:                     ## every fuzz corpus once, under ASan + UBSan
	@$(MAKE) BUILD=release build/release/run_tests
	@$(MAKE) BUILD=asan fuzzers
	@$(RUNNER) --jobs $(JOBS) $(RUN_FUZZ)

SECONDS ?= 60
fuzz:                            ## T=name [SECONDS=60]: one target under libFuzzer (clang)
	@test -f 'tests/fuzz/fuzz_$(T).c' || { echo 'make fuzz T=name; names:' \
	    $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC)) >&2; exit 2; }
	@tools/install_deps.sh build fuzz
	@$(MAKE) BUILD=fuzz build/fuzz/tests/fuzz/fuzz_$(T)
	@SECONDS_EACH=$(SECONDS) tools/fuzz.sh tests/fuzz/fuzz_$(T).c

check: all                       ## layers, style, exported symbols, installation
	@tools/check_layers.sh
	@tools/check_style.sh
	@tools/check_symbols.sh
	@tools/check_install.sh

bench: all $(LAB)                ## kernels; with MODEL=DIR also load, prefill and decode rates
	@$(if $(LAB),$(LAB) $(BENCH_FLAGS))
	@$(if $(MODEL),$(COMMAND) bench --model '$(MODEL)')

PEERS := $(addprefix build/release/bench/peers/,reader_peer onednn_gemm)
bench-peers:                     ## llama.cpp, oneDNN, transformers and this, in turn; PEERS_FLAGS
	@tools/install_deps.sh build peers
	@$(MAKE) BUILD=release all $(PEERS) build/release/bench/kernels/kernel_lab
	@bench/peers/run.sh $(PEERS_FLAGS)

# ---- installation ----------------------------------------------------------------------------
PREFIX ?= /usr/local
VERSION := $(shell sed -n 's/^\#define NR_VERSION "\(.*\)"/\1/p' src/engine/engine.c 2>/dev/null)
install: all                     ## PREFIX=/usr/local: command, library, headers, pkg-config file
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	$(if $(COMMAND),install -m 755 $(COMMAND) $(DESTDIR)$(PREFIX)/bin/)
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/
	install -m 644 $(wildcard include/*.h) $(DESTDIR)$(PREFIX)/include/
	install -d $(DESTDIR)$(PREFIX)/share/newsreader/models/reader
	install -m 644 $(wildcard models/reader/*) $(DESTDIR)$(PREFIX)/share/newsreader/models/reader/
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 share/man/newsreader.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 share/completion/newsreader $(DESTDIR)$(PREFIX)/share/bash-completion/completions/
	install -d $(DESTDIR)$(PREFIX)/share/newsreader/systemd
	sed 's|/usr/local/|$(PREFIX)/|' share/systemd/newsreader.service \
	    > $(DESTDIR)$(PREFIX)/share/newsreader/systemd/newsreader.service
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	    'Name: newsreader' 'Description: INT8 vision-language models that read news pictures' \
	    'Version: $(or $(VERSION),0)' 'Requires: $(PKGS)' 'Cflags: -I$${includedir}' \
	    'Libs: -L$${libdir} -lnewsreader -lgif -lunistring $(CUDA_LIBS) -lm -pthread' \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/newsreader.pc

clean:                           ## removes build/
	rm -rf build

list:                            ## this list
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  %-18s %s\n' "make $$name" "$$text"; done
