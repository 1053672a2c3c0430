"""`domino agent`: what a cluster starts on its nodes for a sweep; not called by hand."""

from __future__ import annotations

import argparse


def agent(arguments: argparse.Namespace) -> int:
    """Run an agent until its pilot is over."""
    from domino_lightning.sweep.launchers.cluster.agent import main

    return main(arguments.mailbox, arguments.node)
