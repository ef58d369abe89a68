# `make run` and `make test` set up all they need: Python >= 3.11, pip and make are enough.
PYTHON ?= python3
BIN := .venv/bin
# What .venv holds: what the program needs, what tests and checks need beside it, what the surveys need beside that.
RUN := .venv/.run
DEV := .venv/.dev
ZOO_READY := .venv/.zoo
DOCS := .venv/.docs
STRANGERS := .venv/strangers

.PHONY: run grow notebooks docs test test-slow check bench bench-zoo bench-strangers bench-narrowing bench-engine \
	dist packaging clean

# Grows, shrinks and evolves networks on the data that come along, and writes one page with a verdict on each: about two minutes.
run: $(RUN)
	$(BIN)/netmorph demo growth rank evolution

# A network that grows while it learns, beside its full size from the start: about two minutes, a picture and a sentence.
grow: $(RUN)
	$(BIN)/python -m benchmarks.growth_short growth.png

# Each core takes one file of tests after another: what is costly (a training, two processes) is shared within a file.
test: $(DEV)
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadscope

# The notebooks of examples/, run again at full size, with what comes out kept in them. About seven minutes on one core.
notebooks: export NETMORPH_DATA ?= $(abspath ../shared/data)
notebooks: $(DEV)
	$(BIN)/python -m tests.examples.running

# The documentation as a site in the folder site/, which asks nothing of other hosts: open site/index.html. Half a minute.
docs: $(DOCS)
	$(BIN)/python docs/pages.py build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow --timeout 3600

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python -m benchmarks

# Surgery on every model that a CSV file names (suite, model, input), beside Torch-Pruning. Takes an hour or more; stopped,
# it goes on where it was. `make bench-zoo ZOO=models.csv OPTIONS="--only resnet34"`
ZOO ?= ../shared/zoo/open.csv
bench-zoo: $(ZOO_READY)
	$(BIN)/python -m benchmarks.zoo --zoo $(ZOO) $(OPTIONS)

# The same on models of libraries whose authors know nothing of it (diffusers, ultralytics, MONAI, ...). About an hour on one
# core; stopped, it goes on where it was. `make bench-strangers OPTIONS="--only diffusers transformers/gpt2"`
bench-strangers: $(STRANGERS)/.ready
	PYTHONPATH=$(STRANGERS) $(BIN)/python -m benchmarks.strangers $(OPTIONS)

# A ResNet that is trained on CIFAR-10 and narrowed to half its FLOPs, beside Torch-Pruning. Takes most of an hour; stopped,
# it goes on where it was. The data is looked for in NETMORPH_DATA, else downloaded.
bench-narrowing: export NETMORPH_DATA ?= $(abspath ../shared/data)
bench-narrowing: $(ZOO_READY)
	$(BIN)/python -m benchmarks.narrowing $(OPTIONS)

# Training loops beside each other on MNIST and CIFAR-10, then many networks at once beside one after another. About a quarter
# of an hour; for undisturbed figures nothing else should run. `make bench-engine OPTIONS="--networks lenet5 --threads 1"`
bench-engine: export NETMORPH_DATA ?= $(abspath ../shared/data)
bench-engine: $(DEV)
	$(BIN)/python -m benchmarks.engine $(OPTIONS)
	$(BIN)/python -m benchmarks many

# Like torchvision below, timm and Torch-Pruning are installed without their dependencies.
$(ZOO_READY): $(DEV)
	$(BIN)/python -m pip install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 torch-pruning==1.6.1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pillow pyyaml safetensors huggingface-hub
	touch $@

# In a folder of their own, so that no program finds them which does not ask.
$(STRANGERS)/.ready: $(DEV) benchmarks/strangers.txt
	$(BIN)/python -m pip install --quiet --no-deps --target $(STRANGERS) --requirement benchmarks/strangers.txt
	touch $@

# torchvision and timm serve the tests, without their dependencies, which ask for a CUDA build of torch.
$(DEV): $(RUN)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchvision timm
	$(BIN)/python -m netmorph.torchvision_operators
	touch $@

$(DOCS): $(RUN)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

# The sdist and, made from it, the wheel, in dist/.
dist: $(DEV)
	rm -rf build dist
	$(BIN)/python -m build

# What is in dist/ installed into empty environments, alone and with each extra, and tried there. A quarter of an hour.
packaging: $(DEV)
	$(BIN)/python -m benchmarks.packaging $(OPTIONS)

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
