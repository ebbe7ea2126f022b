"""Standard Webhooks as we sign with it ourselves, and as those read it who hear from us.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11-20).
"""

from typing import Final

from receiver.core.description.scheme import Scheme

STANDARD_WEBHOOKS: Final = Scheme(
    kind="hmac",
    header="webhook-signature",
    item_sep=" ",
    prefix="v1,",
    encoding="base64",
    key_encoding="whsec",
    timestamp="header:webhook-timestamp",
    delivery_id="header:webhook-id",
    signed="{delivery_id}.{timestamp}.{body}",
)
