"""domino push."""

from __future__ import annotations

import argparse

from domino_lightning.cli.console import make_console


def push(arguments: argparse.Namespace) -> int:
    """Release a run's data, soft prompt and coder, or show what would be released."""
    from domino_lightning.release.bundle import push as push_bundle
    from domino_lightning.release.parts import make_release
    from domino_lightning.release.terms import release_terms
    from domino_lightning.results.runs import open_run

    run = open_run(arguments.run)
    flags = {name: getattr(arguments, name) for name in ("license", "reference_license", "backbone_license")}
    terms = release_terms(run.config["answer"]["card"], flags, arguments.license_name, arguments.license_link)
    release = make_release(run, arguments.to, terms, arguments.only)
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    for bundle in release.bundles:
        say(f"{bundle.repo_type:<8} {bundle.repo_id}  {sum(bundle.sizes.values()):,} bytes")
        for name, size in bundle.sizes.items():
            say(f"  {size:>12,}  {name}")
        for note in bundle.notes:
            say(f"  note: {note}")
        if arguments.output:
            say(f"  laid out in {bundle.lay_out(arguments.output)}")
        if not arguments.dry_run:
            say(f"  pushed: {push_bundle(bundle, arguments.private)}")
    for reason in release.left_out.values():
        say(f"not released: {reason}")
    if arguments.dry_run:
        say("Nothing was pushed: --dry-run.")
    return 0
