"""The command line: ``receiver``, or ``python -m receiver``."""

from receiver import interruption


def main() -> None:
    """Run the command line."""
    # First of all: what comes next is imported for a tenth of a second.
    interruption.ends_at_once()
    from receiver.cli import main as run  # noqa: PLC0415

    run(prog_name="receiver")


if __name__ == "__main__":
    main()
