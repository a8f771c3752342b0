"""A compose file for docker and podman."""

from __future__ import annotations

from collections.abc import Iterator

from swapd.cli.units.installation import Installation, UnitFile

IMAGE = "swapd"
"""The name that the documentation gives to the image when it is built."""

CONFIG_IN_CONTAINER = "/etc/swapd/config.yaml"


def compose_file(here: Installation) -> list[UnitFile]:
    """`compose.yaml`: with the configuration and the GPUs of this machine."""
    return [UnitFile("compose.yaml", "\n".join(_lines(here)) + "\n")]


def _lines(here: Installation) -> Iterator[str]:
    port = (here.listen or ":8080").rpartition(":")[2]
    yield f"""\
# Save this as compose.yaml, and make the image first (packaging/Containerfile says how). Then:
#   docker compose up --detach
services:
  swapd:
    image: {IMAGE}
    restart: unless-stopped
    # Docker's own ten seconds would kill swapd, and its models, in the middle of an answer.
    stop_grace_period: {here.stop_s}s
    ports:
      # This machine only. For others too: "{port}:8080", with apiKeys in the configuration.
      - "127.0.0.1:{port}:8080"
    volumes:
      - {here.config.parent}:/etc/swapd:ro
      # Adapt: the directory that holds your models.
      - /srv/models:/srv/models:ro
      - state:/var/lib/swapd
    read_only: true
    tmpfs:
      - /tmp
      - /run/swapd:uid=10001,mode=0700
    # For servers that share memory between their processes, such as vLLM.
    shm_size: 2gb"""
    if here.config.name != "config.yaml":
        yield f"    command: [serve, --config, /etc/swapd/{here.config.name}, --watch-config]"
    if here.groups:
        yield "    # Whoever may use the GPUs here: " + ", ".join(here.groups)
        yield "    group_add: [" + ", ".join(f'"{number}"' for number in here.groups.values()) + "]"
    if here.dri:
        yield "    devices:"
        yield "      - /dev/dri"
    if here.nvidia:
        yield """\
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: all
              capabilities: [gpu]"""
    yield """\
volumes:
  state:"""
