# The command line on a CPU: docker build -t ravel-bench . && docker run -v "$PWD:/work" ravel-bench demo --out demo-run
# With CUDA, not tested: build with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 and run with --gpus all.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
# What the wheel is made of, and no environment or history that lies beside it.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ravel ravel
COPY das das
COPY evaluation evaluation
COPY ravel_bench ravel_bench
COPY data data
COPY docs/schema docs/schema
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH_INDEX" .
WORKDIR /work
ENTRYPOINT ["ravel"]
