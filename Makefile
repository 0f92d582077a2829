# The front door. CMake does the work underneath; each target does its own set-up.
#
#     make                builds the library and the command into build/
#     make demo           ... and makes a picture with the embedded model
#     make test           ... and runs every check and test but the long ones
#     make check          ... the quick part of that: format, lengths, what documents name
#     make test-long      what is too long for every day: a history of thousands
#     make test-alloc     every allocation fails once, under AddressSanitizer: a quarter of an hour
#     make test-onednn3   the tests of what calls oneDNN, against oneDNN 3 from PyPI
#     make test-debian13  the same against Debian 13's oneDNN, on any Debian
#     make sanitize       the tests once more under AddressSanitizer and UndefinedBehaviorSanitizer
#     make tsan           those in which threads meet, under ThreadSanitizer
#     make cuda-libs      what an NVIDIA card needs, from PyPI into the user's data folder: docs/cuda.md
#     make bench          times networks and pictures of full size (PEER="command" beside another program)
#     make bench-offload  what each way of placing weights costs
#     make bench-tune     what tuning finds, and what it is worth, in pairs of pictures
#     make bench-server   what ten thousand callers cost a picture
#     make bench-page     how fast the page comes and scrolls, in chromium
#     make install        into /usr/local, or PREFIX=/where/else (DESTDIR works too)
#     make uninstall      takes away what was installed there
#     make help           prints this
#
# BUILD=folder builds elsewhere; CMAKE_FLAGS="-D..." goes to CMake; CC=clang takes another compiler.
BUILD ?= build
PREFIX ?= /usr/local
CMAKE_FLAGS ?=
# Tests at once: some wait, for a clock or for each other.
JOBS ?= $(shell expr $$(nproc) + 1)

.PHONY: all demo test test-long test-alloc test-onednn3 test-debian13 check sanitized sanitize tsan bench bench-offload bench-tune bench-server bench-page cuda-libs install uninstall help clean setup setup-tests fetch
.DEFAULT_GOAL := all

setup:
	@tools/setup.sh

setup-tests:
	@tools/setup.sh tests
	@tools/clients.sh

# All that tests take from the network beside the distribution's packages.
fetch:
	@tools/clients.sh
	@tools/onednn3.sh '$(ONEDNN3)'
	@tools/debian13.sh '$(DEBIAN13)'

# CMake's chatter is shown only if it fails.
configure = cmake -G Ninja -S . -B $(1) $(2) $(CMAKE_FLAGS) >$(1).log 2>&1 || { cat $(1).log; exit 1; }; rm -f $(1).log

$(BUILD)/build.ninja: | setup
	@$(call configure,$(BUILD),)

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# A picture from the embedded model, or from BALLAST_MODEL=FILE.
demo: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ballast_cli
	@tools/demo.sh $(BUILD)/bin/ballast

# Builds everything, benches too, checks style limits, runs all tests but the long ones.
test: setup-tests all check
	@ninja -C $(BUILD) bench
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) -LE long

test-long: setup-tests all
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) -L long -E alloc_all

# Every allocation of the library's calls and of the command that is worth it fails once: support/failing.h.
test-alloc: setup-tests sanitized
	@ctest --test-dir $(BUILD)-sanitize --output-on-failure -j $(JOBS) -R alloc_all

# What a compiler does not hold: format, length of functions, words that must not be in the tree.
check: setup-tests
	@python3 -B tools/check_source.py

# $(call some,FOLDER,TESTS,MORE): builds and runs just these tests, and those that need no building.
space = $(subst ,, )
programs = $(addprefix test_,$(subst .,_,$(subst /,_,$(1))))
some = ninja -C $(1) $(call programs,$(2)) && \
    ctest --test-dir $(1) --output-on-failure -j $(JOBS) -R '^($(subst $(space),|,$(subst .,\.,$(strip $(2) $(3)))))$$'

# Both are built in one folder: but for what calls oneDNN the objects are the same.
other_dnnl = $(call configure,$(BUILD)-dnnl,-U'DNNL_*' '-DDNNL_ROOT=$(1)' \
    '-DCMAKE_SHARED_LINKER_FLAGS=$(2)' '-DCMAKE_EXE_LINKER_FLAGS=$(2) $(3)')

# In the user's cache: CMake forgets the way to a library that lies in the project.
ONEDNN3 = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ballast-onednn3
test-onednn3: setup-tests
	@tools/onednn3.sh '$(ONEDNN3)'
	@$(call other_dnnl,$(ONEDNN3))
	@$(call some,$(BUILD)-dnnl,$(addprefix device/cpu.,batches device ops transformer) model.level_bits model.unet \
	    api.installed)

# Debian 13's libraries may want a newer C library than this system's: programs start with theirs.
DEBIAN13 = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ballast-debian13
DEBIAN13_LIBS = $(DEBIAN13)/system/usr/lib/x86_64-linux-gnu
DEBIAN13_ANY = -Wl,--allow-shlib-undefined
DEBIAN13_START = -Wl,--dynamic-linker=$(DEBIAN13_LIBS)/ld-linux-x86-64.so.2,--disable-new-dtags,-rpath,$(DEBIAN13_LIBS)
test-debian13: setup-tests
	@tools/debian13.sh '$(DEBIAN13)'
	@$(call other_dnnl,$(DEBIAN13)/system/usr,$(DEBIAN13_ANY),$(DEBIAN13_START))
	@$(call some,$(BUILD)-dnnl,$(addprefix device/cpu.,batches device ops transformer) \
	    $(addprefix model.,distilled levels peak prologue text unet vae) pipeline.goldens)

SANITIZE = -DBALLAST_SANITIZE=ON
sanitized: | setup
	@$(call configure,$(BUILD)-sanitize,$(SANITIZE))
	@ninja -C $(BUILD)-sanitize

sanitize: setup-tests sanitized
	@ctest --test-dir $(BUILD)-sanitize --output-on-failure -j $(JOBS) -LE slow

tsan: setup-tests
	@$(call configure,$(BUILD)-tsan,-DBALLAST_SANITIZE=thread)
	@ninja -C $(BUILD)-tsan ballast_cli
	@export TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.txt; $(call some,$(BUILD)-tsan,$(THREADED),$(SERVED))
THREADED = checkpoint.safetensors device/cpu.batches device/cuda.memory pipeline.model_hash $(addprefix api.,callbacks cancel process turn) \
    server/http.deadlines
SERVED = $(addprefix server.,events http)

# On made-up weights, which are written once into the cache folder or taken from BENCH_MODELS; see bench/run.py.
bench bench-offload: $(BUILD)/build.ninja
	@ninja -C $(BUILD) bench
	@python3 -B bench/run.py $(BUILD)/bin $(if $(findstring offload,$@),--offload,$(ROWS))

bench-tune: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ballast_cli
	@python3 -B bench/tune.py $(BUILD)/bin $(ROWS)

bench-server: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ballast_cli bench_load
	@python3 -B bench/server.py $(BUILD)/bin

# Debian's selenium belongs to Debian's Python.
bench-page: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ballast_cli
	@$(firstword $(wildcard /usr/bin/python3) python3) -B bench/page.py $(BUILD)/bin

cuda-libs:
	@tools/cuda_libs.sh

# The list of what was installed lies beside it: the build folder's would be that of the last PREFIX, or root's.
INSTALLED = $(DESTDIR)$(PREFIX)/share/ballast/installed.txt
install: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ballast_installed
	@rm -f $(BUILD)/install_manifest.txt
	@cmake --install $(BUILD) --prefix $(PREFIX)
	@cp $(BUILD)/install_manifest.txt '$(INSTALLED)'
	@rm -f $(BUILD)/install_manifest.txt
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || PATH="$$PATH:/sbin" ldconfig || true

uninstall:
	@test -r '$(INSTALLED)' || { echo 'nothing is installed in $(DESTDIR)$(PREFIX): give PREFIX as for make install'; exit 1; }
	@sed 's|^|$(DESTDIR)|' '$(INSTALLED)' | xargs -d '\n' rm -f
	@rm -f '$(INSTALLED)'
	@find '$(DESTDIR)$(PREFIX)/share/ballast' '$(DESTDIR)$(PREFIX)/share/doc/ballast' -depth -type d -empty -delete

# The comment at the top of this file.
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

clean:
	@rm -rf $(foreach b,$(BUILD) $(BUILD)-sanitize $(BUILD)-tsan $(BUILD)-dnnl,$(b) $(b).log)
