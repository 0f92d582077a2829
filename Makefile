# The front door. CMake does the work underneath; each target does its own set-up.
BUILD ?= build
CMAKE_FLAGS ?=

.PHONY: all demo test check sanitize bench install clean setup
.DEFAULT_GOAL := all

setup:
	@tools/setup.sh

$(BUILD)/build.ninja: | setup
	@cmake -G Ninja -S . -B $(BUILD) $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# A picture from the embedded model.
demo: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet ballast_cli
	@tools/demo.sh $(BUILD)/bin/ballast

# Builds everything, checks style limits, runs all tests.
test: all check
	@ctest --test-dir $(BUILD) --output-on-failure -j 2

# What a compiler does not hold: format, length of functions, words that must not be in the tree.
check:
	@tools/setup.sh checks
	@python3 tools/check_source.py

# The unit tests once more under AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: setup
	@cmake -G Ninja -S . -B $(BUILD)-sanitize -DBALLAST_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
	@ninja -C $(BUILD)-sanitize
	@ctest --test-dir $(BUILD)-sanitize --output-on-failure -j 2 -LE slow

install: all
	@cmake --install $(BUILD)

clean:
	@rm -rf $(BUILD) $(BUILD)-sanitize
