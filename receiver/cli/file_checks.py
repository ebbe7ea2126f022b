"""The check of ``receiver doctor`` that asks the file store: is it there, is it the record's, is there room?"""

from receiver.cli import output
from receiver.cli.finding import OK, WARN, Check, failed
from receiver.files.store import FileStoreError
from receiver.running import Running

_NEXT = "Until then no file is fetched, and providers delete what waits; everything else goes on."


async def check_files(running: Running) -> Check:
    """Look at the place where the files of results are kept."""
    kept, floor = running.files, running.settings.disk_floor
    try:
        await running.marking.check()
        room = await kept.room()
    except FileStoreError as error:
        return failed("files", error, _NEXT)
    if room is not None and room < floor:
        return Check(
            name="files",
            status=WARN,
            text=f"{output.size(room)} are free at {kept.where}, less than RECEIVER_DISK_FLOOR ({output.size(floor)})",
            next=f"Make room. {_NEXT}",
        )
    free = "" if room is None else f", {output.size(room)} free"
    return Check(name="files", status=OK, text=f"kept at {kept.where}{free}")
