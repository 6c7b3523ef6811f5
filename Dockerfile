# Runs the demo on CPUs, without data and without a GPU:
#   docker build -t videocompressa . && docker run --rm -v "$PWD/demo:/demo" videocompressa
# Another verb, on your own videos: docker run --rm -v "$PWD:/work" -w /work videocompressa plan videos
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY videocompressa videocompressa
# The second index has torch without the libraries of GPUs, which are several GB.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt ".[report]"

ENV VIDEOCOMPRESSA_CACHE=/tmp/videocompressa
ENTRYPOINT ["videocompressa"]
CMD ["demo", "-o", "/demo", "--force"]
