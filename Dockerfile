# An image that trains: `docker build --target cpu -t uer_ds:cpu .`, or `--target cuda` for NVIDIA GPUs.
#
#   docker run --rm -it --shm-size 8g -v "$PWD:/work" uer_ds:cpu uer-ds --help
#   docker run --rm -it --gpus all --ipc host -v "$PWD:/work" uer_ds:cuda uer-ds doctor
#
# Versions are those of constraints.txt. The user inside has the number 1000; `--user $(id -u)` makes files in /work yours.

FROM python:3.11.14-slim-bookworm AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# DeepSpeed and torch compile small parts when they are first used; pdsh and ssh start other hosts.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ ninja-build openssh-client pdsh \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 trainer \
    && chmod 777 /home/trainer
# What DeepSpeed compiles is kept in HOME, which --user does not set.
ENV HOME=/home/trainer PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DS_BUILD_OPS=0
COPY constraints.txt pyproject.toml README.md LICENSE /src/
WORKDIR /src

FROM base AS cpu
ENV DS_ACCELERATOR=cpu
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)+cpu"
COPY . /src
RUN pip install --constraint constraints.txt ".[hf,finetune,mpi]"
USER 1000
WORKDIR /work
CMD ["uer-ds", "--help"]

FROM base AS cuda
# torch brings CUDA's libraries; DeepSpeed's own kernels also want nvcc, which is left out: torch's fused optimizers are used.
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY . /src
RUN pip install --constraint constraints.txt ".[hf,finetune,mpi]"
USER 1000
WORKDIR /work
CMD ["uer-ds", "--help"]
