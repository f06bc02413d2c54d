"""`python -m benchmarks.timed_worker FILE`: vimmon's own worker, which notes in FILE when each step was done.

A line is `<VIM> <step> <began> <ended>`, in seconds since 1970. The steps lie within each other: `job` is all of it,
`run` what is left of it in the process that carries it out.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from rq.job import Job

from vimmon.conductor.worker import JobWorker, main
from vimmon.mistral import jobs
from vimmon.mistral.client import MistralClient

STEPS = ("job", "run", "workflow", "execution")


def noted(file: int, owner: Any, name: str, step: str, vim_of: Callable[..., str]) -> None:
    """From now on the function `name` of `owner` notes the step."""
    original = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.time()
        try:
            return original(*args, **kwargs)
        finally:
            os.write(file, f"{vim_of(*args)} {step} {began} {time.time()}\n".encode())

    setattr(owner, name, timed)


def vim_of_job(worker: object, job: Job, *_: object) -> str:
    return str(job.args[0]) if job.args else "-"


if __name__ == "__main__":
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    noted(file, JobWorker, "execute_job", "job", vim_of_job)
    noted(file, jobs, "start_monitor", "run", lambda vim_id, generation: vim_id)
    noted(file, MistralClient, "ensure_workflow", "workflow", lambda client, vim_id, *_, **__: vim_id)
    noted(file, MistralClient, "start", "execution", lambda client, vim_id, *_, **__: vim_id)
    main()
