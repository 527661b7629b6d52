# SPDX-License-Identifier: MIT
# newsreader: `make` builds the library and the command, `make list` names the rest.
# BUILD=release|asan selects the folder under build/ and the flags.

BUILD ?= release
CC ?= cc
OUT := build/$(BUILD)
PKGS := jansson libjpeg libpng libwebp libwebpdemux libpcre2-8
ARCH := $(shell uname -m)

CSTD := -std=c11
WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla $(if $(CI),-Werror)
INCLUDES := -Iinclude $(addprefix -I,$(shell find src -type d))
FLOATS := -ffp-contract=off
OPT_release := -O2 -g
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
CFLAGS_ALL := $(CSTD) $(OPT_$(BUILD)) $(WARN) $(FLOATS) -fvisibility=hidden -fPIC -MMD -MP -pthread \
              $(INCLUDES) $(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CFLAGS)
LDLIBS_ALL := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lgif -lunistring -lm -pthread $(LDFLAGS)

# Kernels of one instruction set: the only files compiled with its flags.
ISA_avx2 := -mavx2 -mfma -mf16c
ISA_avx512vnni := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -mprefer-vector-width=512
ISA_neon := $(if $(filter aarch64,$(ARCH)),-march=armv8.2-a+dotprod)
ISA_DIRS := scalar $(if $(filter x86_64,$(ARCH)),avx2 avx512vnni) $(if $(filter aarch64,$(ARCH)),neon)
ISA_ALL := scalar avx2 avx512vnni neon
SKIP_ISA := $(filter-out $(ISA_DIRS),$(ISA_ALL))

LIB_SRC := $(filter-out $(foreach i,$(SKIP_ISA),src/backends/cpu/$(i)/%),$(shell find src -name '*.c'))
LIB_OBJ := $(LIB_SRC:%.c=$(OUT)/%.o)
LIB := $(OUT)/libnewsreader.a
CLI_SRC := $(wildcard cli/*.c)
TOOL_SRC := $(wildcard tools/*.c)
TOOLS := $(TOOL_SRC:tools/%.c=$(OUT)/tools/%)
TEST_SRC := $(shell find tests -name 'test_*.c')
TESTS := $(TEST_SRC:%.c=$(OUT)/%)

.PHONY: all lib tests
all: $(LIB) $(if $(CLI_SRC),$(OUT)/newsreader) $(TOOLS)
lib: $(LIB)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(foreach i,$(ISA_DIRS),$(if $(findstring /cpu/$(i)/,$@),$(ISA_$(i)))) -c $< -o $@

$(LIB): $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(OUT)/newsreader: $(CLI_SRC:%.c=$(OUT)/%.o) $(LIB)
	$(CC) $(OPT_$(BUILD)) $^ -o $@ $(LDLIBS_ALL)

# A tool's own helpers.
$(OUT)/tools/make_checkpoint: $(patsubst %.c,$(OUT)/%.o,$(wildcard tools/checkpoint/*.c))
$(OUT)/tools/%: $(OUT)/tools/%.o $(LIB)
	$(CC) $(OPT_$(BUILD)) $^ -o $@ $(LDLIBS_ALL)

$(OUT)/tests/%: $(OUT)/tests/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(OPT_$(BUILD)) $^ -o $@ $(LDLIBS_ALL) -lcmocka

tests: $(TESTS) all

-include $(shell find build/$(BUILD) -name '*.d' 2>/dev/null)
