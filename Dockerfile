# Two stages: the first builds the virtual environment, the second contains only the result.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements-dev.lock ./
COPY src ./src
RUN python -m venv /opt/kamstrup-mqtt \
 && /opt/kamstrup-mqtt/bin/python -m pip install --no-cache-dir -c requirements-dev.lock '.[encryption]' \
 && /opt/kamstrup-mqtt/bin/python -m pip uninstall --yes --quiet pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="kamstrup-mqtt" \
      org.opencontainers.image.description="Kamstrup meters to MQTT and Home Assistant" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/kamstrup-mqtt /opt/kamstrup-mqtt
# a new volume gets the owner of this directory, which is the user below
RUN install -d -o 10001 -g 10001 -m 0750 /data
ENV PATH=/opt/kamstrup-mqtt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIRECTORY=/data
VOLUME /data
# numeric, because runAsNonRoot of Kubernetes cannot check names
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["kamstrup-mqtt", "health"]
ENTRYPOINT ["kamstrup-mqtt"]
CMD ["run", "-c", "/config/config.yaml"]
