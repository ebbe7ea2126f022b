"""A file as JSON."""

from receiver.core.file import File, FileState
from receiver.views.document import Document, Moment, fields, moment


class FileDocument(Document, frozen=True, kw_only=True):
    """One document that a result links to."""

    number: int
    #: As its provider calls it; no path on any disk.
    name: str
    #: waiting, stored or lost.
    state: FileState
    #: Why it is lost, or what its last attempt met.
    code: str | None
    size: int | None
    content_type: str | None
    sha256: str | None
    #: Where in the result its link stands, and that link without its query.
    place: str
    source: str
    stored_at: Moment | None


def file_document(file: File) -> FileDocument:
    """Describe a file."""
    return FileDocument(**fields(FileDocument, file, stored_at=moment(file.stored_at)))
