# Two images: `vimmon` for conductors, migrations and the command line; `mistral` for Mistral's API, engine and executor,
# with the action in them. docker-compose.yml builds both. Behind a mirror: --build-arg PIP_INDEX_URL=https://…/simple

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS wheel
ARG PIP_INDEX_URL
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY vimmon vimmon
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM ${PYTHON_IMAGE} AS vimmon-venv
ARG PIP_INDEX_URL
COPY --from=wheel /wheel /wheel
RUN python -m venv /opt/vimmon \
 && /opt/vimmon/bin/pip install --no-cache-dir --no-compile "$(echo /wheel/vimmon-*.whl)[conductor]" \
 && /opt/vimmon/bin/pip check \
 && /opt/vimmon/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE} AS mistral-venv
ARG PIP_INDEX_URL
ARG MISTRAL=mistral~=23.0
RUN python -m venv /opt/mistral \
 && /opt/mistral/bin/pip install --no-cache-dir --no-compile "${MISTRAL}" psycopg2-binary
COPY --from=wheel /wheel /wheel
RUN /opt/mistral/bin/pip install --no-cache-dir --no-compile /wheel/vimmon-*.whl \
 && /opt/mistral/bin/pip check

FROM ${PYTHON_IMAGE} AS mistral
COPY deploy/compose/mistral.conf /etc/mistral/mistral.conf
COPY deploy/compose/on_the_bus.py /usr/local/bin/on-the-bus
RUN useradd --system --user-group --uid 10001 --no-create-home --home-dir /tmp mistral
COPY --from=mistral-venv /opt/mistral /opt/mistral
ENV PATH=/opt/mistral/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER 10001:10001
# For engine and executor, which open no port. The API has another one in the compose file.
HEALTHCHECK --interval=15s --timeout=15s --start-period=120s CMD ["python", "-IS", "/usr/local/bin/on-the-bus"]
CMD ["mistral-server", "--server", "executor", "--config-file", "/etc/mistral/mistral.conf", "--config-dir", "/etc/mistral/secrets"]

FROM ${PYTHON_IMAGE} AS vimmon
COPY --chmod=755 deploy/compose/setup.sh /usr/local/bin/vimmon-compose-setup
RUN useradd --system --user-group --uid 10001 --no-create-home --home-dir /tmp vimmon \
 && install --directory --owner=10001 --group=10001 /etc/vimmon /setup/conductor /setup/executor /setup/kept \
      /setup/mistral /setup/postgres /setup/rabbitmq /setup/redis
COPY --from=vimmon-venv /opt/vimmon /opt/vimmon
ENV PATH=/opt/vimmon/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 9718
HEALTHCHECK --interval=15s --timeout=15s --start-period=120s \
  CMD ["python", "-IS", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9718/readyz', timeout=9)"]
CMD ["python", "-m", "vimmon.conductor", "--http", "0.0.0.0:9718"]
