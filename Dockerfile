# For machines with NVIDIA GPUs: docker build -t bots .
# Runs, tasks and models stay outside the container; --dry-run prints how large Ray's object store, /dev/shm, has to be:
#   docker run --gpus all --shm-size 48g -v "$PWD/runs:/job/runs" -v "$PWD/data:/job/data" \
#       -v ~/.cache/huggingface:/root/.cache/huggingface bots train guru_math_1.5b --dry-run
# The pinned set is for CUDA 13 and Python 3.11; the compiler of `devel` is Triton's. KubeRay's probes may ask for wget.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends -y bubblewrap ca-certificates git python3-venv wget \
    && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/bots PATH=/opt/bots/bin:/opt/uv/bin:$PATH UV_PYTHON_INSTALL_DIR=/opt/python
WORKDIR /src
COPY requirements/gpu.txt requirements/gpu.txt
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==0.13.8 \
    && uv venv --python 3.11 "$VIRTUAL_ENV" \
    && uv pip install --no-cache --no-deps -r requirements/gpu.txt
COPY . .
RUN uv pip install --no-cache --no-deps .

WORKDIR /job
ENTRYPOINT ["bots"]
CMD ["--help"]
