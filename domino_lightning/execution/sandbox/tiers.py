"""Which isolation this host allows: chosen once, recorded in every verdict, never weakened silently."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from domino_lightning.errors import UserError
from domino_lightning.execution.sandbox.inside import kernel

BUBBLEWRAP, NAMESPACES, RLIMITS = "bubblewrap", "namespaces", "rlimits"
TIERS = (BUBBLEWRAP, NAMESPACES, RLIMITS)
ENVIRONMENT = "DOMINO_SANDBOX_TIER"
_SYS_ADMIN = 21
_USERS = 256  # programs of one box that have a user of their own at a time


def named_tier(tier: str | None) -> str | None:
    """The tier asked for by argument or by $DOMINO_SANDBOX_TIER; None leaves the choice to the host.

    Raises:
        UserError: there is no such tier.
    """
    chosen, source = (tier, "--tier") if tier else (os.environ.get(ENVIRONMENT) or None, f"${ENVIRONMENT}")
    if chosen is not None and chosen not in TIERS:
        raise UserError(f"{source} {chosen}: no such tier; there are {', '.join(TIERS)}.")
    return chosen


def objection(tier: str) -> str | None:
    """Why a tier cannot be had on this host, as far as can be told without trying; None: try it."""
    if tier == RLIMITS:
        return None
    if sys.platform != "linux":
        return f"it needs Linux, and this is {sys.platform}"
    if kernel.MACHINE not in ("x86_64", "aarch64"):
        return f"it is not ported to {kernel.MACHINE}"
    if not hasattr(os, "pidfd_open"):
        return "it needs Linux 5.3"
    if tier == BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed (apt install bubblewrap, dnf install bubblewrap)"
    if tier == BUBBLEWRAP and os.geteuid() == 0 and not is_privileged():
        return "root without CAP_SYS_ADMIN could not give programs a user of their own through it"
    return None


def is_privileged() -> bool:
    """Whether this process may mount and make namespaces without a user namespace."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _SYS_ADMIN & 1)
    return False


def users() -> list[int]:
    """User ids for programs to have outside their namespaces; this process's own where it can give no other.

    Only root can: its ids come from the upper part of what its user namespace maps, where no accounts are.
    """
    if os.geteuid() != 0 or sys.platform != "linux":
        return [os.geteuid()]
    extents = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    first, _, count = max(extents, key=lambda extent: extent[2])
    if count <= 2 * _USERS:
        return [os.geteuid()]
    slots = max(1, min(count // 2, 1 << 30) // _USERS)
    start = first + min(count, 1 << 31) - (1 + int.from_bytes(os.urandom(4), "big") % slots) * _USERS
    return list(range(start, start + _USERS))


def refusal(reasons: dict[str, str]) -> UserError:
    """The error where no isolating tier can be had: why not, and what to do."""
    lines = "; ".join(f"{tier}: {reason}" for tier, reason in reasons.items())
    return UserError(
        f"no sandbox for untrusted programs on this host ({lines}). {_remedy()} Programs you trust can run "
        f"under resource limits alone, without any isolation of files, network or the verdict: ask for it "
        f"by name, --tier {RLIMITS} or {ENVIRONMENT}={RLIMITS}."
    )


def _remedy() -> str:
    if sys.platform != "linux":
        return "Grade on Linux, in a virtual machine for instance."
    settings = {
        "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=10000"),
        "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone=1"),
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows them",
        ),
    }
    for path, (forbidding, command) in settings.items():
        try:
            if Path(path).read_text().strip() == forbidding:
                return f"This host forbids user namespaces ({path} is {forbidding}): as root run {command}."
        except OSError:
            continue
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return (
            "In a container user namespaces are usually forbidden by its seccomp profile: start it with "
            "--privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined."
        )
    return "Install bubblewrap, and allow user namespaces (sysctl user.max_user_namespaces)."
