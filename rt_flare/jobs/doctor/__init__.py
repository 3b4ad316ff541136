"""From the logs of all processes of a job to the error that came first: what it is, where, why and what to do.

`diagnose` looks at a folder. The table of known failures is ``failure_rows.json``, shown in
``docs/troubleshooting.md``.
"""

from rt_flare.jobs.doctor.diagnosis import diagnose, find_root_cause
from rt_flare.jobs.doctor.failure_rows import FailureRow, load_failure_table
from rt_flare.jobs.doctor.findings import Diagnosis, Finding

__all__ = ["Diagnosis", "FailureRow", "Finding", "diagnose", "find_root_cause", "load_failure_table"]
