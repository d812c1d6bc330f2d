"""Waiting for what a server does by itself."""

import time


def until(condition, seconds=30):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def states(client, name="numbers") -> dict:
    """The states of a model's versions, by number."""
    found = client.get(f"/v1/models/{name}").json()
    return {int(one["version"]): one["state"] for one in found.get("model_version_status", [])}
