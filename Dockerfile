# For machines with NVIDIA GPUs: docker build -t bots . && docker run --gpus all --shm-size 16g bots train guru_math_1.5b --dry-run
FROM nvidia/cuda:12.9.1-devel-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends -y bubblewrap ca-certificates git python3.12-dev python3.12-venv \
    && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/bots PATH=/opt/bots/bin:$PATH
WORKDIR /src
COPY requirements/gpu.txt requirements/gpu.txt
# hadolint ignore=DL3013
RUN python3.12 -m venv "$VIRTUAL_ENV" \
    && pip install --no-cache-dir uv \
    && uv pip install --no-cache -r requirements/gpu.txt
COPY . .
RUN uv pip install --no-cache --no-deps .

WORKDIR /runs
ENTRYPOINT ["bots"]
CMD ["--help"]
