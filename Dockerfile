# The runner as an image: docker run --rm -v "$PWD:/work" -v runs:/state IMAGE [options] job.py
#
# As process 1 it passes TERM, INT and HUP on to the script, ends its whole tree and reaps its orphans: no tini is needed.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml setup.py requirements.txt README.md LICENSE runner.py ./
COPY dashboard ./dashboard/
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
# What is installed is what was built above, dependencies included.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --no-index --find-links /wheels python-script-runner \
    && useradd --uid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin runner \
    && install --directory --mode 1777 /state /work
# Whoever --user names finds a place for his history.
ENV XDG_STATE_HOME=/state
VOLUME /state
WORKDIR /work
USER 10001
# Not `python -m runner`: a runner.py in /work would be imported instead.
ENTRYPOINT ["python-script-runner"]
CMD ["--help"]
