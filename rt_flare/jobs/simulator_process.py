"""The process that runs NVFlare's simulator.

``python -m rt_flare.jobs.simulator_process JOB ROOT SITES THREADS FOLDER``.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rt_flare.jobs.storage_credentials import keep_credentials


def main(arguments: list[str]) -> int:
    """Run the simulator and return its status: 0 when the job ended without a fatal error.

    Args:
        arguments: job folder, the simulator's own folder, names of the sites with commas between them, threads, and the
            job's folder, where the run may be that this one continues.
    """
    job_folder, root, sites, threads, folder = arguments
    # NVFlare puts sys.executable into a command line that it splits again.
    sys.executable = shlex.quote(sys.executable)
    # The server, a thread of this process, signs URLs for the sites: their processes need no key to the storage.
    keep_credentials(f"{root}/local")

    from nvflare.private.fed.app.simulator.simulator_runner import SimulatorRunner

    from rt_flare.jobs.kept_run import SIMULATED_EARLIER_ID, place_run

    class Runner(SimulatorRunner):  # type: ignore[misc]
        def setup(self) -> bool:
            """Empty the folder, deploy the job, then bring back what the earlier run left."""
            if not super().setup():
                return False
            place_run(Path(folder), lambda name: Path(root) / name / SIMULATED_EARLIER_ID)
            return True

    runner = Runner(job_folder=job_folder, workspace=root, clients=sites, threads=int(threads))
    status = runner.run()
    return status if isinstance(status, int) and 0 <= status < 256 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
