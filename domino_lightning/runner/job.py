"""The job file of a stage process and the variables that go with it."""

from __future__ import annotations

from collections.abc import Mapping

PARENT = "DOMINO_PARENT"  # process id of the one that started this
REPORT_FD = "DOMINO_REPORT_FD"

# How cluster managers and launchers tell a process which rank of what it is. A stage process is the first of its own.
_ALLOCATIONS = (
    "SLURM_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MPI_", "JSM_", "LSB_", "TORCHELASTIC_",
)  # fmt: skip
_RANKS = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMI2"} | {
    f"{kind}_{what}" for kind in ("LOCAL", "GLOBAL", "NODE", "GROUP", "ROLE") for what in ("RANK", "WORLD_SIZE")
}


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a stage process inherits: inside an allocation, it would take itself for one rank of it."""
    return {
        name: value for name, value in environment.items() if name not in _RANKS and not name.startswith(_ALLOCATIONS)
    }
