# One image for workers, GPU workers, beat, Flower and the example of a web backend. BASE_IMAGE may be any image with
# Python 3.11 or newer as `python`, such as one with CUDA. Your own tasks go into an image FROM this one, or into a
# volume at /app.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS built
WORKDIR /src
# Dependencies first, since they change least: a change of the code alone does not reinstall them.
COPY pyproject.toml README.md LICENSE ./
COPY worker_config worker_config
RUN mkdir dagcelery && touch dagcelery/__init__.py \
 && python -m venv /opt/dagcelery \
 && /opt/dagcelery/bin/pip install --no-cache-dir '.[yaml,web,metrics]' 'flower>=2.0' 'fastapi>=0.135'
COPY dagcelery dagcelery
RUN /opt/dagcelery/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM ${BASE_IMAGE}
# A user without a name on the host, a shell or a home; its number is fixed, so that it can own volumes.
RUN groupadd --gid 10001 dagcelery \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin dagcelery \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/dagcelery
COPY --from=built /opt/dagcelery /opt/dagcelery
COPY worker_config /app/worker_config
COPY examples /app/examples
# PATH finds `celery` and `dagcelery`; /app is where your modules are, and the examples'. Logs are not buffered.
ENV PATH=/opt/dagcelery/bin:$PATH \
    PYTHONPATH=/app:/app/examples \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REMAP_SIGTERM=SIGQUIT
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["celery", "-A", "dagcelery"]
CMD ["--config", "worker_config.celeryconfig", "worker", "-l", "INFO", "-E"]
