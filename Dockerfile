# compbench on a machine with an NVIDIA GPU and its container toolkit:
#
#   docker build -t compbench .
#   docker run --rm --gpus all -v "$PWD/runs:/app/runs" -v compbench-cache:/cache compbench \
#     run winoground --model sd2
#
# torch's packages bring the CUDA libraries; the host brings the driver.
FROM python:3.11-slim

# torch.compile builds its kernels with a C compiler
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE NOTICE /src/
COPY compbench /src/compbench
COPY analysis /src/analysis
COPY baselines /src/baselines
RUN pip install --no-cache-dir /src

# weights, and what trained baselines keep, outlive the container in the volume; runs go to the mounted folder
ENV HF_HOME=/cache/huggingface XDG_CACHE_HOME=/cache
VOLUME /cache
WORKDIR /app
ENTRYPOINT ["compbench"]
