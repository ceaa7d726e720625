"""What the workers of a pool do in the tests; light, since each of them imports it."""

import os
import time


def work(task: object, tell) -> object:
    if task == "die":
        os._exit(3)
    if task == "fail":
        raise ValueError("cannot be done")
    if task == "sleep":
        tell(os.getpid())
        time.sleep(600)
    tell(f"at {task}")
    return os.getpid()
