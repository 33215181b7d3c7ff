# The suite on a CPU, from the lock file. `docker build -t oneflow-bench .`; docs/install.md shows the rest.
FROM python:3.10-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/oneflow_bench
COPY . .
RUN python tools/set_up.py .venv && rm -rf /root/.cache
# a home that the user of `docker run --user` may write to, outside /work
ENV HOME=/tmp PATH="/opt/oneflow_bench/.venv/bin:$PATH"

WORKDIR /work
ENTRYPOINT ["bench"]
