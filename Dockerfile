# One image for every process of Tracegist; docker-compose.yml says which command each service runs.
# Packages are installed from the hash-pinned lock and nowhere else.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tracegist
ENV PATH=/opt/tracegist/bin:$PATH
WORKDIR /src
COPY requirements/base.txt requirements/build.txt requirements/
RUN pip install --require-hashes -r requirements/base.txt
# The build back end is needed here only, so it goes to a folder of its own and not into the image.
RUN pip install --require-hashes --target /opt/build -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY api_shim api_shim
COPY cache cache
COPY config config
COPY jobs jobs
COPY storage storage
COPY tracegist tracegist
COPY workers workers
RUN PYTHONPATH=/opt/build pip install --no-deps --no-build-isolation .

FROM python:3.11-slim AS tracegist
ENV PATH=/opt/tracegist/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tracegist
COPY --from=build /opt/tracegist /opt/tracegist
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api_shim", "--host", "0.0.0.0", "--port", "8000"]

# Only for `--profile flower`: the same image and the packages of Flower.
FROM build AS build-flower
COPY deploy/flower/requirements.txt deploy/flower/
RUN pip install --require-hashes -r deploy/flower/requirements.txt

FROM tracegist AS flower
COPY --from=build-flower /opt/tracegist /opt/tracegist
EXPOSE 5555
CMD ["celery", "-A", "workers.app", "flower", "--port=5555"]

# What `docker build .` makes.
FROM tracegist
