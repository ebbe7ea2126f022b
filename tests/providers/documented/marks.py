"""What of ours is in a submission."""

import json
from typing import Final
from urllib.parse import quote

from tests.providers.making import JOB_ID, SECRET

CALLBACK: Final = "https://hooks.example/callbacks/p/token"
QUOTED: Final = quote(CALLBACK, safe="")
TEXT: Final = SECRET.decode()
#: What a submission carries of ours where the provider repeats it.
MARKED: Final = json.dumps({"receiver_job": JOB_ID})
